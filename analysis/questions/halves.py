"""Which heads are strongest: chosen on the even sequences, so that the odd ones can judge them."""

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from analysis.interventions import Head

EVEN = pl.col("sequence") % 2 == 0
"""Rows of the sequences that choose; an aggregate is none of them."""
ODD = pl.col("sequence") % 2 == 1
"""Rows of the sequences that judge."""


def heads_by_score(scores: pl.DataFrame, score: str, data: str) -> list[tuple[Head, float]]:
    """Heads by their mean over the even sequences.

    Args:
        scores: Rows of `head_scores`.
        score: Which.
        data: What it is measured on.

    Returns:
        Heads and means, the largest first; of equal ones the last of the model.
    """
    rows = scores.filter(EVEN, score=score, data=data)
    means = rows.group_by("layer", "head").agg(pl.col("value").mean())
    ranked = means.sort("value", "layer", "head", descending=True).rows()
    return [(Head(layer, head), mean) for layer, head, mean in ranked]


def strongest_head(scores: pl.DataFrame, score: str, data: str) -> Head:
    """The first of `heads_by_score`; whether it is strong is another question."""
    return heads_by_score(scores, score, data)[0][0]


def odd_values(
    scores: pl.DataFrame, score: str, data: str, head: Head, column: str = "value"
) -> np.ndarray:
    """One head's values on the odd sequences that can test it, in order."""
    rows = scores.filter(ODD, score=score, data=data, layer=head.layer, head=head.head)
    return rows.sort("sequence")[column].to_numpy()


def strongest_first(values: Float[np.ndarray, "sequence ..."]) -> Int[np.ndarray, " place"]:
    """Places of heads by their mean over the even sequences; equal ones in their order.

    Args:
        values: Of every head, by layer and head or in any one order.

    Returns:
        Places among all heads, that of the largest mean first.
    """
    return np.argsort(-values[::2].mean(0).reshape(-1), kind="stable")
