"""Does an induction head need the previous-token head, and does copying need the induction head?"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import torch

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Head,
    HeadSet,
    Intervention,
    Method,
    Pooling,
    Source,
    layer_matched_sets,
    random_sets,
    stand_in_source,
    taps,
)
from analysis.interventions.heads import heads_of
from analysis.models.load import Model
from analysis.progress import Report, stage
from analysis.questions.effect_rows import head_effects, loss_effects, scattered
from analysis.questions.rows import Labels, head_scores, joined
from analysis.questions.verdicts.head_sets import can_judge, heads_below
from analysis.questions.work import Work, predicted
from analysis.text.tokens import Tokens

from .heads import SCOPES, CircuitExperiment
from .passes import Reading, batches

METHODS = (Method.ZERO, Method.MEAN, Method.RESAMPLE, Method.UNIFORM)
"""How heads are ablated."""

SETS_METHOD = Method.RESAMPLE
"""How random sets are ablated: what stands in has the distribution of what was there."""


@dataclass(frozen=True)
class Outcome:
    """What some conditions change, and the scores without them."""

    base: np.ndarray
    """Induction scores (sequence, copier)."""
    scores: np.ndarray
    """Changes of them (condition, sequence, copier)."""
    losses: np.ndarray
    """Changes of the loss (condition, scope, sequence)."""


@dataclass(frozen=True, kw_only=True)
class CircuitNecessity(CircuitExperiment):
    """What is lost when the heads of an induction circuit are ablated?

    The previous-token head and, as its control, every other head of its layer, each by four
    methods; each induction head, and all together, against random sets of as many heads outside
    the circuit: in the same layers or, where those are too few to judge by, anywhere. Then every
    head below the induction heads is ablated alone, too, to know which sets hold one that
    everything needs. The previous-token head is ablated on the shuffled block as well.
    """

    version: ClassVar[int] = 2

    n_draws: int
    """Random sets in the same layers, and twice as many anywhere, since some will not do; all sets
    where there are no more than that."""

    @cached_property
    def reference(self) -> Tokens:
        """Other blocks shown twice, over which the means are taken at every position."""
        return self.rows("repeated", apart=True)

    def data(self) -> Sequence[Tokens]:
        """The block twice, its control, and the reference set."""
        return [*super().data(), self.reference]

    def work(self) -> Work:
        """Every condition from its first layer on, those of the previous-token head twice."""
        every = self.conditions()
        both = every, [one for one in every if _is_previous(one)]
        found = Work(layers=self.card.n_layers * self.reference.ids.size)
        for tokens, conditions in zip((self.repeated, self.shuffled), both, strict=True):
            at = [self._first_read(one) for one in conditions]
            n_rows, n_pos = tokens.ids.shape
            n_layers = self.card.n_layers
            rows = n_rows * (3 * n_layers - min(at, default=0) + sum(n_layers - i for i in at))
            found += Work(layers=n_pos * rows) + predicted(tokens) * (1 + len(conditions))
        return found

    def _first_read(self, condition: Condition) -> int:
        """The first layer that is run under a condition: scores of lower ones are read there."""
        return min(condition.first_layer, *(head.layer for head in self.heads.copiers))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Ablate.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means` (loss), `head_effects` (change of
            the induction heads' scores) and `head_scores` (their scores as they are).
        """
        model = self.loaded_model()
        reference, per_position = self.reference.ids, Pooling.PER_POSITION
        n_sequences = len(self.repeated.ids)
        source = stand_in_source(model, METHODS, reference, per_position, n_sequences, self.seed)
        conditions = self.conditions()
        both = (
            (self.repeated, "repeated", conditions),
            (self.shuffled, "shuffled", [_control(c) for c in conditions if _is_previous(c)]),
        )
        frames = [
            self._frames(
                self._measure(model, tokens, asked, source, stage(report, data, i, len(both))),
                (tokens, data, asked),
            )
            for i, (tokens, data, asked) in enumerate(both)
        ]
        return joined(frames)

    def conditions(self) -> list[Condition]:
        """What is ablated on the repeated block."""
        previous, copiers = self.heads.previous, self.heads.copiers
        layer = [
            Head(previous.layer, head) for head in range(self.card.heads_by_layer[previous.layer])
        ]
        alone = [
            _ablation(method, (head,), "previous" if head == previous else "layer_matched")
            for method in METHODS
            for head in layer
        ]
        alone += [_ablation(method, (head,), "copier") for method in METHODS for head in copiers]
        together = [_ablation(method, copiers, "copiers") for method in METHODS]
        every = heads_of(self.card)
        sets = {"layer_matched_set": list[HeadSet](), "random_set": list[HeadSet]()}
        with suppress(UserError):
            matched = layer_matched_sets(every, copiers, self.n_draws, self.seed)
            sets["layer_matched_set"] = matched
        single, n = list[Condition](), 2 * self.n_draws
        if can_judge(n) and not can_judge(len(sets["layer_matched_set"])):
            below = [head for head in heads_below(every, copiers) if head != previous]
            single = [_ablation(SETS_METHOD, (head,), "below") for head in below]
            with suppress(UserError):
                anywhere = random_sets(every, (previous, *copiers), len(copiers), n, self.seed)
                sets["random_set"] = anywhere
        drawn = [
            replace(_ablation(SETS_METHOD, heads, family), draw=i)
            for family, found in sets.items()
            for i, heads in enumerate(found)
        ]
        return [*alone, *together, *single, *drawn]

    def _measure(
        self,
        model: Model,
        tokens: Tokens,
        conditions: Sequence[Condition],
        source: Source,
        report: Report,
    ) -> Outcome:
        """Every condition on all sequences, a batch of them at a time."""
        n_sequences, n_pos = tokens.ids.shape
        copiers, found = self.heads.copiers, list[tuple[np.ndarray, ...]]()
        for rows in batches(n_sequences, n_pos):
            with torch.inference_mode():
                start = self.start(model, tokens, rows)
                stand_ins = source.stand_ins(model, tokens.ids, rows)
                base = start.reading(0, Taps(), copiers)
                changed: list[Reading] = []
                for i, condition in enumerate(conditions):
                    edits = taps(condition.interventions, stand_ins, len(start.tokens))
                    changed.append(start.reading(condition.first_layer, edits, copiers))
                    done = rows.start * len(conditions) + (i + 1) * len(start.tokens)
                    report(done, n_sequences * len(conditions), "")
            found.append(self._changes(base, changed))
        scores, score_changes, loss_changes = zip(*found, strict=True)
        return Outcome(
            np.concatenate(scores),
            np.concatenate(score_changes, axis=1),
            np.concatenate(loss_changes, axis=2),
        )

    def _changes(self, base: Reading, changed: Sequence[Reading]) -> tuple[np.ndarray, ...]:
        """Scores (row, copier), and changes of scores and of losses by scope."""
        scores = torch.stack([each.scores - base.scores for each in changed])
        losses = torch.stack([each.losses - base.losses for each in changed])
        by_scope = self.by_scope(losses.double().cpu().numpy()).swapaxes(1, 2)
        return base.scores.double().cpu().numpy(), scores.double().cpu().numpy(), by_scope

    def _frames(
        self, found: Outcome, asked: tuple[Tokens, str, Sequence[Condition]]
    ) -> dict[str, pl.DataFrame]:
        tokens, data, conditions = asked
        copiers = self.heads.copiers
        labels = Labels(card=self.card, tokens=tokens, data=data, seed=self.seed)
        names = [condition.name for condition in conditions]
        base = scattered(found.base, copiers, self.card)
        return {
            **loss_effects(found.losses, conditions, SCOPES, labels),
            "head_effects": head_effects(found.scores, names, copiers, "induction", labels),
            "head_scores": head_scores(base, None, "induction", labels),
        }


def _ablation(method: Method, heads: tuple[Head, ...], family: str) -> Condition:
    """One method at all positions of some heads."""
    among = {
        "copiers": " together",
        "below": " alone",
        "layer_matched_set": " as control",
        "random_set": " as random control",
    }.get(family, "")
    name = f"{method.value} {'+'.join(map(str, heads))}{among}"
    one = Intervention(method=method, heads=heads, positions=None)
    return Condition(name=name, family=family, interventions=(one,))


def _is_previous(condition: Condition) -> bool:
    return condition.family == "previous"


def _control(condition: Condition) -> Condition:
    """The same condition on the shuffled block."""
    return replace(condition, name=f"{condition.name}, shuffled", family="shuffled")
