"""Numbers with their intervals: means over sequences, bootstrapped, and 95 % of some draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

N_RESAMPLES = 2000
"""Enough for two digits of a 95 % interval's ends."""


class Interval(NamedTuple):
    """A number with its 95 % interval."""

    estimate: float
    lower: float
    upper: float

    def __neg__(self) -> Interval:
        return Interval(-self.estimate, -self.upper, -self.lower)

    @classmethod
    def exactly(cls, value: float) -> Interval:
        """A number that is known."""
        return cls(value, value, value)


@dataclass(frozen=True)
class Estimate:
    """Means with 95 % percentile bootstrap intervals, one for every column of the data."""

    mean: Float[ndarray, " column"]
    lower: Float[ndarray, " column"]
    upper: Float[ndarray, " column"]
    n: Int[ndarray, " column"]
    """Sequences that the column is defined on."""

    def intervals(self) -> list[Interval]:
        """Every column's."""
        ends = (self.mean.tolist(), self.lower.tolist(), self.upper.tolist())
        return [Interval(*column) for column in zip(*ends, strict=True)]


def mean_interval(values: Float[ndarray, " sequence"], seed: int) -> Interval:
    """Mean of one number a sequence, as `bootstrap` gives it; NaN without any."""
    if not values.size:
        return Interval.exactly(np.nan)
    return bootstrap(values[:, None], seed).intervals()[0]


def central(values: Float[ndarray, " draw"]) -> Interval:
    """Mean and central 95 % of some numbers that are known; NaN if none is."""
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval.exactly(np.nan)
    lower, upper = np.quantile(known, (0.025, 0.975))
    return Interval(float(known.mean()), float(lower), float(upper))


def bootstrap(values: Float[ndarray, "sequence column"], seed: int) -> Estimate:
    """Mean of every column over sequences, with its interval.

    Sequences are resampled as wholes and with the same draws for all columns, so that differences
    of columns are paired.

    Args:
        values: One row a sequence; NaN where a sequence cannot test the column.
        seed: Of the resampling.

    Returns:
        Means, the 2.5 % and 97.5 % points of the resampled means, and how many sequences count;
        a column without any is NaN with n = 0, and one with a single sequence has no interval.

    Source:
        Efron 1979, "Bootstrap Methods: Another Look at the Jackknife".
    """
    known = ~np.isnan(values)
    return ratio_of_sums(np.where(known, values, 0.0), known.astype(float), seed)


def ratio_of_sums(
    top: Float[ndarray, "sequence column"], bottom: Float[ndarray, "sequence column"], seed: int
) -> Estimate:
    """Sum of one number over the sum of another for every column, with its interval.

    Unlike a mean of ratios it is not ruled by the sequences whose ratio is all but undefined.

    Args:
        top: One row a sequence.
        bottom: The same shape; a sequence counts for a column where it is not 0.
        seed: Of the resampling, which is that of `bootstrap`.

    Returns:
        Ratios as `mean`, the 2.5 % and 97.5 % points of the resampled ratios, and how many
        sequences count.
    """
    rng = np.random.default_rng(seed)
    n_sequences = top.shape[0]
    n = (bottom != 0).sum(0)
    draws = rng.multinomial(n_sequences, np.full(n_sequences, 1 / n_sequences), N_RESAMPLES)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, top.sum(0) / bottom.sum(0), np.nan)
        ends = _quantiles((draws @ top) / (draws @ bottom))
    lower, upper = (np.where(n > 1, end, np.nan) for end in ends)
    return Estimate(mean, lower, upper, n)


def _quantiles(means: Float[ndarray, "resample column"]) -> tuple[ndarray, ndarray]:
    """The 2.5 % and 97.5 % points of every column, over resamples that hold any sequence."""
    ordered = np.sort(means, axis=0)
    count = np.maximum((~np.isnan(ordered)).sum(0), 1)
    lower, upper = (
        np.take_along_axis(ordered, np.round(q * (count - 1)).astype(int)[None], axis=0)[0]
        for q in (0.025, 0.975)
    )
    return lower, upper
