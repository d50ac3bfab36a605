"""Run a model over rows of tokens and score every pattern as it streams by."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.batches import rows_at_once
from analysis.layered import layered
from analysis.models.load import Model, hidden_states, unembed
from analysis.precision import wide
from analysis.progress import Report

from .visible import Mask, uniform, visible

Score = Callable[[Tensor, slice], Tensor]
"""From patterns (batch, head, query, key) and their rows in the data to (batch, head, ...)."""

Watch = Callable[[int, slice, Tensor], None]
"""Sees layer, rows in the data, and patterns."""

TOKENS_PER_BATCH = 1_024
"""What a core's caches hold; memory is never the bound."""
_ACCELERATED = 16
"""So many times more on any other device."""
_CHANCE_ROWS = 32


def stream_scores(
    model: Model,
    ids: np.ndarray,
    scores: Mapping[str, Score],
    report: Report,
    also: Sequence[Callable[[slice, Tensor], None]] = (),
    watchers: Sequence[Watch] = (),
) -> dict[str, np.ndarray]:
    """One pass over the data; patterns are scored and dropped, layer by layer.

    Memory grows by a few chunks of one layer's patterns over a bare forward pass.

    Args:
        model: The instrumented model.
        ids: Token ids (sequence, pos).
        scores: What to compute of every pattern, by name.
        report: Told how many sequences are done.
        also: Called with the rows of each batch and its final hidden states.
        watchers: See every chunk of patterns beside the scores.

    Returns:
        For every name an array (sequence, layer, head, ...).
    """
    n_sequences, n_pos = ids.shape
    found: dict[str, np.ndarray] = {}  # made at once: what is kept between patterns splits memory
    times = 1 if model.device.type == "cpu" else _ACCELERATED
    step = rows_at_once(TOKENS_PER_BATCH * times, n_pos)
    for start in range(0, n_sequences, step):
        batch = torch.from_numpy(ids[start : start + step].astype(np.int64)).to(model.device)

        def watch(where: Where, pattern: Tensor, start: int = start) -> None:
            rows = slice(start + where.rows.start, start + where.rows.stop)
            for name, score in scores.items():
                values = wide(score(pattern, rows)).cpu().numpy()
                if name not in found:
                    shape = (n_sequences, model.card.n_layers, model.card.n_heads)
                    found[name] = np.full((*shape, *values.shape[2:]), np.nan)
                found[name][rows, where.layer, : values.shape[1]] = values
            for watcher in watchers:
                watcher(where.layer, rows, pattern)

        with torch.inference_mode():
            hidden = hidden_states(model, batch, Taps(watch=watch))
            for function in also:
                function(slice(start, start + len(batch)), hidden)
        report(start + len(batch), n_sequences, "")
    return found


def joined(layers: Sequence[Sequence[Tensor]]) -> Num[Tensor, "row layer head *rest"]:
    """Chunks (row, head, ...) of every layer as one tensor; NaN where a layer has no such head."""
    found = {i: torch.cat(list(chunks)) for i, chunks in enumerate(layers) if chunks}
    return layered(found, len(layers), torch.nan, dim=1)


def chance(
    model: Model, ids: Int[np.ndarray, "sequence pos"], scores: Mapping[str, Score]
) -> dict[str, np.ndarray]:
    """The scores of attention that is uniform over the keys that each layer sees.

    Args:
        model: The instrumented model.
        ids: The rows that are scored.
        scores: What to compute, by name.

    Returns:
        For every name an array (sequence, layer, head, ...), as `stream_scores` gives it.
    """
    card, ends = model.card, visible(model, ids[[0, -1]])
    alike = all(len(mask) == 1 for mask in ends)  # whatever the tokens are
    found: dict[str, list[Tensor]] = {name: [] for name in scores}
    for start in range(0, len(ids), _CHANCE_ROWS):
        rows = slice(start, min(start + _CHANCE_ROWS, len(ids)))
        masks = ends if alike else visible(model, ids[rows])
        levels = {id(mask): _levels(mask, rows, scores) for mask in masks}
        for name, values in found.items():
            layers: dict[int, Tensor] = {}
            for layer, (n_heads, mask) in enumerate(zip(card.heads_by_layer, masks, strict=True)):
                if n_heads:
                    level = levels[id(mask)][name]
                    layers[layer] = level.expand(-1, n_heads, *level.shape[2:])
            values.append(layered(layers, card.n_layers, torch.nan, dim=1))
    return {name: torch.cat(values).double().numpy() for name, values in found.items()}


def _levels(mask: Mask, rows: slice, scores: Mapping[str, Score]) -> dict[str, Tensor]:
    pattern = uniform(mask).expand(rows.stop - rows.start, -1, -1, -1)
    return {name: score(pattern, rows) for name, score in scores.items()}


def token_losses(
    model: Model, ids: np.ndarray
) -> tuple[Callable[[slice, Tensor], None], np.ndarray]:
    """A function for `stream_scores(also=...)`, and the array that it fills.

    Args:
        model: The model.
        ids: Token ids (sequence, pos).

    Returns:
        The function, and next-token losses in nats (sequence, pos - 1): entry p is the loss of
        token p + 1.
    """
    losses = np.full((ids.shape[0], ids.shape[1] - 1), np.nan)

    def keep(rows: slice, hidden: Float[Tensor, "batch pos d_model"]) -> None:
        targets = torch.from_numpy(ids[rows, 1:].astype(np.int64)).to(hidden.device)
        for i, row in enumerate(range(rows.start, rows.stop)):
            losses[row] = _losses(model, hidden[i, :-1], targets[i]).cpu().numpy()

    return keep, losses


def _losses(
    model: Model, hidden: Float[Tensor, "pos d_model"], targets: Int[Tensor, " pos"]
) -> Float[Tensor, " pos"]:
    return torch.nn.functional.cross_entropy(unembed(model, hidden), targets, reduction="none")
