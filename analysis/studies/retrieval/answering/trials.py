"""Questions as they are asked under interventions, and what stands in meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.attention import Edit, Site
from analysis.interventions import (
    Condition,
    Pooling,
    Source,
    StandIns,
    methods_of,
    stand_in_source,
)
from analysis.models.load import Model
from analysis.text.tokens import Vocabulary

from .baseline import ending_ids
from .decoding import Limit, Scope, scoped
from .items import MAX_NEW
from .prompts import Prompt

ENDING = "."
"""What is fed behind a right answer, to see what would follow; nothing depends on the choice."""
EditsOf = Callable[[Condition], Mapping[Site, Edit]]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Questions, and how they are asked."""

    prompts: tuple[Prompt, ...]
    vocabulary: Vocabulary
    scope: Scope
    reference: tuple[Prompt, ...]
    """Other prompts, that means are taken over."""
    pooling: Pooling
    seed: int
    """Of the derangement that donors are taken by."""
    max_rows: int
    """Prompts times conditions in one batch, which bounds memory."""
    edits_of: EditsOf | None = None
    """What is done under a condition in place of its interventions, in a plain pass each."""

    @cached_property
    def limit(self) -> Limit:
        """When an answer ends."""
        return Limit(MAX_NEW, frozenset(ending_ids(self.vocabulary)))

    @cached_property
    def ending(self) -> tuple[int, ...]:
        """Ids of `ENDING` behind a word."""
        stem = self.vocabulary.encode("a")
        whole = self.vocabulary.encode(f"a{ENDING}")
        return tuple(whole[len(stem) :]) if whole[: len(stem)] == stem else ()

    def given(self, asked: Prompt) -> tuple[int, ...]:
        """The right answer as it is fed, with the ending as far as there is room."""
        room = max(MAX_NEW, len(asked.answer))
        return (*asked.answer, *self.ending)[:room]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Prompts of one length."""

    model: Model
    trial: Trial
    places: list[int]
    """Where they stand in the trial."""
    n_prompt: int
    followed: np.ndarray
    """Ids (row, pos) of what stand-ins are read on, as long as prompt and answer ever are."""
    source: Source

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The prompts themselves."""
        return [self.trial.prompts[place] for place in self.places]

    @cached_property
    def given(self) -> list[tuple[int, ...]]:
        """The right answers as they are fed."""
        return [self.trial.given(asked) for asked in self.prompts]

    @cached_property
    def tokens(self) -> Int[Tensor, "row pos"]:
        """Prompts and their answers, padded where nothing sees it."""
        longest = max(map(len, self.given))
        rows = [
            [*asked.ids, *given, *[given[-1]] * (longest - len(given))]
            for asked, given in zip(self.prompts, self.given, strict=True)
        ]
        return torch.tensor(rows, device=self.model.device)

    def donors(self, rows: slice) -> StandIns:
        """Stand-ins of some rows, for all positions of prompt and answer."""
        return self.source.stand_ins(self.model, self.followed, rows)

    def acting(self, condition: Condition) -> Condition:
        """The condition in the trial's scope."""
        n_pos = self.followed.shape[1]
        parts = scoped(condition.interventions, self.trial.scope, self.n_prompt, n_pos)
        return replace(condition, interventions=parts)


def asked_alike(
    model: Model, trial: Trial, places: list[int], conditions: Sequence[Condition]
) -> Group:
    """Prompts of one length with what stands in on them."""
    some = [trial.prompts[place] for place in places]
    n_prompt = len(some[0].ids)
    n_pos = n_prompt + max(MAX_NEW, *(len(asked.answer) for asked in some))
    source = stand_in_source(
        model,
        methods_of(conditions),
        _followed(trial.reference, n_pos),
        trial.pooling,
        len(places),
        trial.seed,
    )
    return Group(
        model=model,
        trial=trial,
        places=places,
        n_prompt=n_prompt,
        followed=_followed(some, n_pos),
        source=source,
    )


def _followed(prompts: Sequence[Prompt], n_pos: int) -> Int[np.ndarray, "row pos"]:
    """Prompts with their answers and then, up to a length, their own text again."""
    rows = [
        ((*asked.ids, *asked.answer) + asked.ids[1:] * (1 + n_pos // len(asked.ids)))[:n_pos]
        for asked in prompts
    ]
    return np.array(rows, dtype=np.int64).reshape(len(rows), n_pos)
