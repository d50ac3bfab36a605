"""Every experiment and claim that the book makes of a model, at a reader's sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.errors import UserError
from analysis.interventions import (
    Head,
    HeadSet,
    Method,
    Pooling,
    layer_matched_sets,
    random_sets,
)
from analysis.questions.asked import Asked
from analysis.questions.heads import all_heads, parse_heads
from analysis.questions.judgement import Evidence
from analysis.studies.atlas.claims import HeadClaims
from analysis.studies.circuit.claims import CircuitClaims
from analysis.studies.circuit.composition import Composition
from analysis.studies.circuit.heads import CircuitHeads, circuit_heads
from analysis.studies.circuit.necessity import CircuitNecessity
from analysis.studies.circuit.path_patching import PathPatching
from analysis.studies.circuit.second_copy import SecondCopy
from analysis.studies.kinds.ablation_sweep import AblationSweep
from analysis.studies.kinds.claims import KindClaims, KindEvidence, ranking
from analysis.studies.kinds.estimates import DirectEffects, GradientEstimates
from analysis.studies.kinds.identities import AblationIdentities
from analysis.studies.predictions.prompt_probe import PromptProbe
from analysis.studies.predictions.question import PredictionTables
from analysis.studies.redundancy.claims import RedundancyClaims, RedundancyEvidence
from analysis.studies.redundancy.query_offsets import QueryOffsets
from analysis.studies.redundancy.question import MAX_TOKENS, ValueRedundancy
from analysis.studies.sink.claims import SinkClaims
from analysis.studies.sink.question import BosSink

KINDS = {
    "zero": (Method.ZERO, Pooling.PER_POSITION, None),
    "mean per position": (Method.MEAN, Pooling.PER_POSITION, None),
    "mean pooled": (Method.MEAN, Pooling.POOLED, None),
    "resample": (Method.RESAMPLE, Pooling.PER_POSITION, None),
    "uniform": (Method.UNIFORM, Pooling.PER_POSITION, None),
    "mean value": (Method.MEAN_VALUE, Pooling.PER_POSITION, None),
    "zero value at 0": (Method.ZERO_VALUE, Pooling.PER_POSITION, (0,)),
    "mask key 0": (Method.MASK_KEY, Pooling.PER_POSITION, (0,)),
}
"""The kinds of ablation that the book compares: method, what means are over, positions."""
N_SINKS = 4
"""Heads that interventions on the sink act on together, at most."""
MAX_QUERY_OFFSET = 20
"""How far back attention from that position is shown."""
VALUE_METHODS = ("zero_value", "mean_value", "mask_key")
"""How values are ablated there."""
MAX_CONTEXT = 64
"""Samples of text that predictions are shown after are cut from windows of this length."""


@dataclass(frozen=True, kw_only=True)
class Request(Asked):
    """A model, a text and a size, and everything that is asked of them."""

    def ablation_kinds(self) -> dict[str, AblationSweep]:
        """Every head alone, under every kind of ablation."""
        names = all_heads(self.card) or tuple(
            str(Head(layer, head))
            for layer in range(self.card.n_layers)
            for head in range(self.card.n_heads)
        )
        return {
            kind: self._sweep("single", tuple((name,) for name in names), None, kind)
            for kind in KINDS
        }

    def ablated_sets(self, singles: Evidence) -> dict[str, AblationSweep]:
        """The heads that matter most alone, zeroed together, and random sets beside them.

        Args:
            singles: Every head alone under `zero`; the ranking is by its even sequences.

        Returns:
            Sweeps by family; `layer_matched` has only the sizes that the layers have room for.
        """
        card = self.card
        every = [Head(*head) for head in np.ndindex(card.n_layers, card.n_heads)]
        ranked = [Head(*head) for head in parse_heads(ranking(singles), card)]
        sizes = [size for size in self.sizes.set_sizes if size <= len(every) // 3]
        sets: dict[str, list[HeadSet]] = {"top": [], "random": [], "layer_matched": []}
        for size in sizes:
            top = tuple(ranked[:size])
            n, seed = self.sizes.n_draws, self.seed
            sets["top"].append(top)
            sets["random"] += random_sets(every, top, size, n, seed)
            try:
                sets["layer_matched"] += layer_matched_sets(every, top, n, seed)
            except UserError:
                continue
        return {
            family: self._sweep(
                family,
                tuple(tuple(map(str, heads)) for heads in found),
                None if family == "top" else 0,
                "zero",
            )
            for family, found in sets.items()
            if found
        }

    def _sweep(
        self, family: str, sets: tuple[tuple[str, ...], ...], first_draw: int | None, kind: str
    ) -> AblationSweep:
        method, pooling, positions = KINDS[kind]
        return AblationSweep(
            **self._ablated(),
            method=method.value,
            pooling=pooling.value,
            positions=positions,
            family=family,
            sets=sets,
            first_draw=first_draw,
        )

    def _ablated(self, n_sequences: int | None = None) -> dict[str, Any]:
        """The text that effects are measured on."""
        return {
            "model": self.model,
            "text": self.text,
            "bos": self.bos and bool(self.vocabulary.bos),
            "n_sequences": n_sequences or self.sizes.n_ablated,
            "n_tokens": min(self.sizes.ablated_tokens, self.card.n_ctx),
            "seed": self.seed,
            "device": self.device,
            "dtype": self.dtype,
        }

    def ablation_identities(self) -> AblationIdentities:
        """Which ways to switch a head off are the same."""
        return AblationIdentities(**self._ablated(self.sizes.n_identity))

    def direct_effects(self) -> DirectEffects:
        """Every head's own part of a logit."""
        return DirectEffects(**self._ablated())

    def gradient_estimates(self) -> GradientEstimates:
        """What one gradient says of every head."""
        return GradientEstimates(**self._ablated(), method="zero")

    def kind_claims(self, evidence: KindEvidence) -> KindClaims:
        """What ablations show whichever way they are done."""
        return KindClaims(card=self.card, seed=self.seed, evidence=evidence)

    def composition(self) -> Composition:
        """Whose output heads read, by the weights alone."""
        return Composition(model=self.model, seed=self.seed, device=self.device, dtype=self.dtype)

    def circuit_necessity(self, text: Evidence, induction: Evidence) -> CircuitNecessity:
        """What is lost without the heads of an induction circuit."""
        return CircuitNecessity(
            **self._circuit(circuit_heads(text, induction)), n_draws=self.sizes.n_draws
        )

    def path_patching(self, text: Evidence, induction: Evidence) -> PathPatching:
        """Into which input of an induction head an earlier head's contribution matters."""
        return PathPatching(**self._circuit(circuit_heads(text, induction)))

    def second_copy(self) -> SecondCopy:
        """Where heads look from the second copy, and which token they raise."""
        return SecondCopy(**self._blocks())

    def circuit_claims(self, evidence: Mapping[str, Evidence]) -> CircuitClaims:
        """What holds of the induction circuit.

        Args:
            evidence: `text`, `induction`, `composition`, `necessity`, `paths`, `second_copy`.
        """
        known: dict[str, Any] = dict(evidence)
        return CircuitClaims(card=self.card, seed=self.seed, **known)

    def _circuit(self, heads: CircuitHeads) -> dict[str, Any]:
        copiers = tuple(map(str, heads.copiers))
        return {**self._blocks(), "previous": str(heads.previous), "copiers": copiers}

    def _blocks(self) -> dict[str, Any]:
        """The random blocks that the circuit is tested on."""
        return {
            "model": self.model,
            "n_sequences": self.sizes.n_blocks,
            "block_len": self.sizes.block_len,
            "seed": self.seed,
            "device": self.device,
            "dtype": self.dtype,
        }

    def value_redundancy(self, head: Head, method: str) -> ValueRedundancy:
        """Whether a value a few tokens back is all that a head carried."""
        return ValueRedundancy(
            **self._at_positions(), head=str(head), method=method, max_lag=self.sizes.max_lag
        )

    def query_offsets(self, head: Head) -> QueryOffsets:
        """Where heads look from a position with a head ablated there."""
        offset = min(MAX_QUERY_OFFSET, self._at_positions()["n_tokens"] - 1)
        return QueryOffsets(**self._at_positions(), head=str(head), max_offset=offset)

    def others_of_layer(self, head: Head) -> tuple[Head, ...]:
        """Other heads of a head's layer; a random draw where there are many."""
        others = [Head(head.layer, i) for i in range(self.card.n_heads) if i != head.head]
        rng = np.random.default_rng(self.seed)
        chosen = rng.permutation(len(others))[: self.sizes.n_others]
        return tuple(others[i] for i in sorted(chosen))

    def redundancy_claims(self, evidence: RedundancyEvidence) -> RedundancyClaims:
        """What holds of previous-token redundancy."""
        return RedundancyClaims(card=self.card, seed=self.seed, evidence=evidence)

    def _at_positions(self) -> dict[str, Any]:
        """Text with a random position in every sequence."""
        n_tokens = min(MAX_TOKENS, self.card.n_ctx)
        return {**self._ablated(self.sizes.n_positions), "n_tokens": n_tokens}

    def prediction_tables(self, head: str) -> PredictionTables:
        """What is predicted after prompts, and without a head or the values before t."""
        asked = self._ablated()
        n_samples, n_tokens = asked.pop("n_sequences"), min(MAX_CONTEXT, asked.pop("n_tokens"))
        return PredictionTables(**asked, n_samples=n_samples, n_tokens=n_tokens, head=head)

    def prompt_probe(
        self, text: str, head: str, method: Method, t: int, positions: tuple[int, ...] | None
    ) -> PromptProbe:
        """What one intervention changes in a typed prompt."""
        asked = self._ablated()
        del asked["text"], asked["n_sequences"], asked["n_tokens"]
        return PromptProbe(
            **asked,
            text=text,
            position=t,
            head=head,
            method=method.value,
            positions=positions,
            pooling=Pooling.PER_POSITION.value,
            n_reference=self.sizes.n_ablated,
        )

    def bos_sink(self) -> BosSink:
        """What happens at position 0, and what for."""
        n_tokens = min(self.sizes.ablated_tokens, self.card.n_ctx - 1)
        return BosSink(
            model=self.model,
            text=self.text,
            bos=self.bos and bool(self.vocabulary.bos),
            n_sequences=self.sizes.n_blocks,
            n_tokens=n_tokens,
            moved_to=n_tokens // 4,
            n_top=max(1, min(N_SINKS, self.card.n_layers * self.card.n_heads // 2)),
            n_draws=self.sizes.n_places,
            block_len=self.sizes.block_len,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
        )

    def sink_claims(self, sink: Evidence) -> SinkClaims:
        """What holds of the sink."""
        return SinkClaims(card=self.card, seed=self.seed, sink=sink)

    def head_claims(self, text: Evidence, induction: Evidence) -> HeadClaims:
        """What holds of single heads."""
        return HeadClaims(card=self.card, seed=self.seed, text=text, induction=induction)
