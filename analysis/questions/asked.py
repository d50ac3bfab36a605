"""What a reader asks for: a model, a text and a size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any, TypeVar, cast

from analysis.errors import UserError
from analysis.memory import check_fits
from analysis.models.files.card import ModelCard, read_card
from analysis.text.builtin import text_said
from analysis.text.pool import DEFAULT_POOL, Pool, token_pool
from analysis.text.tokens import Vocabulary

A = TypeVar("A", bound="Asked")
Z = TypeVar("Z")
BOS = {None: None, "yes": True, "no": False}
"""Values of `Asked.bos` as a notebook's command line names them."""
N_OFFSETS = 128
"""How far back profiles of attention go."""
BYTES_PER_TOKEN = 3_000
"""Of memory while text is read: 16 bytes of it for a token, and what a tokenizer says of each."""
BYTES_PER_HEAD = 4 * 8 * N_OFFSETS
"""Of memory for a sequence's rows of one head."""


class Profile(Enum):
    """How large every experiment is. All sizes live in one store."""

    TINY = "tiny"
    """Seconds: to see that everything can be asked; its intervals are too wide to say anything."""

    QUICK = "quick"
    """Minutes on two cores for the whole book; every control and interval is there."""

    FULL = "full"
    """The sizes that the methods name."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything one profile measures."""

    n_sequences: int
    """Rows of text."""
    n_tokens: int
    """Their length."""
    block_len: int
    """Tokens of a random block that is shown twice."""
    n_blocks: int
    """Random blocks that the circuit is tested on, and rows of text of the sink."""
    n_ablated: int
    """Sequences of text that ablations are measured on."""
    ablated_tokens: int
    """Their length."""
    n_positions: int
    """Sequences of text with one random position each, that redundancy is measured at; multiples of
    32 are spread evenly over the text."""
    n_draws: int
    """Random sets of heads beside each chosen one."""


SIZES = {
    Profile.TINY: Sizes(
        n_sequences=4,
        n_tokens=32,
        block_len=12,
        n_blocks=4,
        n_ablated=4,
        ablated_tokens=24,
        n_positions=6,
        n_draws=3,
    ),
    Profile.QUICK: Sizes(
        n_sequences=64,
        n_tokens=256,
        block_len=50,
        n_blocks=32,
        n_ablated=16,
        ablated_tokens=128,
        n_positions=224,
        n_draws=50,
    ),
    Profile.FULL: Sizes(
        n_sequences=256,
        n_tokens=512,
        block_len=100,
        n_blocks=64,
        n_ablated=32,
        ablated_tokens=256,
        n_positions=512,
        n_draws=100,
    ),
}


Own = tuple[tuple[str, Any], ...]
"""Sizes of a reader's own by name, those of a study as `sink.n_places`."""


def told_sizes(told: str) -> dict[str, Any]:
    """What a command's `--profile` comes to.

    Args:
        told: A profile's name; or JSON of one, as `profile`, and sizes of a reader's own.

    Returns:
        `profile` and `own` of `Asked`.
    """
    if not told.startswith("{"):
        return {"profile": Profile(told)}
    own = {n: tuple(v) if isinstance(v, list) else v for n, v in json.loads(told).items()}
    return {"profile": Profile(own.pop("profile")), "own": tuple(sorted(own.items()))}


def with_own(sizes: Z, own: Own, room: str = "") -> Z:
    """Sizes of which some are a reader's own.

    Args:
        sizes: A profile's; None stays.
        own: By name.
        room: Of the study that they are of; of all studies by default.
    """
    start = f"{room}." if room else ""
    found = {
        name.removeprefix(start): value
        for name, value in own
        if name.startswith(start) and ("." in name) == bool(room)
    }
    return replace(cast("Any", sizes), **found) if found else sizes


def listed(numbers: str | int | None) -> tuple[str, ...]:
    """Numbers of chapters, as `--chapters` takes them, or one alone; none for all."""
    return tuple(number.zfill(2) for number in str(numbers or "").split(",") if number)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A model, a text and a size."""

    model: str
    text: str = "reference"
    profile: Profile = Profile.QUICK
    own: Own = ()
    """Sizes that differ from the profile's."""
    bos: bool | None = None
    """Start sequences with a BOS: None for the tokenizer's, if it has one; True for the
    configuration's where it has none; False for none."""
    token_pool: str = DEFAULT_POOL
    """What random tokens are drawn from, as `token_pool` takes it."""
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
    chapters: tuple[str, ...] = ()
    """Numbers of the chapters that are asked for, such as `02`; all if no such is named. No answer
    depends on it."""

    @classmethod
    def of(cls: type[A], model: str, options: Mapping[str, Any]) -> A:
        """What a notebook's command line asks for.

        Args:
            model: What `load_model` takes.
            options: Other fields by name, where they are given; all may be text, `bos` a key of
                `BOS`, `profile` what `told_sizes` takes, heads and chapters separated by commas.

        Returns:
            Model, text and size, with defaults for the rest.
        """
        given = {name: value for name, value in options.items() if value is not None}
        bos, heads = given.get("bos"), given.get("heads")
        numbers = ("n_sequences", "n_tokens", "seed")
        texts = ("text", "token_pool", "device", "dtype")
        return cls(
            model=model,
            **told_sizes(given.get("profile") or Profile.QUICK.value),
            bos=BOS[bos] if isinstance(bos, str) else bos,
            heads=tuple(heads.split(",")) if heads else None,
            chapters=listed(given.get("chapters")),
            **{name: int(given[name]) for name in numbers if name in given},
            **{name: given[name] for name in texts if given.get(name)},
        )

    @property
    def sizes_told(self) -> str:
        """What `told_sizes` reads them from."""
        own = {"profile": self.profile.value, **dict(self.own)}
        return json.dumps(own) if self.own else self.profile.value

    @property
    def sizes_said(self) -> str:
        """The profile, and what differs from it."""
        rows = (("n_tokens", self.n_tokens), ("n_sequences", self.n_sequences))
        own = [*self.own, *((name, value) for name, value in rows if value is not None)]
        told = ", ".join(
            f"{name.replace('_', ' ').replace('.', ' ')} {value}" for name, value in own
        )
        return f"{self.profile.value}, but for {told}" if own else self.profile.value

    @cached_property
    def card(self) -> ModelCard:
        """Which model that is."""
        return read_card(self.model)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The model's tokenizer."""
        return Vocabulary(
            self.card.folder, self.card.vocab, self.bos is True, without=self.bos is False
        )

    @cached_property
    def pool(self) -> Pool:
        """The ids that random tokens are drawn from."""
        return token_pool(self.token_pool, self.text, self.vocabulary, self.seed)

    @property
    def tokens_said(self) -> str:
        """What sequences start with, what random tokens are, and the text: a page says it."""
        about = f"Random tokens are drawn from {self.pool.said}. Text is {text_said(self.text)}."
        return f"{self.vocabulary.bos_said}. {about}"

    @cached_property
    def sizes(self) -> Sizes:
        """The profile's sizes, with what was asked for otherwise.

        Raises:
            UserError: Sequences would be longer than the model's context, or empty, or more than
                memory holds.
        """
        sizes = with_own(SIZES[self.profile], self.own)
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
        n_heads = sum(self.card.heads_by_layer)
        each = n_tokens * BYTES_PER_TOKEN + n_heads * BYTES_PER_HEAD
        if self.n_sequences is not None:
            check_fits("--sequences", self.n_sequences, each)
        return replace(
            sizes,
            n_sequences=self.n_sequences or sizes.n_sequences,
            n_tokens=n_tokens,
            block_len=min(sizes.block_len, (n_ctx - 1) // 2),
        )

    def text_rows(self, n_sequences: int, n_tokens: int) -> dict[str, Any]:
        """Rows of the text, no longer than the context, as experiments on text take them."""
        return {
            "model": self.model,
            "text": self.text,
            "bos": self.with_bos,
            "n_sequences": n_sequences,
            "n_tokens": min(n_tokens, self.card.n_ctx),
            "seed": self.seed,
            "device": self.device,
            "dtype": self.dtype,
            "config_bos": self.bos is True,
            "no_bos": self.bos is False,
        }

    def ablated(self, n_sequences: int | None = None) -> dict[str, Any]:
        """Rows of the text that effects are measured on."""
        sizes = self.sizes
        return self.text_rows(n_sequences or sizes.n_ablated, sizes.ablated_tokens)

    def drawn(self, **sizes: Any) -> dict[str, Any]:
        """What experiments on generated tokens take."""
        about = {"model": self.model, "seed": self.seed, "config_bos": self.bos is True}
        start = {"no_bos": self.bos is False}
        return {**about, **start, "device": self.device, "dtype": self.dtype, **sizes}

    def random(self, **sizes: Any) -> dict[str, Any]:
        """What experiments on random tokens take."""
        return self.drawn(text=self.text, token_pool=self.token_pool, **sizes)

    @property
    def with_bos(self) -> bool:
        """Whether sequences start with a BOS: if asked, and if there is one."""
        return self.bos is not False and bool(self.vocabulary.bos)
