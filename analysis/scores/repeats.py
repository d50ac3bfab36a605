"""Scores on a random block that is shown twice."""

import torch
from jaxtyping import Float
from torch import Tensor

from .registry import HeadScore


def induction_score(
    pattern: Float[Tensor, "batch head query key"], n_bos: int
) -> Float[Tensor, "batch head"]:
    """Mean attention from each repeated token to the token after its first copy.

    The rows must be `BOS, s, s` for a random block `s` of length L, so that query L + k should
    attend to key k + 1 (k = 1..L-1); without a BOS every position is one less.

    Args:
        pattern: Post-softmax attention on the rows, n_bos + 2 L positions.
        n_bos: Tokens before the first block, 0 or 1.

    Returns:
        Mean over the L - 1 second-copy queries whose target is in the first copy, in [0, 1].

    Raises:
        ValueError: No block of at least 2 tokens fits twice.

    Source:
        Olsson et al. 2022, "In-context Learning and Induction Heads".
    """
    query, target = _stripe(pattern.shape[-1], n_bos)
    return pattern[..., query, target].mean(-1)


def induction_profile(
    pattern: Float[Tensor, "batch head query key"], n_bos: int, max_shift: int
) -> Float[Tensor, "batch head shift"]:
    """The induction score with the target shifted by -max_shift .. +max_shift tokens.

    A head that copies from a fixed distance peaks elsewhere than at shift 0.

    Args:
        pattern: Post-softmax attention on `BOS, s, s`.
        n_bos: Tokens before the first block, 0 or 1.
        max_shift: Largest shift to either side, less than L - 1.

    Returns:
        Mean over the queries whose shifted target exists, in [0, 1]; the middle entry is
        `induction_score`.

    Raises:
        ValueError: The shift leaves no query with a target.
    """
    query, target = _stripe(pattern.shape[-1], n_bos)
    if max_shift >= len(query):
        raise ValueError(f"expected a shift below {len(query)}, got {max_shift}")
    columns: list[Tensor] = []
    for shift in range(-max_shift, max_shift + 1):
        key = target + shift
        seen = (key >= 0) & (key <= query)
        columns.append(pattern[..., query[seen], key[seen]].mean(-1))
    return torch.stack(columns, dim=-1)


def _stripe(n_pos: int, n_bos: int) -> tuple[Tensor, Tensor]:
    """Second-copy queries, and the key after each one's first copy."""
    block_len, odd = divmod(n_pos - n_bos, 2)
    if odd or block_len < 2:
        raise ValueError(f"expected {n_bos} + 2 L positions with L >= 2, got {n_pos}")
    query = torch.arange(n_bos + block_len, n_bos + 2 * block_len - 1)
    return query, query - block_len + 1


SCORES = (
    HeadScore(
        name="induction",
        function=induction_score,
        data="repeated",
        also=("shuffled",),
        label="induction",
        threshold=0.4,
        control=("induction", "shuffled"),
        column=2,
        version=0,
    ),
)
