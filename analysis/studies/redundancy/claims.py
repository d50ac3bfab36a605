"""Claims on previous-token redundancy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from analysis.interventions import Head
from analysis.questions.judgement import Evidence, Group, Judgement, Statement, answers_of
from analysis.statistics.resampling import Interval

FIGURES = {
    "value_redundant_attention_*": "04_previous_token_redundancy#index_in_attention",
    "value_redundant_predictions_*": "04_previous_token_redundancy#index_in_predictions",
    "value_redundant_*": "04_previous_token_redundancy#methods_table",
}

REDUNDANT = 0.5
"""A value is redundant where its removal after A removes less than half of what it does alone."""

OTHER_METHODS = {"mean_value": "replaced by their mean", "mask_key": "hidden"}
"""Other ways to take a value away, in words."""


@dataclass(frozen=True, kw_only=True)
class RedundancyEvidence:
    """What redundancy is judged by: answers of `ValueRedundancy`."""

    head: str
    """The strongest previous-token head."""
    methods: Mapping[str, Evidence]
    """That head under every way to ablate values; `zero_value` is one."""
    others: Mapping[str, Evidence]
    """Other heads of its layer under `zero_value`, by name."""


@dataclass(frozen=True, kw_only=True)
class RedundancyClaims(Judgement):
    """Is the value one back all that the previous-token head carried, and is that special?

    Special means that R exceeds the control by all of its interval, and the control is the worst
    of many: the largest estimate, lower and upper end of all other offsets, or heads of the layer.
    """

    version: ClassVar[int] = 2
    chapter: ClassVar[str] = "04_previous_token_redundancy"

    evidence: RedundancyEvidence

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return answers_of(self.evidence)

    def claims(self) -> Iterator[dict[str, Any]]:
        """Rows of `claims`; one whose index is undefined on every sequence has none."""
        head = self.evidence.head
        layer = Head.parse(head).layer
        places = (
            ("attention", layer, "redundancy", f"the attention output of layer {layer}"),
            ("predictions", None, "redundancy_pooled", "the predictions"),
        )
        for place, at, metric, where in places:
            mine = indices(self.evidence.methods["zero_value"], at, metric)
            offsets = [figure for lag, figure in mine.items() if lag > 1]
            others = [
                indices(answer, at, metric).get(1) for answer in self.evidence.others.values()
            ]
            controls = {
                "offset": ("offsets", offsets, "the other offsets"),
                "head": (
                    "heads",
                    [figure for figure in others if figure is not None],
                    "the other heads of the layer, at offset 1",
                ),
            }
            for kind, (plural, figures, whose) in controls.items():
                said = Statement(
                    claim=f"value_redundant_{place}_{kind}",
                    statement=f"With {head} zeroed at t, removing the values at t-1 changes "
                    f"{where} by less than half of what it does alone, unlike other {plural}",
                    statistic=_statistic(metric),
                )
                yield from self._judged(said, mine.get(1), largest(figures), whose)
        for method, words in OTHER_METHODS.items():
            figures = indices(self.evidence.methods[method], layer, "redundancy")
            said = Statement(
                claim=f"value_redundant_{method}",
                statement=f"The same holds in the attention output of layer {layer} with values "
                f"{words} instead of zeroed",
                statistic=_statistic("redundancy"),
            )
            offsets = [figure for lag, figure in figures.items() if lag > 1]
            yield from self._judged(said, figures.get(1), largest(offsets), "the other offsets")

    def _judged(
        self, said: Statement, found: Interval | None, control: Interval | None, whose: str
    ) -> Iterator[dict[str, Any]]:
        """The claim, where both numbers are defined."""
        if found is not None and control is not None:
            note = f"control: the largest estimate, lower and upper end of {whose}"
            yield self.decided(said, found, control, (REDUNDANT, note))


def indices(answer: Evidence, layer: int | None, metric: str) -> dict[int, Interval]:
    """The index of `B(all)` at one place, by lag.

    Args:
        answer: Of `ValueRedundancy`.
        layer: Whose attention output; None for the predictions.
        metric: `redundancy` or `redundancy_pooled`.

    Returns:
        Estimates with intervals; lags without one are left out.
    """
    rows = answer["comparisons"].filter(
        pl.col("sequence").is_null(),
        pl.col("layer").eq_missing(pl.lit(layer, pl.Int16)),
        pl.col("lower").is_not_null(),
        metric=metric,
        condition="A+B(all)",
    )
    columns = rows.sort("lag").select("lag", "value", "lower", "upper")
    return {lag: Interval(*found) for lag, *found in columns.iter_rows()}


def largest(controls: Sequence[Interval]) -> Interval | None:
    """The largest of each number: one with a smaller estimate may reach higher."""
    return Interval(*map(max, zip(*controls, strict=True))) if controls else None


def _statistic(metric: str) -> str:
    what = "R = 1 - |A - AB|^2 / |base - B|^2, mean over sequences"
    pooled = "R = 1 - KL(A || AB) / KL(base || B), of all sequences together"
    return pooled if metric == "redundancy_pooled" else what
