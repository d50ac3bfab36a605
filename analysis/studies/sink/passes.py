"""Passes over data that read what position 0 holds, and what heads get from there."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
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

from .measures import (
    elsewhere_over_the_rest,
    massive,
    over_the_rest,
    resting_output,
    written_norms,
)

_TOKENS_PER_BATCH = 4_096


@dataclass(frozen=True, kw_only=True)
class Read:
    """What the heads of one layer read on some rows of the data."""

    layer: int
    rows: slice
    v: Float[Tensor, "batch head key d_head"]
    column: Float[Tensor, "batch head query"]
    """Attention to position 0."""
    z: Float[Tensor, "batch head query d_value"]


def read_scores(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    score: Callable[[Read], dict[str, Tensor]],
) -> dict[str, Float[np.ndarray, "sequence layer head"]]:
    """Scores of what heads read, a layer at a time.

    Args:
        model: The model.
        ids: Token ids.
        score: From what was read to scores (batch, head) by name.

    Returns:
        By name, the scores of every head.
    """
    found: dict[str, list[list[Tensor]]] = {}
    v, columns, start = torch.empty(0), list[Tensor](), 0

    def keep_v(_where: Where, tensor: Tensor) -> Tensor:
        nonlocal v
        v = tensor
        return tensor

    def keep_z(where: Where, z: Tensor) -> Tensor:
        rows = slice(start, start + len(z))
        read = Read(layer=where.layer, rows=rows, v=v, column=torch.cat(columns), z=z)
        columns.clear()
        for name, values in score(read).items():
            layers = found.setdefault(name, [[] for _ in model.layers])
            layers[where.layer].append(values.cpu())
        return z

    def watch(_where: Where, pattern: Tensor) -> None:
        columns.append(pattern[..., 0])

    observed = Taps(edits={Site.V: keep_v, Site.Z: keep_z}, watch=watch)
    with torch.inference_mode():
        for tokens in _batches(model, ids):
            hidden_states(model, tokens, observed)
            start += len(tokens)
    return {name: joined(layers).double().numpy() for name, layers in found.items()}


def carried(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    elsewhere: Sequence[int],
    *,
    plain: bool,
) -> dict[str, Float[np.ndarray, "sequence layer head"]]:
    """What position 0 gives to every head's output, and what other positions would give.

    Args:
        model: The model.
        ids: Token ids.
        elsewhere: Other positions, the control.
        plain: Whether heads write what they attend to, so that it can be told where it is from.

    Returns:
        `value_norm_ratio`, the norm of the value at position 0 over the mean norm of the others,
        and if heads are plain `carried_norm`, the mean over q >= 1 of A[q, 0] ||v_0 W_O||; the
        same of a value elsewhere under names that end in `_elsewhere`, the attention that to
        position 0. Biases of the output projection are not part of a head's output; value biases
        are part of values.
    """

    def score(read: Read) -> dict[str, Tensor]:
        norms = read.v.norm(dim=-1)
        scores = {
            "value_norm_ratio": over_the_rest(norms, 0),
            "value_norm_ratio_elsewhere": elsewhere_over_the_rest(norms, elsewhere),
        }
        if plain:
            mass = read.column[..., 1:].mean(-1)
            value = written_norms(read.v, model.W_O(read.layer))
            scores["carried_norm"] = mass * value[..., 0]
            scores["carried_norm_elsewhere"] = mass * value[..., list(elsewhere)].mean(-1)
        return scores

    return read_scores(model, ids, score)


def resting_outputs(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    resting: Bool[Tensor, "sequence pos"],
    active: Bool[Tensor, "sequence pos"],
) -> Float[np.ndarray, "sequence layer head"]:
    """`resting_output` of every head, for queries of each row."""

    def score(read: Read) -> dict[str, Tensor]:
        written = written_norms(read.z, model.W_O(read.layer))
        chosen = (some[read.rows].to(written.device) for some in (resting, active))
        return {"resting_output": resting_output(written, *chosen)}

    return read_scores(model, ids, score)["resting_output"]


def stream_sizes(
    model: Model, ids: Int[np.ndarray, "sequence pos"], elsewhere: Sequence[int]
) -> dict[str, np.ndarray]:
    """How large the residual stream is that enters each layer.

    Args:
        model: The model.
        ids: Token ids.
        elsewhere: Other positions, to compare position 0 with.

    Returns:
        `residual_norm` (sequence, layer, pos), and of position 0 (sequence, layer) the
        `residual_norm_ratio` to the others, the magnitude of its `largest_activation`, that as
        `largest_over_median`, and how `massive` it is; `massive_elsewhere` is the mean of others.
    """
    batches: list[list[tuple[Tensor, Tensor, Tensor]]] = []
    for tokens in _batches(model, ids):
        entering: list[tuple[Tensor, Tensor, Tensor]] = []

        def keep(
            _layer: nn.Module,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
            kept: list[tuple[Tensor, Tensor, Tensor]] = entering,
        ) -> None:
            stream: Tensor = args[0] if args else kwargs["hidden_states"]
            sizes = stream.abs()
            median = sizes.flatten(1).median(-1).values
            kept.append((stream.norm(dim=-1).cpu(), sizes.amax(-1).cpu(), median.cpu()))

        with ExitStack() as hooks, torch.inference_mode():
            for layer in model.layers:
                handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
                hooks.callback(handle.remove)
            hidden_states(model, tokens, Taps())
        batches.append(entering)
    norms, largest, median = (
        torch.cat([torch.stack([sizes[i] for sizes in batch], 1) for batch in batches])
        for i in range(3)
    )
    others = [massive(largest[..., p], median) for p in elsewhere]
    found = {
        "residual_norm": norms,
        "residual_norm_ratio": over_the_rest(norms, 0),
        "largest_activation": largest[..., 0],
        "largest_over_median": largest[..., 0] / median,
        "massive": massive(largest[..., 0], median),
        "massive_elsewhere": torch.stack(others).mean(0),
    }
    return {name: values.double().numpy() for name, values in found.items()}


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
