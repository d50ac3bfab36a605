"""How large every experiment is: two sizes, in one store."""

from dataclasses import dataclass
from enum import Enum


class Profile(Enum):
    """How large every experiment is. Both sizes live in one store."""

    QUICK = "quick"
    """Minutes on two cores for the whole book; every control and interval is there."""

    FULL = "full"
    """The sizes that the methods name."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much of everything one profile measures."""

    n_sequences: int
    n_tokens: int
    n_repeats: int
    block_len: int
    n_lists: int
    n_items: int
    n_gifts: int
    n_ablated: int
    """Sequences of text that ablations are measured on."""
    ablated_tokens: int
    """Their length."""
    n_blocks: int
    """Random blocks that the circuit is tested on, and rows of text of the sink."""
    n_draws: int
    """Random sets of heads beside each chosen one."""
    set_sizes: tuple[int, ...]
    """Heads ablated together, up to a third of the model's."""
    n_positions: int
    """Sequences of text with one random position each, that redundancy is measured at."""


SIZES = {
    Profile.QUICK: Sizes(
        n_sequences=64,
        n_tokens=256,
        n_repeats=64,
        block_len=50,
        n_lists=24,
        n_items=8,
        n_gifts=100,
        n_ablated=16,
        ablated_tokens=128,
        n_blocks=32,
        n_draws=50,
        set_sizes=(1, 2, 4, 8),
        n_positions=100,
    ),
    Profile.FULL: Sizes(
        n_sequences=256,
        n_tokens=512,
        n_repeats=256,
        block_len=100,
        n_lists=100,
        n_items=10,
        n_gifts=500,
        n_ablated=32,
        ablated_tokens=256,
        n_blocks=64,
        n_draws=100,
        set_sizes=(1, 2, 3, 4, 6, 8, 10),
        n_positions=500,
    ),
}
