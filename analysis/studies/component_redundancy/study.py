"""Everything that is asked about a pair of components and the value one back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from analysis.components.ablation import Mode
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.questions.asked import Profile
from analysis.questions.decomposed import DecomposedStudy
from analysis.questions.experiment import Experiment
from analysis.questions.study import Recall
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies.atlas.study import AtlasStudy
from analysis.studies.circuit.heads import previous_token_head, usual_circuit
from analysis.studies.predictions.study import MAX_CONTEXT
from analysis.studies.redundancy.question import MAX_TOKENS
from analysis.studies.redundancy.study import MAX_QUERY_OFFSET, RedundancyStudy

from .choice import PairChoice
from .claims import FIGURES, ComponentEvidence, ComponentRedundancyClaims
from .offsets import ComponentOffsets
from .predictions import ComponentPredictions
from .question import ComponentRedundancy

N_STARTS = 1
"""Of an adversary."""
SWEPT_MODES = (Mode.DETERMINISTIC, Mode.STOCHASTIC, Mode.ADVERSARIAL)
"""Modes in which values are zeroed at every offset; of the others only effects are compared."""
WITHIN_MODES = (Mode.DETERMINISTIC, Mode.STOCHASTIC)
"""Modes in which a pair is cut from a single head too."""


@dataclass(frozen=True, kw_only=True)
class PairSizes:
    """How much of what this study alone measures."""

    n_matched: int
    """Random pairs of components beside a chosen one, outside the mechanism and of all."""
    n_stochastic: int
    """Sequences that are measured under random masks."""
    n_adversarial: int
    """Sequences that an adversary is let loose on."""
    n_masks: int
    """Draws of masks in the stochastic modes."""


SIZES = {
    Profile.TINY: PairSizes(n_matched=2, n_stochastic=2, n_adversarial=2, n_masks=2),
    Profile.QUICK: PairSizes(n_matched=8, n_stochastic=32, n_adversarial=12, n_masks=8),
    Profile.FULL: PairSizes(n_matched=8, n_stochastic=128, n_adversarial=64, n_masks=8),
}


@dataclass(frozen=True)
class ComponentRedundancyStudy(DecomposedStudy[PairSizes]):
    """Is the value a few tokens back all that a pair of components was for?"""

    SIZES = SIZES
    FIGURES = FIGURES

    def pair_choice(self, head: Head) -> PairChoice:
        """Which components make a previous-token head look one back."""
        n_matched = self.sizes.n_matched
        return PairChoice(**self._at_positions(), head=str(head), n_matched=n_matched)

    def redundancy(
        self, head: Head, components: str, mode: Mode, within: Head | None
    ) -> ComponentRedundancy:
        """Whether a value a few tokens back is all that components were for."""
        max_lag = RedundancyStudy(self.asked).sizes.max_lag
        return ComponentRedundancy(
            **self._at_positions(),
            **self._ablated(head, components, mode),
            n_measured=self._n_measured(mode),
            within=None if within is None else str(within),
            method="zero_value",
            max_lag=max_lag if mode in SWEPT_MODES else 1,
        )

    def offsets(self, head: Head, components: str, mode: Mode) -> ComponentOffsets:
        """Where heads look from a position with components ablated there."""
        rows = self._at_positions()
        return ComponentOffsets(
            **rows,
            **self._ablated(head, components, mode),
            n_measured=self._n_measured(mode),
            max_offset=min(MAX_QUERY_OFFSET, rows["n_tokens"] - 1),
        )

    def predictions(self, head: Head, components: str, mode: Mode) -> ComponentPredictions:
        """What is predicted after prompts, and with components ablated."""
        sizes = self.asked.sizes
        rows = self.text_rows(sizes.n_ablated, min(MAX_CONTEXT, sizes.ablated_tokens))
        n_samples = rows.pop("n_sequences") // (4 if mode is Mode.ADVERSARIAL else 1)
        return ComponentPredictions(
            **rows, **self._ablated(head, components, mode), n_samples=n_samples
        )

    def evidence(self, recall: Recall, head: Head) -> ComponentEvidence:
        """What the redundancy of a previous-token head's components is judged by."""
        choice = self.pair_choice(head)
        answer = recall(choice)
        pair = choice.chosen(answer)

        plainly = Mode.DETERMINISTIC, None

        def asked(components: str, mode: Mode, within: Head | None) -> Evidence:
            return recall(self.redundancy(head, components, mode, within))

        return ComponentEvidence(
            head=str(head),
            pair=pair,
            modes={mode.value: asked(pair, mode, None) for mode in Mode},
            within={mode.value: asked(pair, mode, head) for mode in WITHIN_MODES},
            outside={each: asked(each, *plainly) for each in choice.outside(answer)},
            matched={
                each: recall(replace(self.redundancy(head, each, *plainly), max_lag=1))
                for each in choice.matched(answer)
            },
            zeroed=recall(RedundancyStudy(self.asked).value_redundancy(head, "zero_value")),
        )

    def claims(self, evidence: ComponentEvidence) -> ComponentRedundancyClaims:
        """What holds of components and the value one back."""
        asked = self.asked
        return ComponentRedundancyClaims(card=asked.card, seed=asked.seed, evidence=evidence)

    def expected(self) -> Iterator[Experiment]:
        """A pair of components under every mode, others beside it, and what is shown of it."""
        head = usual_circuit(self.asked.card).previous
        choice = self.pair_choice(head)
        yield choice
        pair, plainly = ",".join(f"{name}:0" for name in choice.layers), Mode.DETERMINISTIC
        yield from (self.redundancy(head, pair, mode, None) for mode in Mode)
        yield from (self.redundancy(head, pair, mode, head) for mode in WITHIN_MODES)
        others = [self._beside(choice, i) for i in range(1, 1 + self.sizes.n_matched)]
        outside = [self.redundancy(head, other, plainly, None) for other in others]
        yield from (each for one in outside for each in (one, replace(one, max_lag=1)))
        for mode in SWEPT_MODES if self._swept else ():
            yield self.offsets(head, pair, mode)
            yield self.predictions(head, pair, mode)

    def _beside(self, choice: PairChoice, index: int) -> str:
        return ",".join(f"{name}:{index}" for name in choice.layers)

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on components and the value one back; none where queries are turned otherwise."""
        previous = previous_token_head(recall(AtlasStudy(self.asked).text_scores()))
        with suppress(UserError):
            evidence = self.evidence(recall, previous)
            for mode in SWEPT_MODES if self._swept else ():
                recall(self.offsets(previous, evidence.pair, mode))
                recall(self.predictions(previous, evidence.pair, mode))
            yield recall(self.claims(evidence))

    @property
    def _swept(self) -> bool:
        """Whether ways of masking are compared: not for chapter 04, which shows the claims."""
        return "07" in self.asked.chapters or "04" not in self.asked.chapters

    def _at_positions(self) -> dict[str, Any]:
        """Text with a random position in every sequence."""
        return self.text_rows(self.asked.sizes.n_positions, MAX_TOKENS)

    def _n_measured(self, mode: Mode) -> int:
        """Sequences: draws of masks take a pass each, and an adversary a hundred."""
        n, sizes = self.asked.sizes.n_positions, self.sizes
        most = {Mode.DETERMINISTIC: n, Mode.ADVERSARIAL: sizes.n_adversarial}
        return min(n, most.get(mode, sizes.n_stochastic))

    def _ablated(self, head: Head, components: str, mode: Mode) -> dict[str, Any]:
        """Components of a head, and the masks of all others."""
        fixed = {Mode.DETERMINISTIC: 1, Mode.ADVERSARIAL: N_STARTS}
        return {
            "head": str(head),
            "components": components,
            "mode": mode.value,
            "n_draws": fixed.get(mode, self.sizes.n_masks),
        }


STUDY = ComponentRedundancyStudy
