"""What a model's predictions lose when sets of heads are replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from analysis.interventions import (
    Condition,
    Intervention,
    Measurement,
    Method,
    Metrics,
    Pooling,
    stand_in_source,
    sweep,
)
from analysis.interventions.heads import parse_heads
from analysis.progress import Report
from analysis.questions.effect_rows import effect_rows
from analysis.questions.text_sweep import SetSweep, TextSweep, batch_rows


@dataclass(frozen=True, kw_only=True)
class AblationSweep(TextSweep, SetSweep):
    """What does replacing each of some sets of heads do to predictions on text?"""

    version: ClassVar[int] = 1

    method: str
    """A value of `Method`."""
    pooling: str
    """A value of `Pooling`: over what the means are taken, for methods that use them."""
    positions: tuple[int, ...] | None
    """Of queries or keys, as the method says; None for all."""

    def conditions(self) -> tuple[Condition, ...]:
        """One condition a set.

        Raises:
            UserError: A head is not of this model.
        """
        found: list[Condition] = []
        for i, names in enumerate(self.sets):
            heads = parse_heads(names, self.card)
            one = Intervention(method=Method(self.method), heads=heads, positions=self.positions)
            place = "" if self.positions is None else f" @{','.join(map(str, self.positions))}"
            draw = None if self.first_draw is None else self.first_draw + i
            which = "" if draw is None else f" {self.family} {draw}"
            name = f"{self.method}{place} {','.join(names)}{which}"
            found.append(Condition(name=name, family=self.family, interventions=(one,), draw=draw))
        return tuple(found)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure every set.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means`.
        """
        model = self.loaded_model()
        methods, reference = {Method(self.method)}, self.reference.ids
        pooling, n_sequences = Pooling(self.pooling), len(self.tokens.ids)
        effects = sweep(
            model,
            self.tokens.ids,
            self.conditions(),
            stand_in_source(model, methods, reference, pooling, n_sequences, self.seed),
            Measurement(
                scopes={"all": np.ones(self.tokens.ids.shape, dtype=bool)},
                metrics=Metrics.FULL,
                max_rows=batch_rows(self.n_tokens, model.device.type),
            ),
            report,
        )
        return effect_rows(effects, self.labels())
