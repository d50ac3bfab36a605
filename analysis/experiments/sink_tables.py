"""Rows about single heads under a condition, and about layers and positions."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.interventions import Head
from analysis.statistics import bootstrap

from .tables import Labels


def head_effects(
    values: Float[np.ndarray, "sequence layer head"],
    named: tuple[str, str],
    heads: Sequence[Head],
    labels: Labels,
) -> pl.DataFrame:
    """Rows of `head_effects` for some heads: each sequence, and the aggregate.

    Args:
        values: Change of a score, ablated minus base.
        named: The condition, and the score.
        heads: Whose rows are kept.
        labels: What the rows are about.

    Returns:
        The rows.
    """
    columns = np.stack([values[:, layer, head] for layer, head in heads], axis=1)
    estimate = bootstrap(columns, labels.seed)
    n_sequences = len(values)
    place = {"layer": [h.layer for h in heads], "head": [h.head for h in heads]}
    every = pl.DataFrame(
        {
            **place,
            "value": estimate.mean,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "n": estimate.n,
        }
    )
    each = pl.DataFrame(
        {
            **{axis: np.tile(at, n_sequences) for axis, at in place.items()},
            "sequence": np.repeat(np.arange(n_sequences), len(heads)),
            "value": columns.reshape(-1),
        }
    )
    both = pl.concat([every.cast({"n": pl.Int64}), each], how="diagonal")
    return _finished(both, labels, condition=named[0], score=named[1])


def layer_profiles(
    values: Float[np.ndarray, "sequence layer pos"], profile: str, labels: Labels
) -> pl.DataFrame:
    """Rows of `layer_profiles`: the mean over sequences at every layer and position."""
    n_sequences, n_layers, n_pos = values.shape
    layer, position = np.indices((n_layers, n_pos)).reshape(2, -1)
    estimate = bootstrap(values.reshape(n_sequences, -1), labels.seed)
    rows = pl.DataFrame(
        {
            "layer": layer,
            "position": position,
            "value": estimate.mean,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "n": estimate.n,
        }
    )
    return _finished(rows, labels, profile=profile, data=labels.data)


def _finished(rows: pl.DataFrame, labels: Labels, **named: str) -> pl.DataFrame:
    """Add what all rows share, and leave out what was not measured."""
    shared = {name: labels.columns()[name] for name in ("model", "text")}
    constants = {name: pl.lit(value, pl.String) for name, value in {**shared, **named}.items()}
    known = rows.with_columns(**constants).filter(pl.col("value").is_not_nan())
    return known.with_columns(pl.col("lower", "upper").fill_nan(None))
