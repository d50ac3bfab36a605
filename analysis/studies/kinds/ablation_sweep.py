"""What a model's predictions lose when sets of heads are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from analysis.questions.experiment import Experiment
from analysis.questions.text_sweep import UNIT, TextSweep, batch_rows


@dataclass(frozen=True, kw_only=True)
class AblationSweep(TextSweep):
    """What does replacing each of some sets of heads do to predictions on text?"""

    version: ClassVar[int] = 1

    method: str
    """A value of `Method`."""
    pooling: str
    """A value of `Pooling`: over what the means are taken, for methods that use them."""
    positions: tuple[int, ...] | None
    """Of queries or keys, as the method says; None for all."""
    family: str
    """What the sets are for: `single`, `top`, `random`, `layer_matched`."""
    sets: tuple[tuple[str, ...], ...]
    """Heads such as `L1H4`, replaced together."""
    first_draw: int | None
    """Number of the first set among random draws; None where nothing was drawn."""

    @property
    def n_passes(self) -> int:
        """One pass a set at most, of which the layers below its first head are saved."""
        return 1 + len(self.sets)

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

    def units(self) -> Sequence[Experiment]:
        """Up to `UNIT` sets at a time."""
        return [
            replace(
                self,
                sets=self.sets[start : start + UNIT],
                first_draw=None if self.first_draw is None else self.first_draw + start,
            )
            for start in range(0, len(self.sets), UNIT)
        ]

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
