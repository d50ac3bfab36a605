"""What a reader asks for: a model, a text and a size, and the experiments that answer it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
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
from analysis.models.card import ModelCard, read_card
from analysis.text.tokens import Vocabulary

from .ablation_identities import AblationIdentities
from .ablation_sweep import AblationSweep
from .experiment import Experiment
from .head_estimates import DirectEffects, GradientEstimates
from .heads import all_heads, parse_heads
from .induction_scores import InductionScores
from .judgement import Evidence
from .kind_claims import KindClaims, KindEvidence, ranking
from .profiles import SIZES, Profile, Sizes
from .s_inhibition_scores import SInhibitionScores
from .successor_scores import SuccessorScores
from .text_scores import TextScores

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
N_IDENTITY = 8
"""Sequences on which interventions are compared exactly."""
N_OFFSETS = 128
N_PICTURED = 32
MAX_SHIFT = 8


@dataclass(frozen=True, kw_only=True)
class Request:
    """A model, a text and a size."""

    model: str
    text: str = "reference"
    profile: Profile = Profile.QUICK
    bos: bool = True
    """Start sequences with the tokenizer's BOS; a model without one is scored without it."""
    n_sequences: int | None = None
    """Sequences of text; the profile's number by default."""
    n_tokens: int | None = None
    """Length of sequences; the profile's, or the model's context if that is shorter."""
    heads: tuple[str, ...] | None = None
    """Heads whose patterns are kept; all by default in a model of at most 64 heads."""
    seed: int = 0
    device: str = "cpu"

    @classmethod
    def of(cls, model: str, options: Mapping[str, Any]) -> Request:
        """A request from a notebook's command line.

        Args:
            model: What `load_model` takes.
            options: `text` and `profile`, where they are given.

        Returns:
            The request, with defaults for the rest.
        """
        profile = Profile(options.get("profile") or Profile.QUICK)
        return cls(model=model, text=str(options.get("text") or "reference"), profile=profile)

    @cached_property
    def card(self) -> ModelCard:
        """Which model that is."""
        return read_card(self.model)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The model's tokenizer."""
        return Vocabulary(self.card.folder, self.card.vocab)

    @cached_property
    def sizes(self) -> Sizes:
        """The profile's sizes, with what was asked for otherwise.

        Raises:
            UserError: Sequences would be longer than the model's context, or empty.
        """
        sizes = SIZES[self.profile]
        n_ctx = self.card.n_ctx
        if self.n_tokens is not None and not 3 <= self.n_tokens <= n_ctx:
            raise UserError(
                f"expected --tokens from 3 to {n_ctx}, the context of {self.card.name}, "
                f"got {self.n_tokens}; choose a length in that range"
            )
        if self.n_sequences is not None and self.n_sequences < 2:
            raise UserError(
                f"expected at least 2 sequences for an interval, got {self.n_sequences}; "
                "raise --sequences"
            )
        return replace(
            sizes,
            n_sequences=self.n_sequences or sizes.n_sequences,
            n_tokens=self.n_tokens or min(sizes.n_tokens, n_ctx),
            block_len=min(sizes.block_len, (n_ctx - 1) // 2),
        )

    def text_scores(self) -> TextScores:
        """What heads look at in text and on random tokens."""
        sizes = self.sizes
        pictured = all_heads(self.card) if self.heads is None else self.heads
        parse_heads(pictured, self.card)
        return TextScores(
            model=self.model,
            text=self.text,
            bos=self.bos and bool(self.vocabulary.bos),
            n_sequences=sizes.n_sequences,
            n_tokens=sizes.n_tokens,
            n_offsets=min(N_OFFSETS, sizes.n_tokens - 1),
            n_pictured=min(N_PICTURED, sizes.n_tokens - 1),
            pictured=pictured,
            seed=self.seed,
            device=self.device,
        )

    def induction_scores(self) -> InductionScores:
        """Induction and copying on a random block shown twice."""
        return InductionScores(
            model=self.model,
            n_sequences=self.sizes.n_repeats,
            block_len=self.sizes.block_len,
            max_shift=min(MAX_SHIFT, self.sizes.block_len - 2),
            seed=self.seed,
            device=self.device,
        )

    def successor_scores(self) -> SuccessorScores:
        """Attention along ordered lists."""
        return SuccessorScores(
            model=self.model,
            n_sequences=self.sizes.n_lists,
            n_items=self.sizes.n_items,
            seed=self.seed,
            device=self.device,
        )

    def s_inhibition_scores(self) -> SInhibitionScores:
        """Attention to the repeated name in gift sentences."""
        return SInhibitionScores(
            model=self.model,
            n_sequences=self.sizes.n_gifts,
            seed=self.seed,
            device=self.device,
        )

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
        }

    def ablation_identities(self) -> AblationIdentities:
        """Which ways to switch a head off are the same."""
        return AblationIdentities(**self._ablated(N_IDENTITY))

    def direct_effects(self) -> DirectEffects:
        """Every head's own part of a logit."""
        return DirectEffects(**self._ablated())

    def gradient_estimates(self) -> GradientEstimates:
        """What one gradient says of every head."""
        return GradientEstimates(**self._ablated(), method="zero")

    def kind_claims(self, evidence: KindEvidence) -> KindClaims:
        """What ablations show whichever way they are done."""
        return KindClaims(model=self.model, seed=self.seed, evidence=evidence)

    def experiments(self) -> tuple[Experiment, ...]:
        """Everything that the book asks, in the order that it is computed."""
        return (
            self.text_scores(),
            self.induction_scores(),
            self.successor_scores(),
            self.s_inhibition_scores(),
        )
