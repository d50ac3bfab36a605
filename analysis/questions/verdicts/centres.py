"""What a claim about many sequences is about: their mean, or their median."""

from collections.abc import Callable, Sequence
from enum import Enum

import numpy as np

from analysis.statistics.comparisons import sign_flip_p
from analysis.statistics.medians import median_interval
from analysis.statistics.resampling import Interval, mean_interval


class Centre(Enum):
    """Which number of all sequences is judged, with its interval and its test."""

    MEAN = "mean"
    """The mean with its bootstrap interval; differences by how large they are under flipped
    signs."""

    MEDIAN = "median"
    """The median with an interval of order statistics; differences by their signs alone. No
    sequence rules it."""

    def interval(self, values: np.ndarray, seed: int) -> Interval:
        """The number with its 95 % interval."""
        return mean_interval(values, seed) if self is Centre.MEAN else median_interval(values)

    def number(self, values: np.ndarray) -> float:
        """The number alone; NaN without any value."""
        known = values[~np.isnan(values)]
        chosen = np.mean if self is Centre.MEAN else np.median
        return float(chosen(known)) if known.size else np.nan

    def p(self, gaps: np.ndarray, seed: int) -> tuple[float, int]:
        """One-sided p that differences of pairs are above 0, and how many others it comes from.

        Of medians it is the sign test: of differences that are not 0, how many are above it.
        """
        told = gaps if self is Centre.MEAN else np.sign(np.where(gaps == 0, np.nan, gaps))
        return sign_flip_p(told, seed)


def each_number(chosen: Callable[..., float], intervals: Sequence[Interval]) -> Interval:
    """One of every number: an interval with a smaller estimate may reach farther.

    A number that is unknown of any interval is unknown.
    """
    if not intervals:
        return Interval.exactly(np.nan)
    return Interval(*(float(chosen(numbers)) for numbers in zip(*intervals, strict=True)))
