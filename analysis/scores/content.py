"""Scores of which tokens a head looks at."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .positional import uniform_pattern
from .registry import Given, HeadScore


def duplicate_token_score(
    pattern: Float[Tensor, "batch head query key"], tokens: Int[Tensor, "batch query"]
) -> Float[Tensor, "batch head"]:
    """Mean attention from tokens that occurred before to their earlier occurrences.

    Args:
        pattern: Post-softmax attention.
        tokens: The ids that it was computed on.

    Returns:
        For queries with an earlier equal token, the mean of the sum of A[i, j] over those j < i,
        in [0, 1]; NaN for a sequence without any repeat.

    Source:
        Wang et al. 2022, "Interpretability in the Wild".
    """
    earlier = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)
    mass = torch.einsum("bhqk,bqk->bh", pattern, earlier.to(pattern.dtype))
    return mass / earlier.any(-1).sum(-1)[:, None]


def text_induction_score(
    pattern: Float[Tensor, "batch head query key"], tokens: Int[Tensor, "batch query"]
) -> Float[Tensor, "batch head"]:
    """Mean attention from tokens that occurred before to what followed their earlier occurrences.

    It is induction where nothing was arranged: on natural text.

    Args:
        pattern: Post-softmax attention.
        tokens: The ids that it was computed on.

    Returns:
        For queries i with an earlier equal token, but for one just before, the mean of the sum of
        A[i, j + 1] over those j < i - 1, in [0, 1]; NaN for a sequence without any.

    Source:
        Olsson et al. 2022, "In-context Learning and Induction Heads".
    """
    followed = (tokens[:, :, None] == tokens[:, None, :]).tril(-2).roll(1, dims=-1)
    mass = torch.einsum("bhqk,bqk->bh", pattern, followed.to(pattern.dtype))
    return mass / followed.any(-1).sum(-1)[:, None]


def delimiter_score(
    pattern: Float[Tensor, "batch head query key"], is_delimiter: Bool[Tensor, "batch key"]
) -> Float[Tensor, "batch head"]:
    """Mean attention mass on delimiter tokens.

    Args:
        pattern: Post-softmax attention, at least 2 positions.
        is_delimiter: Whether each key holds one.

    Returns:
        Mean over queries q >= 1 of the mass on delimiters, in [0, 1].
    """
    return torch.einsum("bhqk,bk->bh", pattern[..., 1:, :], is_delimiter.to(pattern.dtype)) / (
        pattern.shape[-2] - 1
    )


def delimiter_ratio(
    pattern: Float[Tensor, "batch head query key"], is_delimiter: Bool[Tensor, "batch key"]
) -> Float[Tensor, "batch head"]:
    """Attention mass on delimiters over what uniform causal attention would give them.

    Args:
        pattern: Post-softmax attention.
        is_delimiter: Whether each key holds one.

    Returns:
        The ratio, 1 for uniform attention; NaN for a sequence without delimiters. Where a layer
        hides more keys, `TextScores` divides it by what attention gets that is uniform over the
        rest, so that this is 1.
    """
    uniform = uniform_pattern(pattern.shape[-1]).to(pattern)
    mass = delimiter_score(uniform.expand(pattern.shape[0], -1, -1, -1), is_delimiter)
    return delimiter_score(pattern, is_delimiter) / mass.where(mass > 0, torch.nan)


SCORES = (
    HeadScore(
        name="duplicate_token",
        function=duplicate_token_score,
        given=(Given.TOKENS,),
        data="text",
        untested="no sequence of the text holds a token twice",
        label="duplicate token",
        threshold=0.2,
        column=3,
        version=0,
    ),
    HeadScore(
        name="text_induction",
        function=text_induction_score,
        given=(Given.TOKENS,),
        data="text",
        untested="no sequence of the text holds a token twice, with another between",
        column=8,
        version=1,
    ),
    HeadScore(
        name="delimiter",
        function=delimiter_ratio,
        given=(Given.IS_DELIMITER,),
        data="text",
        untested="the text holds no token for . , ; : ! ? or newline",
        label="delimiter",
        threshold=2.0,
        neutral=1.0,
        column=5,
        version=0,
    ),
)
