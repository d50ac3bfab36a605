"""From changes of heads' scores and of the loss to rows of the store's tables."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.interventions import Condition, Effects, Head
from analysis.models.card import ModelCard
from analysis.statistics.resampling import bootstrap

from .effect_rows import effect_rows
from .rows import Labels, interval_columns


def head_effects(
    changes: Float[np.ndarray, "condition sequence head"],
    conditions: Sequence[str],
    heads: Sequence[Head],
    score: str,
    labels: Labels,
) -> pl.DataFrame:
    """What conditions change in a score of some heads.

    Args:
        changes: Ablated minus base.
        conditions: Names of the conditions.
        heads: The scored heads.
        score: Its name.
        labels: What the rows are about.

    Returns:
        One aggregate row a condition and head, and one for each sequence.
    """
    n_conditions, n_sequences, n_heads = changes.shape
    flat = changes.transpose(1, 0, 2).reshape(n_sequences, -1)
    keys = pl.DataFrame(
        {
            "condition": np.repeat(np.array(conditions, dtype=object), n_heads).tolist(),
            "layer": [head.layer for head in heads] * n_conditions,
            "head": [head.head for head in heads] * n_conditions,
        },
        schema={"condition": pl.String, "layer": pl.Int16, "head": pl.Int16},
    )
    found = interval_columns(bootstrap(flat, labels.seed))
    every = keys.with_columns(pl.lit(None, pl.Int32).alias("sequence"), *found.get_columns())
    each = [
        keys.with_columns(sequence=pl.lit(i, pl.Int32), value=pl.Series(row))
        for i, row in enumerate(flat)
    ]
    about = labels.columns()
    return pl.concat([every, *each], how="diagonal").select(
        *(pl.lit(about[name], pl.String).alias(name) for name in ("model", "text")),
        "condition",
        pl.lit(score).alias("score"),
        *("layer", "head", "sequence", "value", "lower", "upper", "n"),
    )


def loss_effects(
    changes: Float[np.ndarray, "condition scope sequence"],
    conditions: Sequence[Condition],
    scopes: tuple[str, ...],
    labels: Labels,
) -> dict[str, pl.DataFrame]:
    """Rows of `ablations`, `ablation_effects` and `ablation_means` where losses alone are measured.

    Args:
        changes: Next-token loss, ablated minus base; NaN where it was not measured.
        conditions: What was done.
        scopes: Names of the scopes.
        labels: What the rows are about.

    Returns:
        Frames by table; other metrics are NULL.
    """
    return effect_rows(Effects(tuple(conditions), scopes, {"loss_change": changes}), labels)


def scattered(
    values: Float[np.ndarray, "sequence head"], heads: Sequence[Head], card: ModelCard
) -> Float[np.ndarray, "sequence layer every_head"]:
    """Values of some heads among all heads of the model; the others are NaN."""
    everywhere = np.full((len(values), card.n_layers, card.n_heads), np.nan)
    for column, head in zip(values.T, heads, strict=True):
        everywhere[:, head.layer, head.head] = column
    return everywhere
