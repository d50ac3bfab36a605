"""Passes with many heads replaced at once, so that what is kept can be cut head by head."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from analysis.attention import Edit, Site, Taps, Where
from analysis.interventions import Head, HeadSet, Intervention, Method, StandIns, taps
from analysis.interventions.passes.layers import LayerCall, through
from analysis.interventions.passes.staircase import walks
from analysis.models.load import Model, hidden_states, unembed
from analysis.progress import Report

from .conditions import Replaced

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

    def some(self, places: Sequence[int]) -> Rows:
        """Some of the sequences."""
        donors = self.stand_ins.donors
        picked = donors if donors is None else donors[:, places]
        return replace(
            self,
            tokens=self.tokens[places],
            entering=self.entering[places],
            stand_ins=StandIns(means=self.stand_ins.means, donors=picked),
        )

    def losses(self, replaced: HeadSet) -> Float[np.ndarray, " row"]:
        """Mean loss on what counts, nats per token, with some heads replaced."""
        return _numbers(self.loss(self._walk(replaced)[-1]))

    def token_losses(
        self, replaced: HeadSet, share: float = 1.0
    ) -> Float[np.ndarray, "row predicted"]:
        """The loss of every token that counts, nats, with some heads replaced by a share."""
        return _numbers(self._token_losses(self._walk(replaced, share=share)[-1]))

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
        self,
        replaced: HeadSet,
        streams: Sequence[Float[Tensor, "row pos d_model"]] = (),
        share: float = 1.0,
    ) -> list[Float[Tensor, "row pos d_model"]]:
        """The residual stream entering every layer that is known, and what the unembedding reads.

        Args:
            replaced: The heads.
            streams: What enters the first layers, where nothing of it changes.
            share: How far each goes from what it reads to its stand-in.
        """
        edits = self._taps(replaced, share)
        if not walks(self.model):
            return [*streams, hidden_states(self.model, self.tokens, edits)]
        found = list(streams) or [self.entering]
        for layer in range(len(found) - 1, len(self.model.layers)):
            found.append(through(self.model, layer, self.calls[layer], found[-1], edits))
        return [*found, self.model.final_norm(found[-1])]

    def moved(self, heads: HeadSet, share: Callable[[Where, Tensor], Tensor | float]) -> Taps:
        """Taps that take heads some of the way to their stand-ins.

        Args:
            heads: Which.
            share: How far z of a layer goes: 0 nowhere, 1 all the way.
        """
        one = Intervention(method=self.method, heads=tuple(sorted(heads)), positions=None)
        put: Edit = taps([one], self.stand_ins, len(self.tokens)).edits[Site.Z]

        def move(where: Where, z: Tensor) -> Tensor:
            return z + share(where, z) * (put(where, z) - z)

        return Taps(edits={Site.Z: move})

    def _taps(self, replaced: HeadSet, share: float) -> Taps:
        if not replaced:
            return Taps()
        if share != 1:
            return self.moved(replaced, lambda _where, _z: share)
        one = Intervention(method=self.method, heads=tuple(sorted(replaced)), positions=None)
        return taps([one], self.stand_ins, len(self.tokens))

    def loss(self, hidden: Float[Tensor, "row pos d_model"]) -> Float[Tensor, " row"]:
        """Mean loss on what counts of what the unembedding reads, nats per token."""
        return self._token_losses(hidden).mean(-1)

    def _token_losses(
        self, hidden: Float[Tensor, "row pos d_model"]
    ) -> Float[Tensor, "row predicted"]:
        read, following = hidden[:, self.predicted : -1], self.tokens[:, self.predicted + 1 :]
        rows = [
            F.cross_entropy(unembed(self.model, row), ids, reduction="none")
            for row, ids in zip(read, following, strict=True)
        ]
        return torch.stack(rows)


def eliminated(every: Sequence[Head], some: Sequence[Rows], report: Report) -> list[HeadSet]:
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
        report(tried, n_tried(len(every)), "")
        kept = tuple(head for head in kept if head not in cut)
        found.append(kept)
    return found


def n_cut(n_kept: int) -> int:
    """How many of so many heads are cut at once."""
    return 1 if n_kept <= ONE_BY_ONE else min(n_kept // CUT, n_kept - ONE_BY_ONE)


def n_tried(n_heads: int) -> int:
    """How many replacements `eliminated` tries."""
    return n_heads + n_tried(n_heads - n_cut(n_heads)) if n_heads else 0


def n_cuts(n_heads: int) -> int:
    """How often `eliminated` cuts."""
    return 1 + n_cuts(n_heads - n_cut(n_heads)) if n_heads else 0


def losses_of(
    asked: Sequence[Replaced], some: Sequence[Rows], report: Report
) -> Float[np.ndarray, "set sequence predicted"]:
    """How the loss of tokens changes with each set of heads replaced, nats.

    Args:
        asked: The sets.
        some: The sequences, in parts.
        report: Told how many sets are done.
    """

    def all_of(heads: HeadSet, share: float) -> np.ndarray:
        return np.concatenate([rows.token_losses(heads, share) for rows in some])

    base, found = all_of((), 1.0), list[np.ndarray]()
    for one in asked:
        found.append(all_of(one.heads, one.share) - base)
        report(len(found), len(asked), "")
    return np.stack(found)


def _numbers(losses: Tensor) -> np.ndarray:
    return losses.double().cpu().numpy()
