"""What a sink at position 0 takes and carries: pure measures, and the passes that read them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from analysis.attention import Site, Taps, Where
from analysis.batches import rows_at_once
from analysis.interventions import Intervention, StandIns, read_z, taps
from analysis.interventions.passes.stream import joined
from analysis.models.load import Model, hidden_states

PLACES = ("position_0", "self", "previous", "delimiter", "other")
"""Where attention goes; a key counts for the first that fits, so that the shares add up to 1."""

_TOKENS_PER_BATCH = 4_096


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


def value_norm_ratio(v: Float[Tensor, "batch head key d_head"]) -> Float[Tensor, "batch head"]:
    """Norm of the value at position 0 over the mean norm of the values after it."""
    norms = v.norm(dim=-1)
    return norms[..., 0] / norms[..., 1:].mean(-1)


def written_norms(
    read: Float[Tensor, "batch head pos d_head"], W_O: Float[Tensor, "head d_head d_model"]
) -> Float[Tensor, "batch head pos"]:
    """Norm of what each head would write to the residual stream, ||x W_O||."""
    gram = W_O @ W_O.transpose(-1, -2)
    return torch.einsum("bhpd,hde,bhpe->bhp", read, gram, read).clamp(min=0).sqrt()


def carried_share(
    column: Float[Tensor, "batch head query"],
    value: Float[Tensor, "batch head key"],
    output: Float[Tensor, "batch head query"],
) -> tuple[Float[Tensor, "batch head"], Float[Tensor, "batch head"]]:
    """How much of a head's output comes from position 0, and how much would by attention alone.

    Args:
        column: Attention to position 0, A[q, 0].
        value: Norms ||v_k W_O|| of what each key would write.
        output: Norms ||z_q W_O|| of what the head writes.

    Returns:
        The mean over q >= 1 of A[q, 0] ||v_0 W_O|| over the mean of ||z_q W_O||; and the same if
        the value at position 0 had the mean norm of the others. Both may exceed 1, since
        contributions can cancel.
    """
    attended, written = column[..., 1:].mean(-1), output[..., 1:].mean(-1)
    share = attended * value[..., 0] / written
    return share, attended * value[..., 1:].mean(-1) / written


class _Carried:
    """Reads values, patterns and z of one layer after another."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.found: dict[str, list[list[Tensor]]] = {}
        self.v = torch.empty(0)
        self.columns: list[Tensor] = []

    def keep_v(self, _where: Where, v: Tensor) -> Tensor:
        self.v = v
        return v

    def watch(self, _where: Where, pattern: Tensor) -> None:
        self.columns.append(pattern[..., 0])

    def keep_z(self, where: Where, z: Tensor) -> Tensor:
        W_O = self.model.W_O(where.layer)
        value, output = written_norms(self.v, W_O), written_norms(z, W_O)
        column = torch.cat(self.columns)
        share, by_attention = carried_share(column, value, output)
        scores = {
            "value_norm_ratio": value_norm_ratio(self.v),
            "carried_share": share,
            "carried_by_attention": by_attention,
            "carried_norm": column[..., 1:].mean(-1) * value[..., 0],
        }
        self.columns = []
        for name, values in scores.items():
            layers = self.found.setdefault(name, [[] for _ in self.model.layers])
            layers[where.layer].append(values.cpu())
        return z


def carried(
    model: Model, ids: Int[np.ndarray, "sequence pos"]
) -> dict[str, Float[np.ndarray, "sequence layer head"]]:
    """What position 0 gives to every head's output.

    Args:
        model: The model.
        ids: Token ids.

    Returns:
        `value_norm_ratio`, `carried_share`, `carried_by_attention` and `carried_norm`, the mean
        of A[q, 0] ||v_0 W_O||, of every head. Biases of the output projection are not part of a
        head's output; value biases are part of values.
    """
    batches: list[dict[str, Tensor]] = []
    for tokens in _batches(model, ids):
        reader = _Carried(model)
        edits = {Site.V: reader.keep_v, Site.Z: reader.keep_z}
        with torch.inference_mode():
            hidden_states(model, tokens, Taps(edits=edits, watch=reader.watch))
        batches.append({name: joined(layers) for name, layers in reader.found.items()})
    return {name: torch.cat([b[name] for b in batches]).double().numpy() for name in batches[0]}


def residual_norms(
    model: Model, ids: Int[np.ndarray, "sequence pos"]
) -> Float[np.ndarray, "sequence layer pos"]:
    """Norm of the residual stream that enters each layer, at every position."""
    batches: list[Tensor] = []
    for tokens in _batches(model, ids):
        entering: list[Tensor] = []

        def keep(
            _layer: nn.Module,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            kept: list[Tensor] = entering,
        ) -> None:
            stream: Tensor = args[0] if args else kwargs["hidden_states"]
            kept.append(stream.norm(dim=-1).cpu())

        with ExitStack() as hooks, torch.inference_mode():
            for layer in model.layers:
                handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
                hooks.callback(handle.remove)
            hidden_states(model, tokens, Taps())
        batches.append(torch.stack(entering, dim=1))
    return torch.cat(batches).double().numpy()


def over_the_rest(
    norms: Float[np.ndarray, "sequence layer pos"], position: int
) -> Float[np.ndarray, "sequence layer"]:
    """Norm at one position over the mean norm at all others but position 0."""
    others = [p for p in range(1, norms.shape[-1]) if p != position]
    return norms[..., position] / norms[..., others].mean(-1)


def scores_under(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    interventions: Sequence[Intervention],
    score: Callable[[Tensor, slice], dict[str, Tensor]],
) -> dict[str, Float[np.ndarray, "sequence layer head"]]:
    """Scores of the patterns of a model under interventions; `resample` keeps each row's own z.

    Args:
        model: The model.
        ids: Token ids.
        interventions: Applied together; none leaves the model as it is.
        score: From patterns and their rows in the data to scores (batch, head) by name.

    Returns:
        By name, the scores of every head.
    """
    found: dict[str, list[list[Tensor]]] = {}
    n_layers, start = model.card.n_layers, 0
    for tokens in _batches(model, ids):

        def watch(where: Where, pattern: Tensor, start: int = start) -> None:
            rows = slice(start + where.rows.start, start + where.rows.stop)
            for name, values in score(pattern, rows).items():
                layers = found.setdefault(name, [[] for _ in range(n_layers)])
                layers[where.layer].append(values.cpu())

        own = StandIns(means=None, donors=read_z(model, tokens))
        with torch.inference_mode():
            edited = taps(interventions, own, len(tokens))
            hidden_states(model, tokens, replace(edited, watch=watch))
        start += len(tokens)
    return {name: joined(layers).double().numpy() for name, layers in found.items()}


def _batches(model: Model, ids: Int[np.ndarray, "sequence pos"]) -> list[Tensor]:
    """Rows of tokens on the model's device, some thousand tokens at a time."""
    step = rows_at_once(_TOKENS_PER_BATCH, ids.shape[1])
    return [
        torch.from_numpy(ids[start : start + step].astype(np.int64)).to(model.device)
        for start in range(0, len(ids), step)
    ]
