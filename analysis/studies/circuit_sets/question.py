"""Which heads are enough to copy with every other head replaced, and which of them are needed?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import torch

from analysis.batches import rows_at_once
from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Head,
    HeadSet,
    Intervention,
    Method,
    Pooling,
    layer_matched_sets,
    random_sets,
    stand_in_source,
)
from analysis.interventions.heads import heads_of, parse_heads
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.staircase import trace
from analysis.models.load import Model
from analysis.progress import Report
from analysis.questions.effect_rows import loss_effects
from analysis.questions.rows import Labels
from analysis.studies.circuit.heads import SCOPES, BlockExperiment
from analysis.text.tokens import Tokens

from .attribution import by_gradient
from .passes import Rows, eliminated, losses_of, n_tried

TARGET = 0.95
"""Share of copying that a set keeps on the even sequences to be chosen, if any small one does."""

SMALL = 3
"""A circuit is small if it has at most one in so many of a model's heads."""

ORDERS = 3
"""Random orders of all heads, of which the first few are kept: what any set of a size does."""

SEARCHED = 8
"""Sequences of a half, at most, that heads are cut by."""

TOKENS_PER_BATCH = 4_096

CIRCUIT, PATH, OTHER, MATCHED = "circuit", "eliminated", "other half", "matched"
ATTENTION, GRADIENT, CHANCE = "by attention", "by gradient", "by chance"
ALL, BUT_ONE = "all", "circuit but one"
CIRCUIT_ALONE, MATCHED_ALONE = "circuit replaced", "matched replaced"
"""Families of conditions: all heads are replaced but those of a set; of the last two, a set alone
is."""


@dataclass(frozen=True, kw_only=True)
class CircuitSets(BlockExperiment):
    """How much of copying is left with every head replaced but some?

    Heads are cut one after the other, those first whose replacement beside the earlier ones costs
    least, on even sequences; the smallest set that keeps `TARGET` of what all heads gain there,
    among those of at most a third of the heads, is the circuit. Every set is measured on the odd
    sequences. Beside it: what attention and gradients rank first, random orders, circuits drawn
    with as many heads in each layer, the circuit replaced with all else in place, the circuit
    without each of its heads, and the set of that size which odd sequences find.
    """

    version: ClassVar[int] = 1

    method: str
    """What stands in: `mean` or `resample`."""
    by_attention: tuple[str, ...]
    """All heads by their induction or previous-token score, the larger of both, from the top."""
    n_draws: int
    """Circuits drawn beside the circuit."""

    @cached_property
    def reference(self) -> Tokens:
        """Other blocks shown twice, over which the means are taken at every position."""
        return self.rows("reference")

    def data(self) -> Sequence[Tokens]:
        """The block twice, and the reference set."""
        return [self.repeated, self.reference]

    @property
    def n_passes(self) -> int:
        """Sets are run on half of the sequences; half a pass for each cut that is tried, on few."""
        n_heads = len(heads_of(self.card))
        return (n_tried(n_heads) + 2 * self.n_draws + 5 * len(_sizes(n_heads))) // 2

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Cut, and measure.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means` (loss).

        Raises:
            UserError: A head is not of this model.
        """
        model, every = self.loaded_model(), heads_of(self.card)
        ranked = parse_heads(self.by_attention, self.card)
        n_tries, n_sets = 2 * n_tried(len(every)), 60 + 2 * self.n_draws

        def told(done: int, before: int = 0) -> None:
            report(min(before + done, n_tries + n_sets), n_tries + n_sets, "")

        with torch.no_grad():
            even, odd = ([*self._rows(model, parity)] for parity in (0, 1))
            path = eliminated(every, even[:1], told)
            other = eliminated(every, odd[:1], lambda n: told(n, n_tries // 2))
            chosen = self._chosen(path, even)
        gradient = by_gradient(even, every)
        conditions = list(self._conditions(path, other, chosen, (ranked, gradient)))
        with torch.no_grad():
            sets = [(), *(heads for _, heads in conditions)]
            base, *losses = losses_of(sets, odd, lambda n: told(n, n_tries))
        changes = np.full((len(losses), len(SCOPES), len(self.repeated.ids)), np.nan)
        changes[:, SCOPES.index("second copy"), 1::2] = np.stack(losses) - base
        labels = Labels(card=self.card, tokens=self.repeated, data="repeated", seed=self.seed)
        return loss_effects(changes, [one for one, _ in conditions], SCOPES, labels)

    def _rows(self, model: Model, parity: int) -> Iterator[Rows]:
        """Every second sequence, a batch of them at a time; the first has what heads are cut by."""
        ids, method = self.repeated.ids, Method(self.method)
        n_sequences, n_pos = ids.shape
        source = stand_in_source(
            model, [method], self.reference.ids, Pooling.PER_POSITION, n_sequences, self.seed
        )
        step = 2 * min(SEARCHED, rows_at_once(TOKENS_PER_BATCH, n_pos))
        for start in range(parity, n_sequences, step):
            rows = slice(start, min(start + step, n_sequences), 2)
            tokens = torch.from_numpy(ids[rows].astype(np.int64)).to(model.device)
            yield Rows(
                model=model,
                tokens=tokens,
                entering=trace(model, tokens, [0]).resid_pre[0],
                calls=layer_calls(model, tokens[:1]),
                stand_ins=source.stand_ins(model, ids, rows),
                method=method,
                predicted=len(self.vocabulary.bos) + self.block_len,
            )

    def _chosen(self, path: Sequence[HeadSet], even: Sequence[Rows]) -> HeadSet:
        """The smallest small set that keeps enough, or the largest small one."""
        every = path[0]
        small = [kept for kept in path if len(kept) <= max(1, len(every) // SMALL) and kept]
        replaced = [(), every, *(_others(every, kept) for kept in small)]
        base, floor, *losses = losses_of(replaced, even, lambda _: None).mean(1)
        kept_share = (floor - np.array(losses)) / (floor - base)
        enough = [kept for kept, share in zip(small, kept_share, strict=True) if share >= TARGET]
        return min(enough, key=len) if enough else small[0]

    def _conditions(
        self,
        path: Sequence[HeadSet],
        other: Sequence[HeadSet],
        chosen: HeadSet,
        rankings: tuple[Sequence[Head], Sequence[Head]],
    ) -> Iterator[tuple[Condition, HeadSet]]:
        """What is replaced, and what that is called."""
        every, size = path[0], len(chosen)
        yield self._replaced(ALL, every, "none kept")
        yield self._kept(CIRCUIT, every, chosen)
        yield self._replaced(CIRCUIT_ALONE, chosen, f"without {_joined(chosen)}")
        for head in chosen:
            kept = tuple(one for one in chosen if one != head)
            yield self._replaced(BUT_ONE, _others(every, kept), f"circuit without {head}")
        for kept in path[1:-1]:
            yield self._kept(PATH, every, kept)
        yield self._kept(OTHER, every, next(kept for kept in other if len(kept) <= size))
        for family, ranked in zip((ATTENTION, GRADIENT), rankings, strict=True):
            for n in _sizes(len(every)):
                yield self._kept(family, every, tuple(sorted(ranked[:n])))
        rng = np.random.default_rng(self.seed)
        for draw in range(ORDERS):
            order = rng.permutation(len(every))
            for n in _sizes(len(every)):
                kept = tuple(every[i] for i in sorted(order[:n]))
                yield self._kept(CHANCE, every, kept, draw)
        for draw, kept in enumerate(self._matched(every, chosen)):
            yield self._kept(MATCHED, every, kept, draw)
            yield self._replaced(MATCHED_ALONE, kept, f"without {_joined(kept)}", draw)

    def _matched(self, every: HeadSet, chosen: HeadSet) -> list[HeadSet]:
        """Circuits of other heads, as many in each layer or, where these are too few, anywhere."""
        with suppress(UserError):
            return layer_matched_sets(every, chosen, self.n_draws, self.seed)
        with suppress(UserError):
            return random_sets(every, chosen, len(chosen), self.n_draws, self.seed)
        return []

    def _kept(
        self, family: str, every: HeadSet, kept: HeadSet, draw: int | None = None
    ) -> tuple[Condition, HeadSet]:
        return self._replaced(family, _others(every, kept), f"{family}, {_joined(kept)} kept", draw)

    def _replaced(
        self, family: str, heads: HeadSet, name: str, draw: int | None = None
    ) -> tuple[Condition, HeadSet]:
        one = Intervention(method=Method(self.method), heads=heads, positions=None)
        which = f" {self.method}" + ("" if draw is None else f" {draw}")
        named = Condition(name=f"{name}{which}", family=family, interventions=(one,))
        return replace(named, draw=draw), heads


def _others(every: Sequence[Head], kept: Sequence[Head]) -> HeadSet:
    left_out = Counter(kept)
    return tuple(head for head in every if not left_out[head])


def _joined(heads: Sequence[Head]) -> str:
    return ",".join(map(str, heads))


def _sizes(n_heads: int) -> list[int]:
    """How many heads are kept on the curves: powers of two, below all."""
    return [2**i for i in range(n_heads.bit_length()) if 2**i < n_heads]
