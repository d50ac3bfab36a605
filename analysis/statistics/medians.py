"""Medians with exact intervals, and how many sequences a number really rests on."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from math import ceil

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from .resampling import Interval

LEAST = 6
"""Of fewer values not even the smallest and the largest hold the median in 95 % of samples."""


def median_interval(values: Float[ndarray, " sequence"]) -> Interval:
    """Median of one number a sequence, with the order statistics that hold it.

    The interval assumes no shape: it misses the median of whatever is drawn from in at most 5 % of
    samples of any size. No single value moves it far.

    Args:
        values: One a sequence; NaN where a sequence has none.

    Returns:
        The median and its 95 % interval, which is NaN with fewer than `LEAST` values.

    Source:
        Conover 1999, "Practical Nonparametric Statistics", 3rd edition, section 3.2.
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval.exactly(np.nan)
    median = float(np.median(known))
    if known.size < LEAST:
        return Interval(median, np.nan, np.nan)
    ordered, rank = np.sort(known), _rank(known.size)
    return Interval(median, float(ordered[rank]), float(ordered[-1 - rank]))


@lru_cache
def _rank(n: int) -> int:
    """How many of the smallest, and of the largest, lie outside: P(binomial < this + 1) <= .025."""
    return int(import_module("scipy.stats").binom.ppf(0.025, n, 0.5)) - 1


def effective_n(weights: Float[ndarray, "sequence column"]) -> Float[ndarray, " column"]:
    """How many equally weighted sequences would leave as much chance in a weighted mean.

    Args:
        weights: At least 0; NaN where a sequence has none.

    Returns:
        (sum of weights)^2 / sum of squared weights, from 1 where one sequence has all the weight to
        n where all have the same; NaN where no weight is above 0.

    Source:
        Kish 1965, "Survey Sampling", section 11.7.
    """
    known = np.nan_to_num(weights)
    squares = np.square(known).sum(0)
    none = np.full_like(squares, np.nan)
    return np.divide(np.square(known.sum(0)), squares, out=none, where=squares > 0)


def n_for_width(n: int, width: float, wanted: float) -> int:
    """About how many sequences make an interval as narrow as is wanted: widths go with 1/sqrt(n).

    Args:
        n: Sequences that an interval comes from.
        width: Of that interval.
        wanted: Above 0.

    Returns:
        At least n.
    """
    return max(n, ceil(n * (width / wanted) ** 2))
