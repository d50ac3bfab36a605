"""Numbers with their intervals: means over sequences, bootstrapped, and 95 % of some draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from numpy import ndarray

N_RESAMPLES = 2000
"""Enough for two digits of a 95 % interval's ends."""
STUDENTISED = 64
"""Below so many sequences the percentiles of resampled means are too narrow: at 8 they cover a
normal mean in .89 of samples, an exponential one in .85."""
LEAST_SPREAD = 0.1
"""A resample's standard error is never taken to be less than this share of the sample's."""
_ENDS = 0.025, 0.975
_ROUNDING = 1e-14
_AT_ONCE = 1024
"""Columns that are resampled together, which bounds the memory."""


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
    """Means with 95 % bootstrap intervals, one for every column of the data."""

    mean: Float[ndarray, " column"]
    lower: Float[ndarray, " column"]
    upper: Float[ndarray, " column"]
    n: Int[ndarray, " column"]
    """Sequences that the column is defined on."""

    def intervals(self) -> list[Interval]:
        """Every column's."""
        ends = (self.mean.tolist(), self.lower.tolist(), self.upper.tolist())
        return [Interval(*column) for column in zip(*ends, strict=True)]


def mean_interval(
    values: Float[ndarray, " sequence"],
    seed: int,
    clusters: Int[ndarray, " sequence"] | None = None,
) -> Interval:
    """Mean of one number a sequence, as `bootstrap` gives it; NaN without any."""
    if not values.size:
        return Interval.exactly(np.nan)
    return bootstrap(values[:, None], seed, clusters).intervals()[0]


def central(values: Float[ndarray, " draw"]) -> Interval:
    """Mean and central 95 % of some numbers that are known; NaN if none is."""
    known = values[~np.isnan(values)]
    if not known.size:
        return Interval.exactly(np.nan)
    return Interval(float(known.mean()), *map(float, band(known)))


def band(values: Float[ndarray, "draw ..."]) -> tuple[ndarray, ndarray]:
    """The central 95 % of draws.

    Args:
        values: At least one draw; NaN where a draw has none.

    Returns:
        The 2.5 % and 97.5 % points of every column, between draws by linear interpolation; NaN
        where no draw is known.

    Source:
        Hyndman & Fan 1996, "Sample Quantiles in Statistical Packages", definition 7.
    """
    ordered = np.sort(values, axis=0)  # NaN last
    last = np.asarray(np.maximum((~np.isnan(ordered)).sum(0) - 1, 0))

    def point(share: float) -> ndarray:
        below = np.asarray(share * last).astype(int)
        places = np.stack([below, np.minimum(below + 1, last)])
        low, high = np.take_along_axis(ordered, places, axis=0)
        return np.asarray(low + (high - low) * (share * last - below))

    return point(_ENDS[0]), point(_ENDS[1])


def band_columns(column: str) -> dict[str, pl.Expr]:
    """`lower` and `upper` as `band` has them, of a column or of each group of one."""
    ends = (pl.col(column).quantile(share, "linear") for share in _ENDS)
    return dict(zip(("lower", "upper"), ends, strict=True))


def bootstrap(
    values: Float[ndarray, "sequence column"],
    seed: int,
    clusters: Int[ndarray, " sequence"] | None = None,
) -> Estimate:
    """Mean of every column over sequences, with its interval.

    Sequences are resampled as wholes and with the same draws for all columns, so that differences
    of columns are paired. Below `STUDENTISED` sequences the interval is studentised: resampled
    means are measured in their own standard errors. Simulated, it covers a normal mean in .94 to
    .96 and an exponential one in .93 to .95 of samples at 8 to 50, a log-normal one in only .90 at
    8 and .92 at 32 (percentiles: .77 and .88). From 64 on percentiles cover .93 to .95.

    With 4 sequences it covers .94 of normal and .92 of exponential means. Of 2 or 3, a fourth and
    more of the resamples hold a single one and have no error of their own; `LEAST_SPREAD` stands
    in, and the interval is about five and ten times as wide as the data: .94 and more for normal
    means. Where all values are equal the interval is that point, even if another sample would
    differ: of a share of .3 it covers .41 at 2, .74 at 4 and .94 at 8.

    Args:
        values: One row a sequence; NaN where a sequence cannot test the column.
        seed: Of the resampling.
        clusters: Which sequences belong together, such as those of one document, a number each:
            clusters are resampled in their stead. None where all are apart.

    Returns:
        Means, the ends of their 95 % intervals, and how many sequences count; a column without
        any is NaN with n = 0, and one with a single sequence or cluster has no interval.

    Source:
        Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; Hall 1988, "Theoretical
        Comparison of Bootstrap Confidence Intervals", for the studentised ones.
    """
    known = ~np.isnan(values)
    return ratio_of_sums(np.where(known, values, 0.0), known.astype(float), seed, clusters)


def ratio_of_sums(
    top: Float[ndarray, "sequence column"],
    bottom: Float[ndarray, "sequence column"],
    seed: int,
    clusters: Int[ndarray, " sequence"] | None = None,
) -> Estimate:
    """Sum of one number over the sum of another for every column, with its interval.

    Unlike a mean of ratios it is not ruled by the sequences whose ratio is all but undefined.

    Args:
        top: One row a sequence.
        bottom: The same shape; a sequence counts for a column where it is not 0.
        seed: Of the resampling, which is that of `bootstrap`.
        clusters: As `bootstrap` takes them.

    Returns:
        Ratios as `mean`, the ends of their 95 % intervals, and how many sequences count. Standard
        errors are those of the linearised ratio; coverage is that of `bootstrap`, but for .91
        where what is left of the numerator is exponential, at 8.
    """
    n = (bottom != 0).sum(0)
    if clusters is not None:
        _, places = np.unique(clusters, return_inverse=True)
        top, bottom = (_by_cluster(each, places) for each in (top, bottom))
    n_units = top.shape[0]
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_units, np.full(n_units, 1 / n_units), N_RESAMPLES).astype(float)
    counts = (bottom != 0).sum(0)
    ends = np.full((2, n.size), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, top.sum(0) / bottom.sum(0), np.nan)
        for chosen, interval in (
            ((counts > 1) & (counts < STUDENTISED), _studentised),
            (counts >= STUDENTISED, _percentiles),
        ):
            for start in range(0, int(chosen.sum()), _AT_ONCE):
                some = np.flatnonzero(chosen)[start : start + _AT_ONCE]
                ends[:, some] = interval(top[:, some], bottom[:, some], draws)
    return Estimate(mean, ends[0], ends[1], n)


def _percentiles(top: ndarray, bottom: ndarray, draws: ndarray) -> tuple[ndarray, ndarray]:
    """The 2.5 % and 97.5 % points of the resampled ratios."""
    return band((draws @ top) / (draws @ bottom))


def _studentised(top: ndarray, bottom: ndarray, draws: ndarray) -> tuple[ndarray, ndarray]:
    """The ratio minus the 97.5 % and 2.5 % points of its resampled t, in standard errors."""
    total = bottom.sum(0)
    ratio = top.sum(0) / total
    rest = top - ratio * bottom
    rest[np.abs(rest) <= _ROUNDING * np.abs(top)] = 0
    error = np.sqrt((rest**2).sum(0)) / np.abs(total)
    sums = draws @ bottom
    moved = (draws @ rest) / sums
    squares = draws @ rest**2 - 2 * moved * (draws @ (rest * bottom))
    squares += moved**2 * (draws @ bottom**2)
    own = np.sqrt(np.maximum(squares, 0)) / np.abs(sums)
    t = moved / np.maximum(own, LEAST_SPREAD * error)
    low, high = (np.where(error > 0, end, 0) for end in band(t))
    return ratio - high * error, ratio - low * error


def _by_cluster(values: ndarray, places: ndarray) -> ndarray:
    """Sums over the sequences of every cluster."""
    sums = np.zeros((places.max(initial=-1) + 1, values.shape[1]))
    np.add.at(sums, places, values)
    return sums
