"""Claims on previous-token redundancy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.interventions import Head
from analysis.questions.verdicts.judgement import Evidence, Group, Judgement, Statement, answers_of

FIGURES = {
    "value_redundant_attention": "04_previous_token_redundancy#index_in_attention",
    "value_redundant_predictions": "04_previous_token_redundancy#index_in_predictions",
}

REDUNDANT = 0.5
"""A value is redundant where its removal after A removes less than half of what it does alone."""

ENDS = (-1.0, 1.0)
"""R of a sequence counts as one of these beyond them, so that no sequence rules a mean."""


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

    Special means that R at offset 1 exceeds R at every other offset, and R of every other head of
    the layer, sequence by sequence; and all of it whichever way values are taken away.
    """

    version: ClassVar[int] = 4
    chapter: ClassVar[str] = "04_previous_token_redundancy"

    evidence: RedundancyEvidence

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return answers_of(self.evidence)

    def claims(self) -> Iterator[dict[str, Any]]:
        """Rows of `claims`; one whose index is undefined on every sequence has none."""
        head = self.evidence.head
        layer = Head.parse(head).layer
        places = {
            "attention": (
                layer,
                f"More than half of what the values at t-1 bring to the attention output of layer "
                f"{layer} at t comes through {head}, a larger share than at other offsets and "
                "through other heads",
                "R = 1 - |A - AB|^2 / |base - B|^2, the head's share of that channel",
            ),
            "predictions": (
                None,
                f"With {head} zeroed at t, removing the values at t-1 changes the predictions by "
                "less than half of what it does alone, a smaller share than at other offsets and "
                "with other heads zeroed",
                "R = 1 - KL(A || AB) / KL(base || B)",
            ),
        }
        for place, (at, statement, what) in places.items():
            others = [
                indices(answer, at).get(1, np.full(1, np.nan))
                for answer in self.evidence.others.values()
            ]
            tested: dict[str, Tested] = {}
            for method, answer in self.evidence.methods.items():
                found = indices(answer, at)
                offsets = [found[lag] for lag in found if lag > 1]
                if 1 in found:
                    means = [mean_of(offsets)] if offsets else []
                    tested[method] = (found[1], [*others, *offsets, *means])
            if any(controls for _, controls in tested.values()):
                said = Statement(
                    claim=f"value_redundant_{place}",
                    statement=f"{statement}, by each of {', '.join(tested)}",
                    statistic=f"{what}, each between -1 and 1, mean over sequences; the least by "
                    f"{', '.join(tested)}",
                )
                note = (
                    "the most of other offsets, of their mean, and of other heads of the layer at "
                    "offset 1"
                )
                yield self.judged_all(said, aligned([*tested.values()]), (REDUNDANT, note))


Tested = tuple[np.ndarray, list[np.ndarray]]
"""Values of a variant, and those of its controls."""


def indices(answer: Evidence, layer: int | None) -> dict[int, Float[np.ndarray, " sequence"]]:
    """The index of `B(all)` on every sequence at one place, by lag.

    Args:
        answer: Of `ValueRedundancy`, or one that asks the same of components.
        layer: Whose attention output; None for the predictions.

    Returns:
        Values within `ENDS` by sequence, up to the last that any lag is defined on; NaN where it
        is not.
    """
    rows = answer["comparisons"].filter(
        pl.col("sequence").is_not_null(),
        pl.col("layer").eq_missing(pl.lit(layer, pl.Int16)),
        metric="redundancy",
        condition="A+B(all)",
    )
    found: dict[int, np.ndarray] = {}
    for (lag,), part in sorted(rows.partition_by("lag", as_dict=True).items()):
        values = np.full(rows.select(pl.col("sequence").max() + 1).item(), np.nan)
        values[part["sequence"].to_numpy()] = part["value"].clip(*ENDS).to_numpy()
        found[lag] = values
    return found


def aligned(tested: Sequence[Tested]) -> list[Tested]:
    """All of the same length, NaN where sequences are missing at the end; none of none."""
    if not tested:
        return []
    n = max(each.size for values, controls in tested for each in (values, *controls))

    def filled(values: np.ndarray) -> np.ndarray:
        return np.pad(values, (0, n - values.size), constant_values=np.nan)

    return [(filled(values), list(map(filled, controls))) for values, controls in tested]


def mean_of(arrays: Sequence[Float[np.ndarray, " sequence"]]) -> Float[np.ndarray, " sequence"]:
    """The mean of those that are known; NaN where none is."""
    if not arrays:
        return np.full(1, np.nan)
    known = ~np.isnan(arrays)
    sums = np.where(known, arrays, 0.0).sum(0)
    return np.divide(sums, known.sum(0), out=np.full(len(sums), np.nan), where=known.any(0))
