"""Heads by name: `L1H4` is head 4 of layer 1, both from 0."""

import re
from collections.abc import Sequence

from analysis.errors import UserError
from analysis.models.card import ModelCard

MAX_PICTURED = 64
"""Models with more heads keep pictures of the heads that are asked for only."""


def parse_heads(names: Sequence[str], card: ModelCard) -> tuple[tuple[int, int], ...]:
    """Layers and heads of names such as `L1H4`.

    Args:
        names: Head names.
        card: The model that has them.

    Returns:
        Pairs of layer and head, in the order given.

    Raises:
        UserError: A name is not of that form, or the model has no such head.
    """
    found: list[tuple[int, int]] = []
    for name in names:
        match = re.fullmatch(r"L(\d+)H(\d+)", name.strip())
        layer, head = map(int, match.groups()) if match else (-1, -1)
        if not (0 <= layer < card.n_layers and 0 <= head < card.n_heads):
            raise UserError(
                f"expected heads from L0H0 to L{card.n_layers - 1}H{card.n_heads - 1} of "
                f"{card.name}, got {name!r}; write them as L1H4,L2H0"
            )
        found.append((layer, head))
    return tuple(found)


def all_heads(card: ModelCard) -> tuple[str, ...]:
    """Names of all heads of a model that is small enough to picture them all, else of none."""
    if card.n_layers * card.n_heads > MAX_PICTURED:
        return ()
    return tuple(f"L{i}H{j}" for i in range(card.n_layers) for j in range(card.n_heads))
