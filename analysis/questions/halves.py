"""Which heads are strongest: chosen on the even sequences, so that the odd ones can judge them."""

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from analysis.errors import UserError
from analysis.interventions import Head

EVEN = pl.col("sequence") % 2 == 0
"""Rows of the sequences that choose; an aggregate is none of them."""
ODD = pl.col("sequence") % 2 == 1
"""Rows of the sequences that judge."""


NO_FLOOR = -np.inf
"""Every head is ranked, however small its score."""


def heads_by_score(
    scores: pl.DataFrame, score: str, data: str, floor: float = NO_FLOOR
) -> list[tuple[Head, float]]:
    """Heads by their mean over the even sequences.

    Args:
        scores: Rows of `head_scores`.
        score: Which.
        data: What it is measured on.
        floor: Heads below it are left out: they are no heads of the kind.

    Returns:
        Heads and means, the largest first; of equal ones the last of the model. None where no
        head reaches the floor.
    """
    rows = scores.filter(EVEN, score=score, data=data)
    means = rows.group_by("layer", "head").agg(pl.col("value").mean())
    ranked = means.sort("value", "layer", "head", descending=True).rows()
    return [(Head(layer, head), mean) for layer, head, mean in ranked if not mean < floor]


def strongest_head(scores: pl.DataFrame, score: str, data: str, floor: float = NO_FLOOR) -> Head:
    """The first of `heads_by_score`.

    Raises:
        UserError: No head reaches the floor.
    """
    found = heads_by_score(scores, score, data, floor)
    if not found:
        best = heads_by_score(scores, score, data)[:1]
        told = f"{best[0][1]:.3g} of {best[0][0]} at most" if best else "no head"
        raise UserError(
            f"expected a head with a score {score} of at least {floor:g} on {data}, got {told}; "
            "nothing can be said of such heads of this model"
        )
    return found[0][0]


def odd_values(
    scores: pl.DataFrame, score: str, data: str, head: Head, column: str = "value"
) -> np.ndarray:
    """One head's values on the odd sequences that can test it, in order."""
    rows = scores.filter(ODD, score=score, data=data, layer=head.layer, head=head.head)
    return rows.sort("sequence")[column].to_numpy()


def strongest_first(
    values: Float[np.ndarray, "sequence ..."], floor: float = NO_FLOOR
) -> Int[np.ndarray, " place"]:
    """Places of heads by their mean over the even sequences; equal ones in their order.

    Args:
        values: Of every head, by layer and head or in any one order.
        floor: Heads below it are left out.

    Returns:
        Places among all heads, that of the largest mean first; none where no head reaches the
        floor.
    """
    means = values[::2].mean(0).reshape(-1)
    order = np.argsort(-means, kind="stable")
    return order[~(means[order] < floor)]
