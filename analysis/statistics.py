"""Means over sequences with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

N_RESAMPLES = 2000
"""Enough for two digits of a 95 % interval's ends."""


@dataclass(frozen=True)
class Estimate:
    """Means with 95 % percentile bootstrap intervals, one for every column of the data."""

    mean: Float[ndarray, " column"]
    lower: Float[ndarray, " column"]
    upper: Float[ndarray, " column"]
    n: Int[ndarray, " column"]
    """Sequences that the column is defined on."""


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
    rng = np.random.default_rng(seed)
    n_sequences = values.shape[0]
    known = ~np.isnan(values)
    n = known.sum(0)
    filled = np.where(known, values, 0.0)
    draws = rng.multinomial(n_sequences, np.full(n_sequences, 1 / n_sequences), N_RESAMPLES)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, filled.sum(0) / n, np.nan)
        means = (draws @ filled) / (draws @ known.astype(float))
        ends = _quantiles(means)
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
