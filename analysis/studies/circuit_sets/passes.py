"""Passes with many heads replaced at once, so that what is kept can be cut head by head."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from analysis.attention import Taps
from analysis.interventions import Head, HeadSet, Intervention, Method, StandIns, taps
from analysis.interventions.passes.layers import LayerCall, through
from analysis.interventions.passes.staircase import walks
from analysis.models.load import Model, hidden_states, unembed

ONE_BY_ONE = 16
"""Heads from which on they are cut one at a time; a quarter of them before."""

CUT = 4
"""Of more heads than that, one in so many is cut at once."""


@dataclass(frozen=True)
class Rows:
    """Sequences that are run with heads replaced."""

    model: Model
    tokens: Int[Tensor, "row pos"]
    entering: Float[Tensor, "row pos d_model"]
    """The residual stream before any attention."""
    calls: Sequence[LayerCall]
    stand_ins: StandIns
    method: Method
    predicted: int
    """First position whose loss counts."""

    def losses(self, replaced: HeadSet) -> Float[np.ndarray, " row"]:
        """Mean loss on what counts, nats per token, with some heads replaced."""
        return _numbers(self.loss(self._walk(replaced)[-1]))

    def each_more(
        self, replaced: HeadSet, more: Collection[Head]
    ) -> Float[np.ndarray, "candidate row"]:
        """The same with one more head replaced, for each of several that share lower layers."""
        streams, found = self._walk(replaced), list[np.ndarray]()
        for head in more:
            hidden = self._walk((*replaced, head), streams[: head.layer + 1])[-1]
            found.append(_numbers(self.loss(hidden)))
        return np.stack(found)

    def _walk(
        self, replaced: HeadSet, streams: Sequence[Float[Tensor, "row pos d_model"]] = ()
    ) -> list[Float[Tensor, "row pos d_model"]]:
        """The residual stream entering every layer that is known, and what the unembedding reads.

        Args:
            replaced: The heads.
            streams: What enters the first layers, where nothing of it changes.
        """
        edits = self._taps(replaced)
        if not walks(self.model):
            return [*streams, hidden_states(self.model, self.tokens, edits)]
        found = list(streams) or [self.entering]
        for layer in range(len(found) - 1, len(self.model.layers)):
            found.append(through(self.model, layer, self.calls[layer], found[-1], edits))
        return [*found, self.model.final_norm(found[-1])]

    def _taps(self, replaced: HeadSet) -> Taps:
        if not replaced:
            return Taps()
        heads = tuple(sorted(replaced))
        one = Intervention(method=self.method, heads=heads, positions=None)
        return taps([one], self.stand_ins, len(self.tokens))

    def loss(self, hidden: Float[Tensor, "row pos d_model"]) -> Float[Tensor, " row"]:
        """Mean loss on what counts of what the unembedding reads, nats per token."""
        read, following = hidden[:, self.predicted : -1], self.tokens[:, self.predicted + 1 :]
        rows = [
            F.cross_entropy(unembed(self.model, row), ids)
            for row, ids in zip(read, following, strict=True)
        ]
        return torch.stack(rows)


def eliminated(
    every: Sequence[Head], some: Sequence[Rows], report: Callable[[int], None]
) -> list[HeadSet]:
    """Cut heads, those first whose replacement costs least beside the heads replaced before.

    Args:
        every: All heads of the model.
        some: Sequences to judge by.
        report: Told how many replacements were tried.

    Returns:
        What is kept after each cut, in the order of the model: from all heads to none.
    """
    kept, found, tried = tuple(sorted(every)), [tuple(sorted(every))], 0
    while kept:
        replaced = tuple(head for head in every if head not in kept)
        costs = np.concatenate([rows.each_more(replaced, kept) for rows in some], axis=1).mean(1)
        cut = {kept[i] for i in np.argsort(costs, kind="stable")[: n_cut(len(kept))]}
        tried += len(kept)
        report(tried)
        kept = tuple(head for head in kept if head not in cut)
        found.append(kept)
    return found


def n_cut(n_kept: int) -> int:
    """How many of so many heads are cut at once."""
    return 1 if n_kept <= ONE_BY_ONE else min(n_kept // CUT, n_kept - ONE_BY_ONE)


def n_tried(n_heads: int) -> int:
    """How many replacements `eliminated` tries."""
    return n_heads + n_tried(n_heads - n_cut(n_heads)) if n_heads else 0


def losses_of(
    replaced: Iterable[HeadSet], some: Sequence[Rows], report: Callable[[int], None]
) -> Float[np.ndarray, "set sequence"]:
    """Losses of sequences with each set of heads replaced.

    Args:
        replaced: The sets.
        some: The sequences, in parts.
        report: Told how many sets are done.
    """
    found: list[np.ndarray] = []
    for i, heads in enumerate(replaced):
        found.append(np.concatenate([rows.losses(heads) for rows in some]))
        report(i + 1)
    return np.stack(found)


def _numbers(losses: Float[Tensor, " row"]) -> Float[np.ndarray, " row"]:
    return losses.double().cpu().numpy()
