"""Heads by name: `L1H4` is head 4 of layer 1, both from 0."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from analysis.errors import UserError
from analysis.models.files.card import ModelCard

MAX_PICTURED = 64
"""Models with more heads keep pictures of the heads that are asked for only."""

NAMED = 4
"""Heads that a sentence names, at most."""


class Head(NamedTuple):
    """A query head; layers and heads count from 0."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"

    @classmethod
    def parse(cls, name: str) -> Head:
        """The head of a name such as `L1H4`.

        Raises:
            ValueError: The name is not of that form.
        """
        match = re.fullmatch(r"L(\d+)H(\d+)", name.strip())
        if match is None:
            raise ValueError(f"expected a head such as L1H4, got {name!r}")
        return cls(*map(int, match.groups()))


def parse_heads(names: Sequence[str], card: ModelCard) -> tuple[Head, ...]:
    """Heads of a model by their names.

    Args:
        names: Head names.
        card: The model that has them.

    Returns:
        The heads, in the order given.

    Raises:
        UserError: A name is not of that form, or the model has no such head.
    """
    every, found = set(heads_of(card)), list[Head]()
    for name in names:
        with suppress(ValueError):
            head = Head.parse(name)
            if head in every:
                found.append(head)
                continue
        raise UserError(
            f"expected heads from L0H0 to L{card.n_layers - 1}H{card.n_heads - 1} of "
            f"{card.name}, got {name!r}; write them as L1H4,L2H0"
        )
    return tuple(found)


def in_words(heads: Sequence[Head]) -> str:
    """Heads by name for a sentence: of many the first few, and how many more there are."""
    more = len(heads) - NAMED
    names = ", ".join(map(str, heads[:NAMED] if more > 0 else heads))
    return f"{names} and {more} more" if more > 0 else names


def every_name(heads: Iterable[Head]) -> str:
    """All heads by name, neighbours of a layer as `L1H2-5`."""
    runs: list[list[Head]] = []
    for head in sorted(heads):
        if runs and head == (runs[-1][-1].layer, runs[-1][-1].head + 1):
            runs[-1].append(head)
        else:
            runs.append([head])
    return ", ".join(f"{r[0]}-{r[-1].head}" if len(r) > 1 else str(r[0]) for r in runs)


def heads_of(card: ModelCard) -> tuple[Head, ...]:
    """All heads of a model, layer by layer."""
    return tuple(Head(i, j) for i, n in enumerate(card.heads_by_layer) for j in range(n))


def listed(
    values: Float[np.ndarray, "*rows layer head"], card: ModelCard
) -> Float[np.ndarray, "*rows every_head"]:
    """Values of the heads of a model, in the order of `heads_of`."""
    layer, head = np.array(heads_of(card)).T
    return values[..., layer, head]


def pictured_heads(card: ModelCard) -> tuple[str, ...]:
    """Names of all heads of a model that is small enough to picture them all, else of none."""
    every = heads_of(card)
    return tuple(map(str, every)) if len(every) <= MAX_PICTURED else ()
