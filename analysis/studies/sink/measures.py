"""What a sink at position 0 takes and carries: pure measures of patterns, values and norms."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.interventions.passes.stream import Score

PLACES = ("position_0", "self", "previous", "delimiter", "other")
"""Where attention goes; a key counts for the first that fits, so that the shares add up to 1."""

MAGNITUDE, MEDIANS = 100.0, 1_000.0
"""A massive activation is larger than the one, and than as many times the median magnitude."""


def attention_to(
    pattern: Float[Tensor, "batch head query key"], key: int, after: int
) -> Float[Tensor, "batch head"]:
    """Mean attention to one key from the queries after a position.

    Args:
        pattern: Post-softmax attention.
        key: The position that is looked at, at most `after`.
        after: Queries q > after count, so that two keys are compared on the same queries.

    Returns:
        Mean of A[q, key] over q > after, in [0, 1].
    """
    return pattern[..., after + 1 :, key].mean(-1)


def mean_where(
    column: Float[Tensor, "batch head query"], chosen: Bool[Tensor, "batch query"]
) -> Float[Tensor, "batch head"]:
    """Mean over the chosen queries of each row; NaN for a row without any."""
    total = torch.einsum("bhq,bq->bh", column, chosen.to(column.dtype))
    return total / chosen.sum(-1)[:, None]


def has_earlier_copy(tokens: Int[Tensor, "batch pos"]) -> Bool[Tensor, "batch pos"]:
    """Whether each position's token occurred before in its row."""
    return (tokens[:, :, None] == tokens[:, None, :]).tril(-1).any(-1)


def places(
    pattern: Float[Tensor, "batch head query key"], is_delimiter: Bool[Tensor, "batch key"]
) -> dict[str, Float[Tensor, "batch head"]]:
    """Where attention goes, from queries 2 and later.

    Query 1 is left out, since the token before it is position 0 itself.

    Args:
        pattern: Post-softmax attention, at least 3 positions.
        is_delimiter: Whether each key holds a delimiter.

    Returns:
        By name of `PLACES` the mean over q >= 2 of the mass on such keys.
    """
    first = pattern[..., 2:, 0].mean(-1)
    own = pattern.diagonal(dim1=-2, dim2=-1)[..., 2:].mean(-1)
    previous = pattern.diagonal(offset=-1, dim1=-2, dim2=-1)[..., 1:].mean(-1)
    rest = pattern.tril(-2)[..., 2:, 1:]
    marked = is_delimiter[:, 1:].to(pattern.dtype)
    delimiter = torch.einsum("bhqk,bk->bh", rest, marked) / rest.shape[-2]
    other = rest.sum(-1).mean(-1) - delimiter
    return dict(zip(PLACES, (first, own, previous, delimiter, other), strict=True))


def over_the_rest(norms: Float[Tensor, "*rows pos"], position: int) -> Float[Tensor, "*rows"]:
    """Norm at one position over the mean norm at all others but position 0; NaN where that is 0."""
    others = [p for p in range(1, norms.shape[-1]) if p != position]
    rest = norms[..., others].mean(-1)
    return (norms[..., position] / rest).masked_fill(rest == 0, torch.nan)


def elsewhere_over_the_rest(
    norms: Float[Tensor, "*rows pos"], positions: Sequence[int]
) -> Float[Tensor, "*rows"]:
    """The same at other positions, on average: the control of position 0."""
    return torch.stack([over_the_rest(norms, p) for p in positions]).mean(0)


def massive(
    largest: Float[Tensor, "*rows"], median: Float[Tensor, "*rows"]
) -> Float[Tensor, "*rows"]:
    """How far a coordinate is beyond both bars for a massive activation.

    Args:
        largest: Magnitude of the largest coordinate at a position.
        median: Median magnitude over all positions and coordinates of the hidden state.

    Returns:
        The smaller of the magnitude over 100 and the magnitude over 1,000 medians: massive above 1.

    Source:
        Sun et al. 2024, "Massive Activations in Large Language Models", section 2.
    """
    return torch.minimum(largest / MAGNITUDE, largest / (MEDIANS * median))


def resting_output(
    written: Float[Tensor, "batch head query"],
    resting: Bool[Tensor, "batch query"],
    active: Bool[Tensor, "batch query"],
) -> Float[Tensor, "batch head"]:
    """Mean norm of what heads write from some queries over that from others.

    Args:
        written: Norms ||z_q W_O||.
        resting: Queries that a head has nothing to do at.
        active: Those that it works at.

    Returns:
        The ratio; NaN where a row has no such queries, or a head writes nothing at the latter.
    """
    active_norm = mean_where(written, active)
    return (mean_where(written, resting) / active_norm).masked_fill(active_norm == 0, torch.nan)


def written_norms(
    read: Float[Tensor, "batch head pos d_head"], W_O: Float[Tensor, "head d_head d_model"]
) -> Float[Tensor, "batch head pos"]:
    """Norm of what each head would write to the residual stream, ||x W_O||."""
    gram = W_O @ W_O.transpose(-1, -2)
    return torch.einsum("bhpd,hde,bhpe->bhp", read, gram, read).clamp(min=0).sqrt()


def resting_scores(first: Tensor, second: Tensor) -> dict[str, Score]:
    """Attention to position 0 from two sets of queries (sequence, query), and the difference."""

    def mean(pattern: Tensor, chosen: Tensor, rows: slice) -> Tensor:
        return mean_where(pattern[..., 0], chosen[rows].to(pattern.device))

    return {
        "sink_mass_first_copy": lambda p, rows: mean(p, first, rows),
        "sink_mass_second_copy": lambda p, rows: mean(p, second, rows),
        "resting": lambda p, rows: mean(p, first, rows) - mean(p, second, rows),
    }
