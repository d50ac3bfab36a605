"""Claims on previous-token redundancy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.questions.verdicts.centres import Centre
from analysis.questions.verdicts.judgement import (
    Evidence,
    Group,
    Judgement,
    Statement,
    answers_of,
    n_known,
)
from analysis.statistics.medians import median_interval, n_for_width

FIGURES = {"value_redundant_predictions": "04_previous_token_redundancy#ratio_in_predictions"}

HALF = log(2)
"""A value is redundant where its removal after A does less than half of what it does alone."""
WIDTH = 2 * log(2)
"""An interval of a log-ratio is narrow enough where it is no wider: a factor of 2 either way."""

EACH = "each sequence counts as one, so that the effective n is n"
"""Said of a median."""
LOG_RATIO = "log KL(base || B) - log KL(A || AB)"
"""What is judged of every sequence."""

Tested = tuple[np.ndarray, list[np.ndarray]]
"""Values of a variant, and those of its controls."""


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

    Judged in the predictions, by the median log-ratio over sequences. Special means that it is
    above that at every other offset, and above that of every other head of the layer at offset 1,
    sequence by sequence; and all of it whichever way values are taken away. In the attention
    output R is a number of one unmodified pass, the head's share of what the offset brings, and
    nothing is claimed of it.
    """

    version: ClassVar[int] = 5
    chapter: ClassVar[str] = "04_previous_token_redundancy"

    evidence: RedundancyEvidence

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return answers_of(self.evidence)

    def claims(self) -> Iterator[dict[str, Any]]:
        """A row of `claims`; none where no sequence has a log-ratio, or nothing is beside it."""
        head = self.evidence.head
        others = {
            name: found[1]
            for name, answer in self.evidence.others.items()
            if 1 in (found := log_ratios(answer))
        }
        tested: dict[str, Tested] = {}
        named: dict[str, np.ndarray] = {f"{name} zeroed": one for name, one in others.items()}
        for method, answer in self.evidence.methods.items():
            found = log_ratios(answer)
            offsets = {f"offset {lag} by {method}": found[lag] for lag in found if lag > 1}
            if 1 in found:
                named |= offsets
                tested[method] = (found[1], [*others.values(), *offsets.values()])
        if not any(controls for _, controls in tested.values()):
            return
        ways = ", ".join(tested)
        said = Statement(
            claim="value_redundant_predictions",
            statement=f"With {head} zeroed at t, removing the values at t-1 changes the "
            "predictions by less than half of what it does alone, and by a smaller part of it than "
            f"at each other offset and with each other head zeroed, by each of {ways}",
            statistic=f"{LOG_RATIO}, B at offset 1: the median over sequences, the least by {ways}",
        )
        values = [values for values, _ in tested.values()]
        share = max(left_out(self.evidence.methods[method]) for method in tested)
        note = f"{counted(values, share)}; {most_of(named, HALF, Centre.MEDIAN)}"
        yield self.judged_all(said, aligned([*tested.values()]), (HALF, note), Centre.MEDIAN)


def counted(values: Sequence[np.ndarray], share: float) -> str:
    """What a median rests on, in words.

    Args:
        values: Of every variant, one a sequence.
        share: Of sequences that have none, at most.

    Returns:
        That every sequence has one vote, how many have none, and where an interval is wider than
        `WIDTH`, how many sequences would do.
    """
    words = f"{EACH}; {share:.1%} left out, where both KL may be rounding"
    ends = [(n_known(one), median_interval(one)) for one in values]
    needs = [
        n_for_width(n, found.upper - found.lower, WIDTH)
        for n, found in ends
        if found.upper - found.lower > WIDTH
    ]
    if not needs:
        return words
    return f"{words}; an interval no wider than {WIDTH:.2f} would take about {max(needs)}"


def most_of(controls: Mapping[str, np.ndarray], threshold: float, centre: Centre) -> str:
    """Which control has the most, and how many clear the threshold themselves, in words."""
    found = {name: centre.number(one) for name, one in controls.items()}
    known = {name: value for name, value in found.items() if not np.isnan(value)}
    if not known:
        return "no control is known"
    name = max(known, key=lambda each: known[each])
    clear = sum(value > threshold for value in known.values())
    words = f"control: the most of {len(known)}, {name} at {known[name]:.2f}"
    return f"{words}; {clear or 'none'} of them above the threshold"


def left_out(answer: Evidence) -> float:
    """The share of sequences without a log-ratio at offset 1; 0 where that is not known."""
    rows = answer["comparisons"].filter(
        pl.col("layer").is_null(), metric="undefined", condition="A+B(all)", lag=1
    )
    return float(rows["value"].item()) if rows.height else 0.0


def log_ratios(answer: Evidence) -> dict[int, Float[np.ndarray, " sequence"]]:
    """The log-ratio of `B(all)` in the predictions on every sequence, by lag."""
    return by_lag(answer, "log_ratio", None)


def by_lag(
    answer: Evidence, metric: str, layer: int | None
) -> dict[int, Float[np.ndarray, " sequence"]]:
    """A number of `B(all)` on every sequence at one place, by lag.

    Args:
        answer: Of `ValueRedundancy`, or one that asks the same of components.
        metric: `log_ratio` of predictions, or `redundancy` of attention outputs.
        layer: Whose attention output; None for the predictions.

    Returns:
        Values by sequence, up to the last that any lag is defined on; NaN where it is not.
    """
    rows = answer["comparisons"].filter(
        pl.col("sequence").is_not_null(),
        pl.col("layer").eq_missing(pl.lit(layer, pl.Int16)),
        metric=metric,
        condition="A+B(all)",
    )
    found: dict[int, np.ndarray] = {}
    for (lag,), part in sorted(rows.partition_by("lag", as_dict=True).items()):
        values = np.full(rows.select(pl.col("sequence").max() + 1).item(), np.nan)
        values[part["sequence"].to_numpy()] = part["value"].to_numpy()
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
