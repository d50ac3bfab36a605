"""Everything that is asked about the components of an induction circuit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from analysis.errors import UserError
from analysis.questions.asked import Profile
from analysis.questions.decomposed import DecomposedStudy
from analysis.questions.experiment import Experiment
from analysis.questions.study import Recall
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies.atlas.study import AtlasStudy
from analysis.studies.circuit.heads import CircuitHeads, circuit_heads, usual_circuit

from .claims import FIGURES, ComponentEffectClaims
from .question import ComponentEffects


@dataclass(frozen=True, kw_only=True)
class EffectSizes:
    """How much of what this study alone measures."""

    n_matched_sets: int
    """Random sets of components beside each set of those that an induction circuit needs."""


SIZES = {
    Profile.TINY: EffectSizes(n_matched_sets=2),
    Profile.QUICK: EffectSizes(n_matched_sets=40),
    Profile.FULL: EffectSizes(n_matched_sets=40),
}


@dataclass(frozen=True)
class CircuitComponentStudy(DecomposedStudy[EffectSizes]):
    """Which components of two layers does an induction circuit need?"""

    SIZES = SIZES
    FIGURES = FIGURES

    def effects(self, heads: CircuitHeads) -> ComponentEffects:
        """What an induction circuit loses without components of its two layers.

        Blocks are half as long as those of other questions: every component takes a pass.
        """
        sizes = self.asked.sizes
        return ComponentEffects(
            **self.asked.random(n_sequences=sizes.n_blocks, block_len=max(2, sizes.block_len // 2)),
            decomposition=self.decomposition,
            previous=str(heads.previous),
            copiers=(str(heads.copiers[0]),),
            n_draws=self.sizes.n_matched_sets,
        )

    def claims(self, heads: CircuitHeads, effects: Evidence) -> ComponentEffectClaims:
        """What holds of the components of an induction circuit."""
        asked, copier = self.asked, str(heads.copiers[0])
        return ComponentEffectClaims(
            card=asked.card, seed=asked.seed, copier=copier, effects=effects
        )

    def expected(self) -> Iterator[Experiment]:
        """The components of a circuit's two layers."""
        yield self.effects(usual_circuit(self.asked.card))

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on the components of an induction circuit; none without them, or any copying."""
        atlas = AtlasStudy(self.asked)
        text, induction = recall(atlas.text_scores()), recall(atlas.induction_scores())
        if not atlas.copies(induction):
            return
        with suppress(UserError):
            heads = circuit_heads(text, induction)
            yield recall(self.claims(heads, recall(self.effects(heads))))


STUDY = CircuitComponentStudy
