"""Everything that is asked about a decomposition and its components."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from analysis.models.files.published import is_published
from analysis.models.load import Model
from analysis.questions.decomposed import Decomposed, DecomposedStudy
from analysis.questions.study import Recall
from analysis.questions.verdicts.judgement import Evidence

from .harvest import ComponentHarvest
from .quality import DecompositionQuality, MeasuredQuality


@dataclass(frozen=True)
class ComponentStudy(DecomposedStudy[None]):
    """How good is a decomposition, and what are its components?"""

    def quality(self) -> Decomposed:
        """How good the decomposition is: as its folder says, or measured if it does not."""
        sizes = self.asked.sizes
        if is_published(Path(self.decomposition)):
            return MeasuredQuality(**self.text_rows(sizes.n_sequences, sizes.ablated_tokens))
        return DecompositionQuality(**self.asked.drawn(decomposition=self.decomposition))

    def harvest(self) -> ComponentHarvest:
        """What the components are, and what they fire on."""
        sizes = self.asked.sizes
        return ComponentHarvest(**self.text_rows(sizes.n_sequences, sizes.n_tokens))

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Contributions to scores, where they are not defined."""
        return self.harvest().gaps(model)

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """No claims: how good a decomposition is, and what its components are."""
        recall(self.quality())
        recall(self.harvest())
        yield from ()


STUDY = ComponentStudy
