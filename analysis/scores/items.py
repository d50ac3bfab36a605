"""Scores between named positions of templated prompts."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .registry import HeadScore


def attention_between(
    pattern: Float[Tensor, "batch head query key"],
    query: Int[Tensor, " batch"],
    key: Int[Tensor, " batch"],
) -> Float[Tensor, "batch head"]:
    """Attention from one position to another, which differ by row.

    Args:
        pattern: Post-softmax attention.
        query: The position that looks, for each row.
        key: The position that is looked at.

    Returns:
        A[query, key], in [0, 1].
    """
    row = torch.arange(pattern.shape[0], device=pattern.device)
    return pattern[row, :, query, key]


def successor_score(
    pattern: Float[Tensor, "batch head query key"], positions: Int[Tensor, " item"]
) -> Float[Tensor, "batch head"]:
    """Mean attention from each item of a list to the item before it.

    The first pair is left out: the first item is next to BOS.

    Args:
        pattern: Post-softmax attention on "e0, e1, e2, ...".
        positions: Where the items are, in order, at least three.

    Returns:
        Mean of A[pos_k, pos_{k-1}] over k >= 2, in [0, 1].

    Raises:
        ValueError: There are fewer than three items.

    Source:
        Gould et al. 2023, "Successor Heads".
    """
    if len(positions) < 3:
        raise ValueError(f"expected at least 3 items, got {len(positions)}")
    return pattern[..., positions[2:], positions[1:-1]].mean(-1)


SCORES = (
    HeadScore(
        name="successor",
        function=successor_score,
        data="signal",
        also=("ordinal", "control"),
        label="successor",
        threshold=0.1,
        neutral=0.0,
        column=6,
        version=0,
    ),
    HeadScore(
        name="s_inhibition",
        function=attention_between,
        data="gifts",
        label="S-inhibition",
        threshold=0.2,
        control=("attention_to_s1", "gifts"),
        column=7,
        version=0,
    ),
)
