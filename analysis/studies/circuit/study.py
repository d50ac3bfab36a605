"""Everything that is asked about the induction circuit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from analysis.interventions import Head
from analysis.models.load import Model
from analysis.questions.asked import Asked
from analysis.questions.experiment import Experiment
from analysis.questions.study import Recall, Study
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies.atlas.study import AtlasStudy

from .claims import FIGURES, CircuitClaims
from .composition import Composition
from .heads import MAX_RECEIVERS, CircuitHeads, circuit_heads, usual_circuit
from .necessity import CircuitNecessity
from .path_patching import PathPatching
from .second_copy import SecondCopy


@dataclass(frozen=True)
class CircuitStudy(Study[None]):
    """Is there an induction circuit, which heads is it made of, and is each of them needed?"""

    FIGURES = FIGURES

    @classmethod
    def hindrance(cls, asked: Asked) -> str:
        """In a model of a single layer that attends, no head reads another."""
        alone = len(asked.card.attending) < 2
        return "no head reads what an earlier one wrote: one layer attends" if alone else ""

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """What weights do not say, and what heads do not add."""
        any_heads = CircuitHeads(Head(0, 0), (Head(1, 0),))
        asked = (
            self.composition(),
            self.second_copy(),
            PathPatching(**self._circuit(any_heads)),
        )
        return [gap for one in asked for gap in one.gaps(model)]

    def composition(self) -> Composition:
        """Whose output heads read, by the weights alone."""
        return Composition(**self.asked.drawn())

    def necessity(self, text: Evidence, induction: Evidence) -> CircuitNecessity:
        """What is lost without the heads of an induction circuit."""
        return self._necessity(circuit_heads(text, induction))

    def _necessity(self, heads: CircuitHeads) -> CircuitNecessity:
        return CircuitNecessity(**self._circuit(heads), n_draws=self.asked.sizes.n_draws)

    def path_patching(self, text: Evidence, induction: Evidence) -> PathPatching:
        """Into which input of an induction head an earlier head's contribution matters."""
        return self._path_patching(circuit_heads(text, induction))

    def _path_patching(self, heads: CircuitHeads) -> PathPatching:
        return PathPatching(**self._circuit(replace(heads, copiers=heads.copiers[:MAX_RECEIVERS])))

    def second_copy(self) -> SecondCopy:
        """Where heads look from the second copy, and which token they raise."""
        return SecondCopy(**self._blocks())

    def claims(self, evidence: Mapping[str, Evidence]) -> CircuitClaims:
        """What holds of the induction circuit.

        Args:
            evidence: `text`, `induction`, `composition`, `necessity`, `paths`, `second_copy`.
        """
        known: dict[str, Any] = dict(evidence)
        return CircuitClaims(card=self.asked.card, seed=self.asked.seed, **known)

    def expected(self) -> Iterator[Experiment]:
        """Questions about the heads of a circuit."""
        heads = usual_circuit(self.asked.card)
        yield self._necessity(heads)
        yield self._path_patching(heads)

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on single heads, and on their circuit; none on that without any copying."""
        atlas = AtlasStudy(self.asked)
        evidence = {
            "text": recall(atlas.text_scores()),
            "induction": recall(atlas.induction_scores()),
            "composition": recall(self.composition()),
            "second_copy": recall(self.second_copy()),
        }
        scores = evidence["text"], evidence["induction"]
        recall(atlas.pool_scores())
        yield recall(atlas.claims(*scores, recall(atlas.copy_lags())))
        evidence["necessity"] = recall(self.necessity(*scores))
        evidence["paths"] = recall(self.path_patching(*scores))
        if atlas.copies(evidence["induction"]):
            yield recall(self.claims(evidence))

    def _circuit(self, heads: CircuitHeads) -> dict[str, Any]:
        copiers = tuple(map(str, heads.copiers))
        return {**self._blocks(), "previous": str(heads.previous), "copiers": copiers}

    def _blocks(self) -> dict[str, Any]:
        """The random blocks that the circuit is tested on."""
        sizes = self.asked.sizes
        return self.asked.random(n_sequences=sizes.n_blocks, block_len=sizes.block_len)


STUDY = CircuitStudy
