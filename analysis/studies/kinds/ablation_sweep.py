"""What a model's predictions lose when sets of heads are replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.interventions import (
    Draws,
    Measurement,
    Metrics,
    Pooling,
    stand_in_source,
    sweep,
)
from analysis.progress import Report
from analysis.questions.effect_rows import effect_rows
from analysis.questions.text_sweep import TextSweep, batch_rows
from analysis.questions.verdicts.head_sets import HeadSets
from analysis.questions.work import Work, swept


@dataclass(frozen=True, kw_only=True)
class AblationSweep(TextSweep, HeadSets):
    """What does replacing each of some sets of heads do to predictions on text?"""

    version: ClassVar[int] = 2

    pooling: str
    """A value of `Pooling`: over what the means are taken, for methods that use them."""
    positions: tuple[int, ...] | None
    """Of queries or keys, as the method says; None for all."""
    drawn_tokens: int = 0
    """Drawn at every position to estimate KL and the change of the loss; 0 to compare the whole
    vocabulary, by all metrics."""

    def question(self) -> dict[str, Any]:
        """The same; where nothing is drawn, as it was asked before anything could be."""
        asked = super().question()
        parameters = asked["parameters"]
        if not self.drawn_tokens:
            parameters = {name: v for name, v in parameters.items() if name != "drawn_tokens"}
        return asked | {"parameters": parameters}

    @property
    def acting_at(self) -> tuple[int, ...] | None:
        """The positions."""
        return self.positions

    def work(self) -> Work:
        """Every set from its first layer on, compared at all positions."""
        shape, reference = self.tokens.ids.shape, self.reference.ids.size
        return swept(self.conditions(), self.card, shape, self._metrics, reference)

    @property
    def _metrics(self) -> Metrics:
        return Metrics.DRAWN if self.drawn_tokens else Metrics.FULL

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure every set.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means`; where tokens are drawn, also how
            good the estimates are.
        """
        model = self.loaded_model()
        methods, reference = {self.replacing}, self.reference.ids
        pooling, n_sequences = Pooling(self.pooling), len(self.tokens.ids)
        effects = sweep(
            model,
            self.tokens.ids,
            self.conditions(),
            stand_in_source(model, methods, reference, pooling, n_sequences, self.seed),
            Measurement(
                scopes={"all": np.ones(self.tokens.ids.shape, dtype=bool)},
                metrics=self._metrics,
                max_rows=batch_rows(self.n_tokens, model.device.type),
                draws=Draws(self.drawn_tokens, self.seed) if self.drawn_tokens else None,
            ),
            report,
        )
        return effect_rows(effects, self.labels())
