"""Everything that is asked about predictions after prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from analysis.interventions import Method, Pooling
from analysis.interventions.heads import heads_of
from analysis.models.load import Model
from analysis.questions.experiment import Experiment
from analysis.questions.study import Recall, TextStudy
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies.atlas.study import AtlasStudy
from analysis.studies.circuit.heads import previous_token_head, usual_circuit

from .prompt_probe import PromptProbe
from .question import PredictionTables

MAX_CONTEXT = 64
"""Samples of text that predictions are shown after are cut from windows of this length."""


@dataclass(frozen=True)
class PredictionStudy(TextStudy[None]):
    """What does a model predict after a prompt, and without a head?"""

    def tables(self, head: str) -> PredictionTables:
        """What is predicted after prompts, and without a head or the values before t."""
        rows = self.asked.ablated()
        n_samples, n_tokens = rows.pop("n_sequences"), min(MAX_CONTEXT, rows.pop("n_tokens"))
        return PredictionTables(**rows, n_samples=n_samples, n_tokens=n_tokens, head=head)

    def prompt_probe(
        self, text: str, head: str, method: Method, t: int, positions: tuple[int, ...] | None
    ) -> PromptProbe:
        """What one intervention changes in a typed prompt."""
        return PromptProbe(
            **self.asked.drawn(bos=self.asked.with_bos, text=text),
            position=t,
            head=head,
            method=method.value,
            positions=positions,
            pooling=Pooling.PER_POSITION.value,
            n_reference=self.asked.sizes.n_ablated,
        )

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Prompts that the model cannot hold."""
        return self.tables(str(heads_of(self.asked.card)[0])).gaps(model)

    def expected(self) -> Iterator[Experiment]:
        """Predictions without a previous-token head."""
        yield self.tables(str(usual_circuit(self.asked.card).previous))

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """No claims: what is predicted without the previous-token head."""
        text = recall(AtlasStudy(self.asked).text_scores())
        recall(self.tables(str(previous_token_head(text))))
        yield from ()


STUDY = PredictionStudy
