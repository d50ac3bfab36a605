"""From numbers on every sequence to rows of `comparisons`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.questions.rows import interval_columns
from analysis.statistics.medians import effective_n, median_interval
from analysis.statistics.resampling import Estimate, bootstrap, ratio_of_sums

from .measures import Key

ROUNDING = 1e-9
"""Of the largest of its metric in its layer: squared distances of equal outputs come out below."""

MEDIANS = {name: name for name in ("redundancy", "log_ratio", "harm")} | {"kl": "kl_median"}
"""What is summed up by its median, and what that is called; divergences have a mean, too."""
WEIGHED = ("kl", "distance2")
"""What large sequences rule the mean of, and the ratio of sums."""

Found = Mapping[Key, Float[np.ndarray, " sequence"]]


def summaries(found: Found, floor: float, seed: int) -> pl.DataFrame:
    """All sequences together.

    Args:
        found: Every number on every sequence.
        floor: Under it a divergence may be rounding, in nats.
        seed: Of the bootstrap.

    Returns:
        Medians of what is in `MEDIANS`, means of all else, and of divergences both; `effective_n`
        of means of what is `WEIGHED`; and what `_pooled` says.
    """
    by_mean = [key for key in found if MEDIANS.get(key[4]) != key[4]]
    by_median = [key for key in found if key[4] in MEDIANS]
    weighed = [key for key in found if key[4] in WEIGHED]
    return pl.concat(
        [
            _rows(by_mean, bootstrap(_columns(found, by_mean), seed)),
            _rows(_renamed(by_median, MEDIANS), _medians(found, by_median)),
            _rows(_renamed(weighed, dict.fromkeys(WEIGHED, "effective_n")), _kish(found, weighed)),
            _pooled(found, floor, seed),
        ]
    )


def on_sequences(key: Key, values: Float[np.ndarray, " sequence"]) -> pl.DataFrame:
    """Rows of one number on every sequence."""
    each = pl.DataFrame({"sequence": np.arange(len(values)), "value": values})
    return _keyed([key], each.with_columns(place=pl.lit(0)))


def _pooled(found: Found, floor: float, seed: int) -> pl.DataFrame:
    """R of all sequences together, and the shares on which its parts are too small.

    Returns:
        `redundancy_pooled`, from sums of what B does; `undefined`, the share of sequences without
        an index or log-ratio; and of the log-ratio `at_floor`, the share on which one of its parts
        counts as the floor.
    """
    indices = [key for key in found if key[4] in {"redundancy", "log_ratio"}]
    parts = [_parts(found, key) for key in indices]
    known = [~np.isnan(whole) for _, whole in parts]
    tops = [
        np.where(there, whole - left, 0.0)
        for (left, whole), there in zip(parts, known, strict=True)
    ]
    bottoms = [np.where(there, whole, 0.0) for (_, whole), there in zip(parts, known, strict=True)]
    undefined = [
        np.where(there, np.isnan(found[key]), np.nan)
        for key, there in zip(indices, known, strict=True)
    ]
    logs = [i for i, key in enumerate(indices) if key[4] == "log_ratio"]
    clamped = [
        np.where(np.isnan(found[indices[i]]), np.nan, np.minimum(*parts[i]) < floor) for i in logs
    ]
    shares = (
        ("redundancy_pooled", indices, ratio_of_sums(_stacked(tops), _stacked(bottoms), seed)),
        ("undefined", indices, bootstrap(_stacked(undefined), seed)),
        ("at_floor", [indices[i] for i in logs], bootstrap(_stacked(clamped), seed)),
    )
    return pl.concat(
        _rows([(*key[:4], metric) for key in keys], estimate) for metric, keys, estimate in shares
    )


def _parts(found: Found, index: Key) -> tuple[np.ndarray, np.ndarray]:
    """What B does after A and alone, where an index is taken."""
    lag, _, name, layer, _ = index
    metric = "kl" if layer is None else "distance2"
    left = found[lag, "A", name, layer, metric]
    return left, found[lag, "base", name.removeprefix("A+"), layer, metric]


def _kish(found: Found, keys: Sequence[Key]) -> Estimate:
    """How many equal sequences would weigh as much, of every number; none of what is rounding."""
    columns = _columns(found, keys)
    largest: dict[tuple[int | None, str], float] = {}
    for key, column in zip(keys, columns.T, strict=True):
        largest[key[3:]] = max(largest.get(key[3:], 0.0), float(np.nan_to_num(column).max()))
    least = ROUNDING * np.array([largest[key[3:]] for key in keys])
    columns = np.where(columns < least, 0.0, columns)
    unknown = np.full(columns.shape[1], np.nan)
    return Estimate(effective_n(columns), unknown, unknown, (~np.isnan(columns)).sum(0))


def _medians(found: Found, keys: Iterable[Key]) -> Estimate:
    columns = _columns(found, keys)
    mean, lower, upper = np.array([median_interval(column) for column in columns.T]).T
    return Estimate(mean, lower, upper, (~np.isnan(columns)).sum(0))


def _columns(found: Found, keys: Iterable[Key]) -> np.ndarray:
    return _stacked(found[key] for key in keys)


def _stacked(columns: Iterable[np.ndarray]) -> np.ndarray:
    return np.stack(list(columns), 1)


def _renamed(keys: Iterable[Key], names: Mapping[str, str]) -> list[Key]:
    return [(*key[:4], names[key[4]]) for key in keys]


def _rows(keys: Iterable[Key], estimate: Estimate) -> pl.DataFrame:
    rows = interval_columns(estimate).with_row_index("place")
    return _keyed(keys, rows.with_columns(sequence=pl.lit(None, pl.Int32)))


def _keyed(keys: Iterable[Key], rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose `place` among the keys is spelled out."""
    columns = pl.DataFrame(
        [(i, *key) for i, key in enumerate(keys)],
        schema={
            "place": pl.Int64,
            "lag": pl.Int32,
            "reference": pl.String,
            "condition": pl.String,
            "layer": pl.Int16,
            "metric": pl.String,
        },
        orient="row",
    )
    typed = rows.with_columns(pl.col("place").cast(pl.Int64), pl.col("sequence").cast(pl.Int32))
    return columns.join(typed, on="place").drop("place")
