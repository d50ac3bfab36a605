"""Every question about the parameter components of a model, at a reader's sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.components.ablation import Mode
from analysis.components.folder import default_folder
from analysis.interventions import Head
from analysis.models.precision import Precision
from analysis.models.published import is_published
from analysis.questions.decomposed import Decomposed
from analysis.questions.experiment import Question
from analysis.questions.judgement import Evidence
from analysis.studies.circuit.heads import CircuitHeads
from analysis.studies.circuit_components.claims import ComponentEffectClaims
from analysis.studies.circuit_components.question import ComponentEffects
from analysis.studies.component_redundancy.choice import PairChoice
from analysis.studies.component_redundancy.claims import (
    ComponentEvidence,
    ComponentRedundancyClaims,
)
from analysis.studies.component_redundancy.offsets import ComponentOffsets
from analysis.studies.component_redundancy.predictions import ComponentPredictions
from analysis.studies.component_redundancy.question import ComponentRedundancy
from analysis.studies.components.harvest import ComponentHarvest
from analysis.studies.components.quality import DecompositionQuality, MeasuredQuality
from analysis.studies.redundancy.question import MAX_TOKENS

from .request import MAX_CONTEXT, MAX_QUERY_OFFSET, Request

N_STARTS = 1
"""Of an adversary."""
SWEPT_MODES = (Mode.DETERMINISTIC, Mode.STOCHASTIC, Mode.ADVERSARIAL)
"""Modes in which values are zeroed at every offset; of the others only effects are compared."""
WITHIN_MODES = (Mode.DETERMINISTIC, Mode.STOCHASTIC)
"""Modes in which a pair is cut from a single head too."""


@dataclass(frozen=True, kw_only=True)
class DecomposedRequest:
    """A request, and a decomposition of its model."""

    request: Request
    decomposition: str
    """Its folder."""

    @classmethod
    def of(cls, request: Request) -> DecomposedRequest | None:
        """With the model's own decomposition, if it has one and a tokenizer.

        Components are of weights in float32: in another precision none is asked about.
        """
        folder = default_folder(request.card)
        exact = request.dtype == Precision.FLOAT32.value
        if folder is None or request.vocabulary.tokenizer is None or not exact:
            return None
        return cls(request=request, decomposition=str(folder))

    def quality(self) -> Decomposed:
        """How good the decomposition is: as its folder says, or measured if it does not."""
        asked = self.request
        if is_published(Path(self.decomposition)):
            return MeasuredQuality(
                **self._text(asked.sizes.n_sequences, asked.sizes.ablated_tokens)
            )
        return DecompositionQuality(
            model=asked.model,
            decomposition=self.decomposition,
            seed=asked.seed,
            device=asked.device,
            dtype=asked.dtype,
        )

    def component_harvest(self) -> ComponentHarvest:
        """What the components are, and what they fire on."""
        sizes = self.request.sizes
        return ComponentHarvest(**self._text(sizes.n_sequences, sizes.n_tokens))

    def _text(self, n_sequences: int, n_tokens: int) -> dict[str, Any]:
        """Text to ask about."""
        asked = self.request
        return {
            "model": asked.model,
            "decomposition": self.decomposition,
            "text": asked.text,
            "bos": asked.bos and bool(asked.vocabulary.bos),
            "n_sequences": n_sequences,
            "n_tokens": min(n_tokens, asked.card.n_ctx),
            "seed": asked.seed,
            "device": asked.device,
            "dtype": asked.dtype,
        }

    def pair_choice(self, head: Head) -> PairChoice:
        """Which components make a previous-token head look one back."""
        n_matched = self.request.sizes.n_matched
        return PairChoice(**self._at_positions(), head=str(head), n_matched=n_matched)

    def component_redundancy(
        self, head: Head, components: str, mode: Mode, within: Head | None
    ) -> ComponentRedundancy:
        """Whether a value a few tokens back is all that components were for."""
        max_lag = self.request.sizes.max_lag if mode in SWEPT_MODES else 1
        return ComponentRedundancy(
            **self._at_positions(),
            **self._ablated(head, components, mode),
            n_measured=self._n_measured(mode),
            within=None if within is None else str(within),
            method="zero_value",
            max_lag=max_lag,
        )

    def component_offsets(self, head: Head, components: str, mode: Mode) -> ComponentOffsets:
        """Where heads look from a position with components ablated there."""
        asked = self._at_positions()
        return ComponentOffsets(
            **asked,
            **self._ablated(head, components, mode),
            n_measured=self._n_measured(mode),
            max_offset=min(MAX_QUERY_OFFSET, asked["n_tokens"] - 1),
        )

    def component_predictions(
        self, head: Head, components: str, mode: Mode
    ) -> ComponentPredictions:
        """What is predicted after prompts, and with components ablated."""
        sizes = self.request.sizes
        asked = self._text(sizes.n_ablated, min(MAX_CONTEXT, sizes.ablated_tokens))
        n_samples = asked.pop("n_sequences") // (4 if mode is Mode.ADVERSARIAL else 1)
        return ComponentPredictions(
            **asked, **self._ablated(head, components, mode), n_samples=n_samples
        )

    def component_evidence(
        self, recall: Callable[[Question], Evidence], head: Head
    ) -> ComponentEvidence:
        """What the redundancy of a previous-token head's components is judged by."""
        choice = self.pair_choice(head)
        answer = recall(choice)
        pair = choice.chosen(answer)

        def asked(components: str, mode: Mode, within: Head | None) -> Evidence:
            return recall(self.component_redundancy(head, components, mode, within))

        return ComponentEvidence(
            head=str(head),
            pair=pair,
            modes={mode.value: asked(pair, mode, None) for mode in Mode},
            within={mode.value: asked(pair, mode, head) for mode in WITHIN_MODES},
            matched={
                other: asked(other, Mode.DETERMINISTIC, None) for other in choice.matched(answer)
            },
            zeroed=recall(self.request.value_redundancy(head, "zero_value")),
        )

    def component_redundancy_claims(self, evidence: ComponentEvidence) -> ComponentRedundancyClaims:
        """What holds of components and the value one back."""
        asked = self.request
        return ComponentRedundancyClaims(card=asked.card, seed=asked.seed, evidence=evidence)

    def _at_positions(self) -> dict[str, Any]:
        """Text with a random position in every sequence."""
        return self._text(self.request.sizes.n_positions, MAX_TOKENS)

    def _n_measured(self, mode: Mode) -> int:
        """Sequences: draws of masks take a pass each, and an adversary a hundred."""
        n = self.request.sizes.n_positions
        parts = {Mode.DETERMINISTIC: 1, Mode.ADVERSARIAL: 8}
        return max(2, n // parts.get(mode, 4))

    def _ablated(self, head: Head, components: str, mode: Mode) -> dict[str, Any]:
        """Components of a head, and the masks of all others."""
        n_masks = self.request.sizes.n_masks
        n_draws = {Mode.DETERMINISTIC: 1, Mode.ADVERSARIAL: N_STARTS}.get(mode, n_masks)
        return {
            "head": str(head),
            "components": components,
            "mode": mode.value,
            "n_draws": n_draws,
        }

    def component_effects(self, heads: CircuitHeads) -> ComponentEffects:
        """What an induction circuit loses without components of its two layers.

        Blocks are half as long as those of other questions: every component takes a pass.
        """
        asked = self.request
        return ComponentEffects(
            model=asked.model,
            decomposition=self.decomposition,
            previous=str(heads.previous),
            copiers=(str(heads.copiers[0]),),
            n_sequences=asked.sizes.n_blocks,
            block_len=max(2, asked.sizes.block_len // 2),
            n_draws=asked.sizes.n_matched_sets,
            seed=asked.seed,
            device=asked.device,
            dtype=asked.dtype,
        )

    def component_effect_claims(
        self, heads: CircuitHeads, effects: Evidence
    ) -> ComponentEffectClaims:
        """What holds of the components of an induction circuit."""
        return ComponentEffectClaims(
            card=self.request.card,
            seed=self.request.seed,
            copier=str(heads.copiers[0]),
            effects=effects,
        )
