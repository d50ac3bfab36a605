"""From arrays over sequences to the tidy rows of the store's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.models.files.card import ModelCard
from analysis.statistics.resampling import Estimate, bootstrap
from analysis.text.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What all rows of one frame say alike."""

    card: ModelCard
    tokens: Tokens | None
    """None for rows that pool several data sets."""
    data: str
    """Which data set: `text`, `random`, `repeated`, `shuffled`, ..."""
    seed: int
    """Of the bootstrap."""

    def columns(self) -> dict[str, str | None]:
        """The model's and the text's id, and the name of the data."""
        text = None if self.tokens is None else self.tokens.text
        return {"model": self.card.model, "text": text, "data": self.data}


def literals(columns: Mapping[str, str | None]) -> dict[str, pl.Expr]:
    """Columns of one text each; NULL for None."""
    return {name: pl.lit(value, pl.String) for name, value in columns.items()}


def interval_columns(estimate: Estimate) -> pl.DataFrame:
    """Columns `value`, `lower`, `upper` and `n`, a row for each column; ends may be NULL."""
    ends = {"lower": estimate.lower, "upper": estimate.upper, "n": estimate.n}
    rows = pl.DataFrame({"value": estimate.mean, **ends}, schema_overrides={"n": pl.Int32})
    return rows.with_columns(pl.col("lower", "upper").fill_nan(None))


def head_scores(
    values: np.ndarray,
    chance: np.ndarray | float | None,
    score: str,
    labels: Labels,
    clusters: np.ndarray | None = None,
) -> pl.DataFrame:
    """Rows of `head_scores`: one for each head and sequence, and one aggregate for each head.

    Args:
        values: Scores (sequence, layer, head); NaN where a sequence cannot test the score.
        chance: The score of uniform attention: for all alike, for each sequence, or for each
            (sequence, layer, head); None if it has none.
        score: Its name.
        labels: What the rows are about.
        clusters: Which sequences belong together, as `bootstrap` takes them.

    Returns:
        The rows; sequences and heads that the data cannot test have none.
    """
    n_sequences, n_layers, n_heads = values.shape
    level = np.asarray(np.nan if chance is None else chance, dtype=float)
    apart = level[:, None, None] if level.ndim == 1 else level
    expected = np.broadcast_to(apart, values.shape).reshape(n_sequences, -1)
    layer, head = np.indices((n_layers, n_heads)).reshape(2, -1)
    each = pl.DataFrame(
        {
            "layer": np.tile(layer, n_sequences),
            "head": np.tile(head, n_sequences),
            "sequence": np.repeat(np.arange(n_sequences), n_layers * n_heads),
            "value": values.reshape(-1),
            "chance": expected.reshape(-1),
        }
    )
    flat = values.reshape(n_sequences, -1)
    known = ~np.isnan(flat).all(axis=1)
    by_head = np.ascontiguousarray(expected[known].T)
    level = by_head.mean(1) if known.any() else np.nan
    every = _aggregate(flat, level, labels.seed, clusters)
    both = pl.concat([every.with_columns(layer=layer, head=head), each], how="diagonal")
    return _finished(both, {**labels.columns(), "score": score}, _HEAD_SCORES)


def head_profiles(
    values: np.ndarray, chance: np.ndarray, profile: str, first_lag: int, labels: Labels
) -> pl.DataFrame:
    """Rows of `head_profiles`: the mean over sequences for each head and lag.

    Args:
        values: Profiles (sequence, layer, head, lag).
        chance: The same of uniform attention.
        profile: Its name.
        first_lag: The lag of the first column.
        labels: What the rows are about.

    Returns:
        The rows.
    """
    n_sequences, n_layers, n_heads, n_lags = values.shape
    layer, head, lag = np.indices((n_layers, n_heads, n_lags)).reshape(3, -1)
    expected = chance.mean(0).reshape(-1)
    rows = _aggregate(values.reshape(n_sequences, -1), expected, labels.seed)
    rows = rows.with_columns(layer=layer, head=head, lag=lag + first_lag)
    return _finished(rows, {**labels.columns(), "profile": profile}, _HEAD_PROFILES)


def model_scores(
    values: Mapping[str, np.ndarray], chance: Mapping[str, float], labels: Labels
) -> pl.DataFrame:
    """Rows of `model_scores`: whole-model numbers for each sequence and in aggregate.

    Args:
        values: For every score one number a sequence.
        chance: What knowing nothing would give, for the scores that have such a level.
        labels: What the rows are about.

    Returns:
        The rows.
    """
    frames: list[pl.DataFrame] = []
    for score, column in values.items():
        expected = chance.get(score, np.nan)
        each = pl.DataFrame({"sequence": np.arange(len(column)), "value": column})
        every = _aggregate(column[:, None], expected, labels.seed)
        both = pl.concat([every, each.with_columns(chance=pl.lit(expected))], how="diagonal")
        frames.append(_finished(both, {**labels.columns(), "score": score}, _MODEL_SCORES))
    return pl.concat(frames)


def joined(frames: Sequence[Mapping[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    """Tables of several answers, the rows of each one after the other."""
    tables = dict.fromkeys(table for frame in frames for table in frame)
    return {t: pl.concat([frame[t] for frame in frames if t in frame]) for t in tables}


def absence(card: ModelCard, score: str, data: str, reason: str) -> pl.DataFrame:
    """A row of `absences`: a score that the data cannot test, and why."""
    return pl.DataFrame({"model": card.model, "score": score, "data": data, "reason": reason})


def _aggregate(
    values: np.ndarray,
    chance: np.ndarray | float,
    seed: int,
    clusters: np.ndarray | None = None,
) -> pl.DataFrame:
    expected = np.broadcast_to(np.asarray(chance, dtype=float), values.shape[1:])
    estimate = bootstrap(values, seed, clusters)
    return interval_columns(estimate).with_columns(chance=pl.Series(expected))


_HEAD_SCORES = (
    *("model", "text", "score", "data", "layer", "head", "sequence"),
    *("value", "lower", "upper", "n", "chance"),
)
_HEAD_PROFILES = (
    *("model", "text", "profile", "data", "layer", "head", "lag"),
    *("value", "lower", "upper", "n", "chance"),
)
_MODEL_SCORES = (
    *("model", "text", "score", "data", "sequence"),
    *("value", "lower", "upper", "n", "chance"),
)
_TYPES = {
    **dict.fromkeys(("layer", "head"), pl.Int16),
    **dict.fromkeys(("lag", "sequence", "n"), pl.Int32),
}


def _finished(
    rows: pl.DataFrame, constants: Mapping[str, str | None], columns: tuple[str, ...]
) -> pl.DataFrame:
    """Add what all rows share, order and type the columns, and drop what was not measured."""
    known = rows.with_columns(**literals(constants))
    typed = known.select(columns).cast({c: t for c, t in _TYPES.items() if c in columns})
    measured = typed.filter(pl.col("value").is_not_nan())
    return measured.with_columns(pl.col("lower", "upper", "chance").fill_nan(None))


def layer_profiles(
    values: Float[np.ndarray, "sequence layer pos"], profile: str, labels: Labels
) -> pl.DataFrame:
    """Rows of `layer_profiles`: the mean over sequences at every layer and position."""
    n_sequences, n_layers, n_pos = values.shape
    layer, position = np.indices((n_layers, n_pos)).reshape(2, -1)
    rows = interval_columns(bootstrap(values.reshape(n_sequences, -1), labels.seed))
    places = {"layer": pl.Series(layer), "position": pl.Series(position)}
    return rows.with_columns(**places, **literals(labels.columns()), profile=pl.lit(profile))
