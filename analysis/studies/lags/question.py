"""Recall by lag from a list that is shown again, as the model is and without sets of heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property, lru_cache
from typing import ClassVar

import polars as pl

from analysis.errors import UserError
from analysis.interventions import (
    HeadSet,
    Method,
    Needs,
    Pooling,
    Source,
    stand_in_source,
)
from analysis.models.files.card import ModelCard
from analysis.models.load import Model
from analysis.progress import Report
from analysis.questions.drawing import Drawing
from analysis.questions.effect_rows import condition_rows
from analysis.questions.experiment import Experiment
from analysis.questions.rows import Labels
from analysis.questions.verdicts.head_sets import HeadSets
from analysis.questions.work import Work, read_under
from analysis.text.lists import Design, ListQuestion, Lists, Shown, shown_lists
from analysis.text.pool import Pool
from analysis.text.tokens import Tokens, Vocabulary

from .measures import drawn_profile, measure_rows, over_draws, profile_rows
from .recall import recall


class Layers(Enum):
    """Which layers' heads may be ablated."""

    ALL = "all"
    LOWER_HALF = "lower half"
    """The first n/2 layers of an even number n."""
    UPPER_HALF = "upper half"
    """The last n/2."""

    def of(self, card: ModelCard) -> range:
        """The layers of a model.

        Raises:
            UserError: Half of the layers are asked for, and their number is odd.
        """
        half, odd = divmod(card.n_layers, 2)
        if self is Layers.ALL:
            return range(card.n_layers)
        if odd:
            raise UserError(
                f"expected an even number of layers to take the {self.value} of, "
                f"{card.name} has {card.n_layers}; ask for all layers"
            )
        return range(half) if self is Layers.LOWER_HALF else range(half, card.n_layers)


@dataclass(frozen=True, kw_only=True)
class LagProfiles(Drawing, HeadSets):
    """How probable is every item of a list, by its lag from the one that is shown again?

    All conditions go over the same permutations, so that they are paired. Means are those of each
    position over other permutations of the same words; resampled heads read what they read on
    another of the permutations measured.
    """

    version: ClassVar[int] = 2
    untouched: ClassVar[str] = "nothing ablated"

    design: str
    """A value of `Design`."""
    shown: str
    """A value of `Shown`."""
    n_words: int
    n_permutations: int
    layers: str
    """A value of `Layers`: where the sets' heads lie."""

    def work(self) -> Work:
        """Every set from its first layer on; logits where an item is shown again."""
        tokens, reference = self.lists.tokens, self.reference.tokens.ids.size
        read = read_under(self.conditions(), self.card, tokens.ids.shape, reference)
        return read + Work(logits=len(self.sets) * len(tokens.ids) * len(tokens.targets))

    @cached_property
    def _permutations(self) -> Lists:
        asked = ListQuestion(
            design=Design(self.design),
            shown=Shown(self.shown),
            n_words=self.n_words,
            n_permutations=2 * self.n_permutations,
            seed=self.seed,
        )
        return _shown(self.vocabulary, self.pool, self.card.n_ctx, asked)

    @property
    def lists(self) -> Lists:
        """The permutations that are measured."""
        return self._permutations.part(slice(self.n_permutations))

    @property
    def reference(self) -> Lists:
        """What means are taken over: other orders of the same words."""
        return self._permutations.part(slice(self.n_permutations, None))

    def data(self) -> Sequence[Tokens]:
        """The permutations that are measured, and the reference set of a mean."""
        averages = any(method.needs is Needs.MEANS for method in self._methods)
        return [self.lists.tokens, *([self.reference.tokens] if averages else [])]

    @property
    def _methods(self) -> set[Method]:
        return {self.replacing} if any(self.sets) else set()

    def source(self, model: Model) -> Source:
        """Where stand-ins come from."""
        ids, pooling = self.reference.tokens.ids, Pooling.PER_POSITION
        return stand_in_source(model, self._methods, ids, pooling, self.n_permutations, self.seed)

    def units(self) -> Sequence[Experiment]:
        """Random sets of one size together, since their draws give one band."""
        if self.first_draw is None:
            return [self]
        sizes = sorted({len(names) for names in self.sets})
        groups = [tuple(names for names in self.sets if len(names) == size) for size in sizes]
        return [replace(self, sets=group) for group in groups]

    def heads(self, names: Sequence[str]) -> HeadSet:
        """A set's heads.

        Raises:
            UserError: A head is not of this model, or not in these layers.
        """
        heads, allowed = super().heads(names), Layers(self.layers).of(self.card)
        if outside := [str(head) for head in heads if head.layer not in allowed]:
            raise UserError(
                f"expected heads of layers {allowed.start} to {allowed.stop - 1} "
                f"({self.layers}), got {', '.join(outside)}; choose others"
            )
        return heads

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure every set.

        Returns:
            `ablations`, `lag_profiles` and `lag_measures`; of random sets one profile over all
            draws, and of single permutations the mean over them, under the profile's condition.
        """
        model = self.loaded_model()
        conditions = self.conditions()
        lists = self.lists
        found = recall(model, lists, conditions, self.source(model), report)
        labels = Labels(card=self.card, tokens=lists.tokens, data=self.shown, seed=self.seed)
        described = condition_rows(conditions, labels)
        measures = measure_rows(found, described, labels)
        if self.first_draw is None:
            profiles = profile_rows(found, described, labels)
        else:
            profiles = drawn_profile(found, described)
            measures = over_draws(measures, profiles["condition"][0])
        constants = {
            "design": pl.lit(self.design),
            "shown": pl.lit(self.shown),
            "layers": pl.lit(self.layers),
            "n_words": pl.lit(self.n_words),
        }
        return {
            "ablations": described,
            "lag_profiles": profiles.with_columns(**constants),
            "lag_measures": measures.with_columns(**constants),
        }


@lru_cache(maxsize=32)
def _shown(vocabulary: Vocabulary, pool: Pool, n_ctx: int, asked: ListQuestion) -> Lists:
    """Lists that many experiments ask; with another tokenizer a folder has another pool."""
    return shown_lists(vocabulary, pool, n_ctx, asked)
