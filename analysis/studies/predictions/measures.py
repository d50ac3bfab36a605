"""What conditions predict after one position, as rows of the store's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.errors import UserError
from analysis.text.tokens import Tokens, Vocabulary

TARGET = "target"
"""The condition that leaves the model as it is, and what most others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a model predicts after one position under one condition."""

    condition: str
    baseline: str
    """The condition that changes are measured against; a baseline is its own."""
    logits: Float[Tensor, " d_vocab"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something is predicted."""

    model: str
    vocabulary: Vocabulary
    tokens: Tokens
    """One row."""
    position: int


def prediction_rows(outcomes: Sequence[Outcome], place: Place, top_k: int) -> pl.DataFrame:
    """Rows of `predictions`: the predicted token, the baseline's, and what moved most.

    Args:
        outcomes: Conditions, their baselines among them.
        place: Where.
        top_k: How many risers, and how many fallers, are kept; a token that did not rise or
            fall is neither.

    Returns:
        The rows, by condition, kind and rank.

    Raises:
        UserError: Some logits are not numbers.
    """
    by_name = {one.condition: one.logits.double() for one in outcomes}
    about = (place.model, place.tokens.text, 0, place.position)
    rows: list[tuple[Any, ...]] = []
    for one in outcomes:
        logits, base = by_name[one.condition], by_name[one.baseline]
        change = logits - base
        if not change.isfinite().all():
            raise UserError(
                f"expected finite logits, got others under {one.condition}; ablate less, or leave "
                "it out"
            )
        kinds = {
            "top": logits.argmax().view(1),
            "base_top": base.argmax().view(1),
            "riser": _largest(change, top_k),
            "faller": _largest(-change, top_k),
        }
        for kind, ids in kinds.items():
            values = zip(ids.tolist(), logits[ids].tolist(), change[ids].tolist(), strict=True)
            for rank, (i, logit, moved) in enumerate(values, start=1):
                names = (one.condition, one.baseline, kind, rank)
                rows.append((*about, *names, i, place.vocabulary.display(i), logit, moved))
    return pl.DataFrame(rows, schema=_COLUMNS, orient="row")


def prompt_rows(tokens: Tokens, vocabulary: Vocabulary) -> pl.DataFrame:
    """Rows of `prompts` of one row of tokens."""
    ids = tokens.ids[0].tolist()
    return pl.DataFrame(
        {
            "text": [tokens.text] * len(ids),
            "sequence": [0] * len(ids),
            "position": range(len(ids)),
            "token_id": ids,
            "token": [vocabulary.display(i) for i in ids],
        }
    )


def _largest(values: Float[Tensor, " d_vocab"], count: int) -> Tensor:
    """Ids of the largest positive values, the largest first; of equal ones the lower id."""
    order = torch.argsort(values, descending=True, stable=True)[:count]
    return order[values[order] > 0]


_COLUMNS = {
    **dict.fromkeys(("model", "text"), pl.String),
    **dict.fromkeys(("sequence", "position"), pl.Int32),
    **dict.fromkeys(("condition", "baseline", "kind"), pl.String),
    "rank": pl.Int16,
    "token_id": pl.Int32,
    "token": pl.String,
    **dict.fromkeys(("logit", "change"), pl.Float64),
}
