"""Cheaper measures of every head, beside the sweep: direct effects, and one gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Effects,
    Intervention,
    Method,
    Needs,
    Pooling,
    direct_effects,
    estimated_loss_change,
    stand_in_source,
)
from analysis.interventions.heads import heads_of
from analysis.models.load import Model, check_shares
from analysis.progress import Report, stage
from analysis.questions.effect_rows import effect_rows
from analysis.questions.rows import absence
from analysis.questions.text_sweep import TextSweep, batch_rows
from analysis.questions.work import Work, passes, predicted


@dataclass(frozen=True, kw_only=True)
class DirectEffects(TextSweep):
    """How much of zeroing a head reaches the logits directly, whatever later layers make of it?"""

    version: ClassVar[int] = 2

    def work(self) -> Work:
        """One pass, and what it predicts."""
        return passes(self.card, self.tokens) + predicted(self.tokens)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure every head's own part of a logit.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means` of the family `direct`:
            `logit_change` is of the base's most probable token; or `absences` where layers do
            something else with what heads write than add it.
        """
        model = self.loaded_model()
        rows = batch_rows(self.n_tokens, model.device.type)
        if gaps := self.gaps(model):
            nothing = np.full((self.card.n_layers, self.card.n_heads, len(self.tokens.ids)), np.nan)
            rows = self.rows("direct", Method.ZERO, {"logit_change": nothing})
            return {**rows, "absences": pl.concat(gaps)}
        found = direct_effects(model, self.tokens.ids, rows, report)
        return self.rows("direct", Method.ZERO, {"logit_change": found.top1})

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """All, where no share of what heads write arrives at the final norm."""
        try:
            check_shares(model)
        except UserError as error:
            return [absence(self.card, "direct_effect", "text", str(error))]
        return []

    def rows(
        self, family: str, method: Method, values: dict[str, np.ndarray]
    ) -> dict[str, pl.DataFrame]:
        """Rows of effects (layer, head, sequence) of single heads by metric."""
        heads = heads_of(self.card)
        conditions = tuple(
            Condition(
                name=f"{family} {method.value} {head}",
                family=family,
                interventions=(Intervention(method=method, heads=(head,), positions=None),),
            )
            for head in heads
        )
        layer, head = np.array(heads).T
        flat = {name: array[layer, head][:, None] for name, array in values.items()}
        return effect_rows(Effects(conditions, ("all",), flat), self.labels())


@dataclass(frozen=True, kw_only=True)
class GradientEstimates(DirectEffects):
    """What one gradient says that replacing each head costs: an estimate, never a measurement."""

    version: ClassVar[int] = 2

    method: str
    """A value of `Method`, of those that replace z; means are those of each position."""

    def work(self) -> Work:
        """A pass there and back; what stands in is read in one more, if anything."""
        size, needs = self.tokens.ids.size, Method(self.method).needs
        there = Work(gradients=size * self.card.n_layers, logits=3 * size)
        read = {Needs.MEANS: self.reference, Needs.DONORS: self.tokens}
        return there + passes(self.card, *(read[need] for need in (needs,) if need in read))

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Estimate every head's loss change.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means` of the family `estimate`.
        """
        model, method, ids = self.loaded_model(), Method(self.method), self.tokens.ids
        source = stand_in_source(
            model, {method}, self.reference.ids, Pooling.PER_POSITION, len(ids), self.seed
        )
        part = stage(report, "one gradient", 0, 1)
        rows = batch_rows(self.n_tokens, model.device.type)
        found = estimated_loss_change(model, ids, method, source, rows, part)
        return self.rows("estimate", method, {"loss_change": found})
