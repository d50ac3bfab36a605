"""Which heads are enough to copy with every other head replaced, and which of them are needed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int

from analysis.batches import rows_at_once
from analysis.interventions import (
    HeadSet,
    Method,
    Pooling,
    Source,
    derangement,
    means,
)
from analysis.interventions.heads import heads_of, parse_heads
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.staircase import trace
from analysis.models.load import Model
from analysis.progress import Report, silent, stage
from analysis.questions.effect_rows import loss_effects
from analysis.questions.rows import Labels
from analysis.questions.work import Work
from analysis.studies.circuit.heads import BlockExperiment
from analysis.text.tokens import Tokens

from . import gates
from .attribution import STEPS, by_gradient
from .conditions import ATTENTION, GRADIENT, Conditions, Goal, usual_sets
from .gates import learned
from .passes import Rows, eliminated, losses_of, n_cuts, n_tried

TARGET = 0.95
"""Share of copying that a set keeps on the even sequences to be chosen, if any small one does."""

SMALL = 3
"""A circuit is small if it has at most one in so many of a model's heads."""

NEEDED = 0.02
"""Share of the gain that a head of a circuit is worth, at least: a fiftieth, above what noise of
the even sequences chooses. Gates close on less."""

SEARCHED = 8
"""Sequences of a half, at most, that heads are cut by."""

STARTS = 3
"""How often gates are learned, each time from other sequences, where a half has so many times
`LEARNED_FROM`; at least once."""

LEARNED_FROM = 4
"""From so many sequences, at most."""

BY_PLACE = tuple(f"second copy, quarter {i}" for i in (1, 2, 3, 4))
"""Parts of the second copy, from its start."""

BY_TOKEN = tuple(f"second copy, tokens of quarter {i} by frequency" for i in (1, 2, 3, 4))
"""Parts of the pool that tokens are drawn from, the most frequent ones of the text first."""

SCOPES = ("second copy", *BY_PLACE, *BY_TOKEN)
"""Where the loss is measured: on all that is predictable of the second copy, and on parts of it."""

TOKENS_PER_BATCH = 4_096


@dataclass(frozen=True, kw_only=True)
class CircuitSets(BlockExperiment):
    """How much of copying is left with every head replaced but some?

    Heads are cut one after the other, those first whose replacement beside the earlier ones costs
    least, on even sequences; the smallest set that keeps `TARGET` of what all heads gain there,
    among those of at most a third of the heads, is the circuit. Every set is measured on the odd
    sequences. Beside it: what attention, gradients and learned gates choose, random orders,
    circuits drawn with as many heads in each layer, the circuit replaced with all else in place,
    wholly and in part, the circuit without each of its heads, and the set of that size which odd
    sequences find. What stands in for a head's z is read on blocks of the same half that repeat at
    lags of their own, or on average over such blocks: where every block was shown twice, all of
    them would agree on where the first copy is, and what says so would be kept. What says only that
    something repeats is kept so; how much that is worth, the circuit shows beside stand-ins from
    blocks whose second copy is in random order.
    """

    version: ClassVar[int] = 3

    method: str
    """What stands in: `mean` or `resample`."""
    by_attention: tuple[str, ...]
    """All heads by their induction or previous-token score, the larger of both, from the top."""
    n_draws: int
    """Circuits drawn beside the circuit."""

    def stand_in_rows(self, what: str) -> Tokens:
        """What stand-ins are read on: other blocks where means are taken, by position.

        Args:
            what: As for `rows`.
        """
        return self.rows(what, apart=Method(self.method) is Method.MEAN)

    def data(self) -> Sequence[Tokens]:
        """The block twice, and what stand-ins are read on."""
        return [self.repeated, *map(self.stand_in_rows, ("other lag", "shuffled"))]

    def work(self) -> Work:
        """Sets on half of the sequences; each cut that is tried, and each gate's step, on few."""
        card, tokens, n_heads = self.card, self.repeated, len(heads_of(self.card))
        n_half, n_pos = len(tokens.ids) // 2, tokens.ids.shape[1]
        tried = n_tried(n_heads) * (card.n_layers + 1) / 2 + n_cuts(n_heads) * card.n_layers
        some = min(n_half, SEARCHED, rows_at_once(TOKENS_PER_BATCH, n_pos))
        gated = self.n_starts * len(Goal) * min(LEARNED_FROM, n_half)
        n_sets = (
            usual_sets(n_heads, n_cuts(n_heads), self.n_starts, self.n_draws) + n_heads // SMALL
        )
        layers = (
            2 * some * tried + n_half * card.n_layers * (n_sets + 7) + gated * card.n_layers * 2
        )
        gradients = card.n_layers * (gated * gates.STEPS + n_half * STEPS)
        losses = 2 * some * n_tried(n_heads) + n_half * n_sets + 3 * gradients / card.n_layers
        return Work(
            layers=layers * n_pos, gradients=gradients * n_pos, logits=losses * (self.block_len - 1)
        )

    @property
    def n_starts(self) -> int:
        """How often gates are learned."""
        return max(1, min(STARTS, self.n_sequences // 2 // LEARNED_FROM))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Cut, and measure.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means` (loss).

        Raises:
            UserError: A head is not of this model.
        """
        model, every = self.loaded_model(), heads_of(self.card)
        attention = parse_heads(self.by_attention, self.card)
        with torch.no_grad():
            even, odd = (self.half(model, parity, "other lag") for parity in (0, 1))
            path = eliminated(every, even[:1], stage(report, "cut", 0, 4))
            other = eliminated(every, odd[:1], stage(report, "cut on the other half", 1, 4))
            found = Conditions(
                method=Method(self.method),
                every=every,
                path=path,
                other=other,
                circuit=_chosen(path, even),
                ranked={ATTENTION: attention, GRADIENT: by_gradient(even, every)},
                gated=self._gated(even[0], every, stage(report, "gates", 2, 4)),
                n_draws=self.n_draws,
                seed=self.seed,
            )
            asked, again = list(found.all()), list(found.shuffled())
            losses = losses_of(asked, odd, stage(report, "measured", 3, 4))
            strict = losses_of(again, self.half(model, 1, "shuffled"), silent)
        asked, losses = [*asked, *again], np.concatenate([losses, strict])
        changes = np.full((len(asked), len(SCOPES), len(self.repeated.ids)), np.nan)
        changes[..., 1::2] = by_part(losses, self._quarters()[1::2])
        labels = Labels(card=self.card, tokens=self.repeated, data="repeated", seed=self.seed)
        return loss_effects(changes, [one.condition for one in asked], SCOPES, labels)

    def _quarters(self) -> Int[np.ndarray, "sequence predicted"]:
        """Of each token whose loss counts: its quarter of the pool by frequency, 0 to 3."""
        pool = self.pool
        quarter = {i: 4 * place // pool.size for place, i in enumerate(pool.ranked[: pool.size])}
        predicted = self.repeated.ids[:, len(self.vocabulary.bos) + self.block_len + 1 :]
        return np.array([[quarter[i] for i in row] for row in predicted.tolist()])

    def half(self, model: Model, parity: int, what: str) -> list[Rows]:
        """Every second sequence, in batches; the first has what heads are cut by.

        Args:
            model: The loaded model.
            parity: 0 for the even ones, that choose; 1 for the odd ones, that judge.
            what: What stand-ins are read on, as for `rows`.
        """
        read_on, taken, donors = self.stand_in_rows(what).ids, None, None
        ids = self.repeated.ids[parity::2]
        if Method(self.method) is Method.MEAN:
            taken = means(model, read_on, Pooling.PER_POSITION)
        else:
            donors = derangement(len(ids), self.seed)
        source, (n_sequences, n_pos) = Source(means=taken, donor_of=donors), ids.shape
        step = min(SEARCHED, rows_at_once(TOKENS_PER_BATCH, n_pos))
        found: list[Rows] = []
        for start in range(0, n_sequences, step):
            rows = slice(start, min(start + step, n_sequences))
            tokens = torch.from_numpy(ids[rows].astype(np.int64)).to(model.device)
            found.append(
                Rows(
                    model=model,
                    tokens=tokens,
                    entering=trace(model, tokens, [0]).resid_pre[0],
                    calls=layer_calls(model, tokens[:1]),
                    stand_ins=source.stand_ins(model, read_on[parity::2], rows),
                    method=Method(self.method),
                    predicted=len(self.vocabulary.bos) + self.block_len,
                )
            )
        return found

    def _gated(
        self, rows: Rows, every: HeadSet, report: Report
    ) -> Mapping[Goal, Sequence[HeadSet]]:
        """What gates choose, each time from other sequences of a batch."""
        rng = np.random.default_rng(self.seed)
        found: dict[Goal, list[HeadSet]] = {goal: [] for goal in Goal}
        n, total = len(rows.tokens), self.n_starts * len(Goal)
        for start in range(self.n_starts):
            some = rows.some(sorted(rng.permutation(n)[:LEARNED_FROM].tolist()))
            for goal, chosen in found.items():
                chosen.append(learned(some, every, goal, NEEDED, self.seed + start))
                report(sum(map(len, found.values())), total, "")
        return found


def _chosen(path: Sequence[HeadSet], even: Sequence[Rows]) -> HeadSet:
    """The smallest small set that keeps enough, or the largest small one."""
    every = path[0]
    small = [kept for kept in path if len(kept) <= max(1, len(every) // SMALL) and kept]
    replaced = [(), every, *(tuple(h for h in every if h not in kept) for kept in small)]
    base, floor, *losses = np.stack(
        [np.concatenate([rows.losses(heads) for rows in even]).mean() for heads in replaced]
    )
    kept_share = (floor - np.array(losses)) / (floor - base)
    enough = [kept for kept, share in zip(small, kept_share, strict=True) if share >= TARGET]
    return min(enough, key=len) if enough else small[0]


def by_part(
    changes: Float[np.ndarray, "set sequence predicted"],
    quarters: Int[np.ndarray, "sequence predicted"],
) -> Float[np.ndarray, "set scope sequence"]:
    """Means over each of `SCOPES`.

    Args:
        changes: At every position whose loss counts.
        quarters: Of the tokens there by frequency, 0 to 3.

    Returns:
        NaN for a part without any position.
    """
    n_predicted = quarters.shape[1]
    place = np.empty(n_predicted, dtype=int)
    for i, part in enumerate(np.array_split(np.arange(n_predicted), len(BY_PLACE))):
        place[part] = i
    parts = [np.broadcast_to(place, quarters.shape) == i for i in range(len(BY_PLACE))]
    parts += [quarters == i for i in range(len(BY_TOKEN))]
    whole = np.ones(quarters.shape, dtype=bool)
    weights = np.stack([whole, *parts]).astype(float)
    with np.errstate(invalid="ignore"):
        return np.einsum("nsp,csp->ncs", changes, weights) / weights.sum(-1)
