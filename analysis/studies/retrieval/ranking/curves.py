"""What a model still answers from its context when sets of heads are replaced."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import numpy as np
import polars as pl
import torch

from analysis.attention import Edit, Site, Where
from analysis.errors import UserError
from analysis.interventions import Condition, Method, Needs, Pooling
from analysis.progress import Report
from analysis.questions.effect_rows import condition_rows
from analysis.questions.rows import Labels
from analysis.questions.text_sweep import batch_rows
from analysis.questions.verdicts.head_sets import HeadSets
from analysis.questions.work import PARTLY, Work, read_under
from analysis.studies.retrieval.answering.decoding import Scope
from analysis.studies.retrieval.answering.items import MAX_NEW, record_items
from analysis.studies.retrieval.answering.outcomes import Outcomes, outcomes
from analysis.studies.retrieval.answering.prompts import Prompt, prompts
from analysis.studies.retrieval.answering.trials import Trial
from analysis.studies.retrieval.questions import FileQuestions
from analysis.text.english import Split
from analysis.text.tokens import Tokens

ZERO_QUERY = "zero_query"
"""The query is 0 after RoPE: `uniform` under another name, run apart to show that it is."""
N_REFERENCE = 32
"""Training items that means are taken over."""


@dataclass(frozen=True, kw_only=True)
class SetCurves(HeadSets):
    """How many questions are still answered with each of some sets of heads replaced?

    The method may be `zero_query`, too.
    """

    bos: bool
    pooling: str
    """A value of `Pooling`: over what means are taken of other items of the same kind."""
    scope: str
    """A value of `Scope`: when heads are replaced."""

    @cached_property
    @abstractmethod
    def prompts(self) -> tuple[Prompt, ...]:
        """The questions."""

    @cached_property
    @abstractmethod
    def reference(self) -> tuple[Prompt, ...]:
        """Other questions that means are taken over, where the method takes any."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What the questions are about."""

    @property
    @abstractmethod
    def origin(self) -> tuple[str, str]:
        """What the questions are called, and where they come from."""

    @property
    def replacing(self) -> Method:
        """What stands in, or what comes to the same."""
        return Method.UNIFORM if self.method == ZERO_QUERY else Method(self.method)

    @property
    def takes_means(self) -> bool:
        """Whether the method replaces by means over other questions."""
        return self.replacing.needs is Needs.MEANS

    @cached_property
    def tokens(self) -> Tokens:
        """The questions as they are fed, each with its answer behind it."""
        return self._tokens(self.prompts)

    def _tokens(self, asked: tuple[Prompt, ...]) -> Tokens:
        return _fed(asked, self.origin, self.bos, self.vocabulary.hash)

    def data(self) -> Sequence[Tokens]:
        """The questions, and what means are taken over."""
        other = [self._tokens(self.reference)] if self.reference else []
        return [self.tokens, *other]

    def work(self) -> Work:
        """Every set from its first layer on; of the last layer little but keys and values.

        Answers that only decoding can tell are few, and left out.
        """
        n_layers, size = self.card.n_layers, self.tokens.ids.size
        conditions = [one for one in self.conditions() if one.interventions]
        logits = Work(logits=self.tokens.ids.shape[0] * MAX_NEW * len(self.sets) / 2)
        if self.method == ZERO_QUERY:
            return logits + Work(layers=size * n_layers * len(self.sets))
        read = read_under(conditions, self.card, self.tokens.ids.shape)
        means = sum(len(asked.ids) + MAX_NEW for asked in self.reference)
        return read + logits + Work(layers=means * n_layers - (1 - PARTLY) * size * len(conditions))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Ask every question under every set.

        Returns:
            `ablations` and `retrieval_outcomes`.
        """
        model = self.loaded_model()
        trial = Trial(
            prompts=self.prompts,
            vocabulary=self.vocabulary,
            scope=Scope(self.scope),
            reference=self.reference,
            pooling=Pooling(self.pooling),
            seed=self.seed,
            max_rows=batch_rows(max(len(one.ids) for one in self.prompts), model.device.type),
            edits_of=zero_queries if self.method == ZERO_QUERY else None,
        )
        conditions = self.conditions()
        found = outcomes(model, trial, conditions, report)
        labels = Labels(card=self.card, tokens=self.tokens, data=self.about, seed=self.seed)
        replaced = condition_rows(conditions, labels).with_columns(
            scope=pl.lit(self.scope), method=pl.lit(self.method)
        )
        return {"ablations": replaced, "retrieval_outcomes": self._rows(conditions, found)}

    def _rows(self, conditions: Sequence[Condition], found: Outcomes) -> pl.DataFrame:
        """One row for each condition and question."""
        n_items, items = len(self.prompts), [asked.item for asked in self.prompts]
        repeated: Mapping[str, list[str | int | float]] = {
            "sequence": list(range(n_items)),
            "item": [item.id for item in items],
            "fact": [item.fact for item in items],
            "n_tokens": [len(asked.ids) for asked in self.prompts],
            "n_records": [1 + len(item.wrong) for item in items],
            "depth": [item.depth for item in items],
        }
        rows = pl.DataFrame(
            {
                "condition": np.repeat([condition.name for condition in conditions], n_items),
                **{name: values * len(conditions) for name, values in repeated.items()},
                "correct": found.correct.reshape(-1),
                "log_p": found.log_p.reshape(-1),
                "logit_difference": found.logit_difference.reshape(-1),
                "answer_rank": found.answer_rank.reshape(-1).astype(np.int32),
                "decoded": found.decoded.reshape(-1),
            },
            schema_overrides=dict.fromkeys(("sequence", "n_tokens", "n_records"), pl.Int32),
        )
        return rows.with_columns(
            model=pl.lit(self.card.model),
            text=pl.lit(self.tokens.text),
            logit_difference=pl.col("logit_difference").fill_nan(None),
        )


@dataclass(frozen=True, kw_only=True)
class RetrievalCurves(SetCurves):
    """How many questions about generated records are still answered without sets of heads?"""

    version: ClassVar[int] = 1

    split: str
    """A value of `Split`: heads are tested on items that they were not detected on."""
    fact: str
    """Which fact is asked about."""
    n_tokens: int
    """Length of every prompt, with the BOS."""
    n_records: int
    n_items: int

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """The questions."""
        return self._prompts(Split(self.split), self.n_items)

    @cached_property
    def reference(self) -> tuple[Prompt, ...]:
        """Training questions that means are taken over, where the method takes any."""
        return self._prompts(Split.TRAIN, N_REFERENCE) if self.takes_means else ()

    @property
    def about(self) -> str:
        """The fact."""
        return self.fact

    @property
    def origin(self) -> tuple[str, str]:
        """What the questions are called, and where they come from."""
        return f"{self.split} questions on {self.fact}", f"records, seed {self.seed}"

    def _prompts(self, split: Split, n_items: int) -> tuple[Prompt, ...]:
        items = record_items(
            self.vocabulary,
            split=split,
            fact=self.fact,
            n_tokens=self.n_tokens,
            n_records=self.n_records,
            n_items=n_items,
            seed=self.seed,
            bos=self.bos,
        )
        return prompts(items, self.vocabulary, bos=self.bos)


@dataclass(frozen=True, kw_only=True)
class FileRetrievalCurves(SetCurves, FileQuestions):
    """How many of a user's own questions are still answered without sets of heads?

    Of the questions that can be asked those at odd places are tested; heads are ranked, and means
    taken, on the others.
    """

    version: ClassVar[int] = 2

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """The questions at odd places.

        Raises:
            UserError: There are none.
        """
        if len(self.every_prompt) < 2:
            raise UserError(
                f"expected at least 2 items in {self.file} to rank heads on some and test them on "
                f"others, got {len(self.every_prompt)} that can be asked; add items"
            )
        return self.every_prompt[1::2]

    @cached_property
    def reference(self) -> tuple[Prompt, ...]:
        """The others, where the method takes means."""
        return self.every_prompt[::2] if self.takes_means else ()

    @property
    def about(self) -> str:
        """Nothing in particular."""
        return self.split_name

    @property
    def origin(self) -> tuple[str, str]:
        """What the questions are called, and where they come from."""
        return f"{self.split_name} questions", self.source


@lru_cache(maxsize=64)
def _fed(asked: tuple[Prompt, ...], origin: tuple[str, str], bos: bool, vocabulary: str) -> Tokens:
    """Questions with their answers behind them; many experiments ask the same ones."""
    rows = [[*one.ids, *one.answer] for one in asked]
    longest = max(map(len, rows))
    filled = [row + [-1] * (longest - len(row)) for row in rows]
    return Tokens(np.array(filled, dtype=np.int32), *origin, bos, vocabulary)


def zero_queries(condition: Condition) -> Mapping[Site, Edit]:
    """Set the queries of a condition's heads to 0 after RoPE, at all positions."""

    def edit(where: Where, q: torch.Tensor) -> torch.Tensor:
        heads = [h for one in condition.interventions for h in one.in_layer(where.layer)]
        edited = q.clone()
        edited[:, heads] = 0
        return edited

    return {Site.Q: edit}
