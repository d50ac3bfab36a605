"""From recall by lag to the tidy rows of the store's tables."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from analysis.questions.rows import Labels, interval_columns
from analysis.scores.lags import expected_by_slot
from analysis.statistics.resampling import Estimate, bootstrap, ratio_of_sums

from .recall import Recall

RATIO = "ratio"
"""P(+1) / P(-1) of all sequences together; it has no rows of single ones."""


def profile_rows(found: Recall, described: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """Rows of `lag_profiles`: every condition's own profile.

    Args:
        found: What was read.
        described: The conditions' rows of `ablations`.
        labels: What the rows are about.

    Returns:
        A row for each condition and lag; n counts permutations.
    """
    frames: list[pl.DataFrame] = []
    for i, row in enumerate(described.iter_rows(named=True)):
        p, odds = (bootstrap(values[i], labels.seed) for values in (found.p, found.log_odds))
        expected = expected_by_slot(found.alone[i], found.slots)
        frames.append(_profile(row, p, odds, expected))
    return pl.concat(frames)


def drawn_profile(found: Recall, described: pl.DataFrame) -> pl.DataFrame:
    """Rows of `lag_profiles`: one profile over all conditions, which are draws of one size.

    Args:
        found: What was read.
        described: The draws' rows of `ablations`.

    Returns:
        A row for each lag: the mean over draws, and 95 % of the draws; n counts draws.
    """
    row = described.row(0, named=True)
    family, size = row["family"], row["size"]
    name = f"{row['method']} {family}, {size} heads, {len(described)} sets"
    expected = [expected_by_slot(alone, found.slots) for alone in found.alone]
    p, odds = (_band(_over_sequences(values)) for values in (found.p, found.log_odds))
    return _profile({**row, "condition": name}, p, odds, np.mean(expected, 0))


def measure_rows(found: Recall, described: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """Rows of `lag_measures`: for every condition and permutation, and over all permutations.

    Args:
        found: What was read.
        described: The conditions' rows of `ablations`.
        labels: What the rows are about.

    Returns:
        The rows; permutations that cannot test a measure have none of it.
    """
    conditions = described["condition"].to_list()
    frames: list[pl.DataFrame] = []
    for name, values in found.measures.items():
        frames.append(_each(name, values, conditions))
        frames.append(_every(name, bootstrap(values.T, labels.seed), conditions))
    known = ~np.isnan(found.measures["log_ratio"])
    after, before = (
        np.where(known, found.measures[name], 0.0).T for name in ("successor", "predecessor")
    )
    frames.append(_every(RATIO, ratio_of_sums(after, before, labels.seed), conditions))
    subject = {name: pl.lit(labels.columns()[name], pl.String) for name in ("model", "text")}
    rows = pl.concat(frames, how="diagonal").filter(pl.col("value").is_not_nan())
    return rows.with_columns(**subject)


def over_draws(rows: pl.DataFrame, condition: str) -> pl.DataFrame:
    """Rows of `lag_measures` of random sets.

    Args:
        rows: Those of `measure_rows`.
        condition: What all draws together are called.

    Returns:
        Every draw's over all permutations; and those of single permutations as means over draws.
    """
    single = pl.col("sequence").is_not_null()
    by = ("model", "text", "measure", "sequence")
    means = rows.filter(single).group_by(by, maintain_order=True).agg(pl.col("value").mean())
    named = means.with_columns(condition=pl.lit(condition))
    return pl.concat([rows.filter(~single), named], how="diagonal")


def _profile(
    row: dict[str, object], p: Estimate, log_odds: Estimate, expected: np.ndarray
) -> pl.DataFrame:
    """One profile, a row for each lag that any sequence has."""
    n = (len(expected) + 1) // 2
    rows = pl.DataFrame(
        {
            "lag": np.arange(1 - n, n, dtype=np.int32),
            "p": p.mean,
            "lower": p.lower,
            "upper": p.upper,
            "n": p.n.astype(np.int32),
            "log_odds": log_odds.mean,
            "log_odds_lower": log_odds.lower,
            "log_odds_upper": log_odds.upper,
            "expected": expected,
        }
    )
    described = ("model", "text", "condition", "family", "method", "size")
    constants = {name: pl.lit(row[name]) for name in described}
    return rows.filter(pl.col("p").is_not_nan()).with_columns(
        pl.selectors.float().fill_nan(None), **constants
    )


def _over_sequences(values: np.ndarray) -> np.ndarray:
    """Each draw's profile (draw, lag): the mean over the sequences that have the lag."""
    known = ~np.isnan(values)
    counts = known.sum(1)
    sums = np.where(known, values, 0.0).sum(1)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _band(draws: np.ndarray) -> Estimate:
    """Mean over draws and the ends of 95 % of them; all draws know the same lags."""
    lower, upper = np.quantile(draws, (0.025, 0.975), axis=0)
    return Estimate(draws.mean(0), lower, upper, np.full(draws.shape[1], len(draws)))


def _each(measure: str, values: np.ndarray, conditions: Sequence[str]) -> pl.DataFrame:
    n_sequences = values.shape[1]
    return pl.DataFrame(
        {
            "condition": np.repeat(np.array(conditions, dtype=object), n_sequences),
            "measure": measure,
            "sequence": np.tile(np.arange(n_sequences, dtype=np.int32), len(conditions)),
            "value": values.reshape(-1),
        },
        schema_overrides={"condition": pl.String},
    )


def _every(measure: str, found: Estimate, conditions: Sequence[str]) -> pl.DataFrame:
    about = pl.DataFrame({"condition": conditions, "measure": measure})
    return about.with_columns(interval_columns(found).get_columns())
