"""Run a model over rows of tokens and score every pattern as it streams by."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.batches import rows_at_once
from analysis.layered import layered
from analysis.memory import freed_memory_returned
from analysis.models.load import Model, hidden_states, unembed
from analysis.progress import Report
from analysis.scores import uniform_pattern

Score = Callable[[Tensor, slice], Tensor]
"""From patterns (batch, head, query, key) and their rows in the data to (batch, head, ...)."""

Watch = Callable[[int, slice, Tensor], None]
"""Sees layer, rows in the data, and patterns."""

TOKENS_PER_BATCH = 16_384
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
    found: dict[str, list[list[Tensor]]] = {
        name: [[] for _ in range(model.card.n_layers)] for name in scores
    }
    step = rows_at_once(TOKENS_PER_BATCH, n_pos)
    for start in range(0, n_sequences, step):
        batch = torch.from_numpy(ids[start : start + step].astype(np.int64)).to(model.device)

        def watch(where: Where, pattern: Tensor, start: int = start) -> None:
            rows = slice(start + where.rows.start, start + where.rows.stop)
            for name, score in scores.items():
                found[name][where.layer].append(score(pattern, rows).cpu())
            for watcher in watchers:
                watcher(where.layer, rows, pattern)

        with torch.inference_mode(), freed_memory_returned():
            hidden = hidden_states(model, batch, Taps(watch=watch))
            for function in also:
                function(slice(start, start + len(batch)), hidden)
        report(start + len(batch), n_sequences, "")
    return {name: joined(layers).double().numpy() for name, layers in found.items()}


def joined(layers: Sequence[Sequence[Tensor]]) -> Float[Tensor, "row layer head *rest"]:
    """Chunks (row, head, ...) of every layer as one tensor; NaN where a layer has no such head."""
    found = {i: torch.cat(list(chunks)) for i, chunks in enumerate(layers) if chunks}
    return layered(found, len(layers), torch.nan, dim=1)


def chance(shape: tuple[int, ...], score: Score) -> np.ndarray:
    """The score of uniform causal attention on rows (sequence, pos): (sequence, ...)."""
    n_sequences, n_pos = shape
    uniform = uniform_pattern(n_pos)
    values: list[Tensor] = []
    for start in range(0, n_sequences, _CHANCE_ROWS):
        rows = slice(start, min(start + _CHANCE_ROWS, n_sequences))
        pattern = uniform.expand(rows.stop - start, -1, -1, -1)
        values.append(score(pattern, rows)[:, 0])
    return torch.cat(values).double().numpy()


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
