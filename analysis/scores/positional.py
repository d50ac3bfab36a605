"""Scores of where a head looks whatever the tokens are."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from .registry import HeadScore


def uniform_pattern(n_pos: int) -> Float[Tensor, "1 1 query key"]:
    """Attention that is equal over everything visible: what every chance level is measured on.

    Args:
        n_pos: Number of queries and keys.

    Returns:
        Row i holds 1 / (i + 1) at keys 0..i, in float64.
    """
    visible = torch.ones(n_pos, n_pos, dtype=torch.float64).tril()
    return (visible / visible.sum(-1, keepdim=True))[None, None]


def previous_token_score(
    pattern: Float[Tensor, "batch head query key"],
) -> Float[Tensor, "batch head"]:
    """Mean attention from each token to the one before it.

    Query 1 is left out, since the token before it is BOS.

    Args:
        pattern: Post-softmax attention, at least 3 positions.

    Returns:
        Mean of A[i, i-1] over i >= 2, in [0, 1].

    Raises:
        ValueError: There are fewer than 3 positions.

    Source:
        Olsson et al. 2022, "In-context Learning and Induction Heads".
    """
    if pattern.shape[-1] < 3:
        raise ValueError(f"expected at least 3 positions, got {pattern.shape[-1]}")
    return pattern.diagonal(offset=-1, dim1=-2, dim2=-1)[..., 1:].mean(-1)


def bos_score(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head"]:
    """Mean attention to position 0.

    Args:
        pattern: Post-softmax attention, at least 2 positions.

    Returns:
        Mean of A[q, 0] over q >= 1, in [0, 1]. It is attention to BOS only where position 0 holds
        one; the caller knows.

    Source:
        Xiao et al. 2023, "Efficient Streaming Language Models with Attention Sinks".
    """
    return pattern[..., 1:, 0].mean(-1)


def offset_profile(
    pattern: Float[Tensor, "batch head query key"], n_offsets: int
) -> Float[Tensor, "batch head offset"]:
    """Mean attention to the token d positions back, for every d.

    Args:
        pattern: Post-softmax attention under a causal mask.
        n_offsets: Offsets d = 0 .. n_offsets - 1, at most the number of positions.

    Returns:
        Mean of A[q, q-d] over q >= d, in [0, 1].

    Raises:
        ValueError: More offsets than positions are asked for.
    """
    n_pos = pattern.shape[-1]
    if n_offsets > n_pos:
        raise ValueError(f"expected at most {n_pos} offsets, got {n_offsets}")
    total = _skewed(pattern, n_offsets).sum(-2).flip(-1)
    n_queries = torch.arange(n_pos, n_pos - n_offsets, -1, device=pattern.device)
    return total / n_queries


def _skewed(
    pattern: Float[Tensor, "batch head query key"], n_offsets: int
) -> Float[Tensor, "batch head query offset"]:
    """A view of A[q, q-d] at (q, n_offsets - 1 - d); where d > q it is a masked entry, so 0.

    In row-major order A[q, q-d] lies at q (T + 1) - d: a step of T + 1 a query, and one back an
    offset. Zeros in front keep the address of (0, d) inside, and for d > q the address falls on
    the row above, right of its diagonal.
    """
    batch, head, n_pos, _ = pattern.shape
    front = n_offsets - 1
    flat = F.pad(pattern.reshape(batch, head, -1), (front, 0))
    stride = flat.stride()
    return flat.as_strided((batch, head, n_pos, n_offsets), (stride[0], stride[1], n_pos + 1, 1))


SCORES = (
    HeadScore(
        name="previous_token",
        function=previous_token_score,
        data="text",
        also=("random",),
        label="previous token",
        threshold=0.4,
        column=1,
        version=0,
    ),
    HeadScore(
        name="bos",
        function=bos_score,
        data="text",
        also=("random",),
        label="BOS sink",
        threshold=0.4,
        column=4,
        version=0,
    ),
)
