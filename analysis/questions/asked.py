"""What a reader asks for: a model, a text and a size, and what its heads look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from analysis.errors import UserError
from analysis.memory import check_fits
from analysis.models.card import ModelCard, read_card
from analysis.studies.atlas.induction_scores import InductionScores
from analysis.studies.atlas.s_inhibition_scores import SInhibitionScores
from analysis.studies.atlas.successor_scores import SuccessorScores
from analysis.studies.atlas.text_scores import TextScores
from analysis.text.tokens import Vocabulary

from .heads import all_heads, parse_heads
from .profile import SIZES, Profile, Sizes

A = TypeVar("A", bound="Asked")
N_OFFSETS = 128
N_PICTURED = 32
MAX_SHIFT = 8
BYTES_PER_TOKEN = 3_000
"""Of memory while text is read: 16 bytes of it for a token, and what a tokenizer says of each."""
BYTES_PER_HEAD = 4 * 8 * N_OFFSETS
"""Of memory for a sequence's rows of one head."""


@dataclass(frozen=True, kw_only=True)
class Asked:
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
    dtype: str = "float32"
    """A value of `Precision`."""

    @classmethod
    def of(cls: type[A], model: str, options: Mapping[str, Any]) -> A:
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
            UserError: Sequences would be longer than the model's context, or empty, or more than
                memory holds.
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
        n_tokens = self.n_tokens or min(sizes.n_tokens, n_ctx)
        n_heads = self.card.n_layers * self.card.n_heads
        each = n_tokens * BYTES_PER_TOKEN + n_heads * BYTES_PER_HEAD
        if self.n_sequences is not None:
            check_fits("--sequences", self.n_sequences, each)
        return replace(
            sizes,
            n_sequences=self.n_sequences or sizes.n_sequences,
            n_tokens=n_tokens,
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
            dtype=self.dtype,
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
            dtype=self.dtype,
        )

    def successor_scores(self) -> SuccessorScores:
        """Attention along ordered lists."""
        return SuccessorScores(
            model=self.model,
            n_sequences=self.sizes.n_lists,
            n_items=self.sizes.n_items,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
        )

    def s_inhibition_scores(self) -> SInhibitionScores:
        """Attention to the repeated name in gift sentences."""
        return SInhibitionScores(
            model=self.model,
            n_sequences=self.sizes.n_gifts,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
        )
