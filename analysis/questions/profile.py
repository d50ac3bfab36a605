"""How large every experiment is: three sizes, in one store."""

from dataclasses import dataclass
from enum import Enum


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
    n_identity: int
    """Sequences on which interventions are compared exactly."""
    n_places: int
    """Random positions, and layer-matched sets, beside each set of heads with sinks."""
    max_lag: int
    """How far back values are ablated from the position of a previous-token head."""
    n_others: int
    """Other heads of its layer that are compared, at most."""
    n_matched: int
    """Random pairs of components beside a chosen one."""
    n_matched_sets: int
    """Random sets of components beside each set of those that an induction circuit needs."""
    n_masks: int
    """Draws of masks in the stochastic modes."""


SIZES = {
    Profile.TINY: Sizes(
        n_sequences=4,
        n_tokens=32,
        n_repeats=4,
        block_len=12,
        n_lists=2,
        n_items=4,
        n_gifts=4,
        n_ablated=4,
        ablated_tokens=24,
        n_blocks=4,
        n_draws=3,
        set_sizes=(1, 4),
        n_positions=6,
        n_identity=2,
        n_places=2,
        max_lag=2,
        n_others=1,
        n_matched=2,
        n_matched_sets=2,
        n_masks=2,
    ),
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
        n_identity=8,
        n_places=4,
        max_lag=8,
        n_others=7,
        n_matched=8,
        n_matched_sets=40,
        n_masks=8,
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
        n_identity=8,
        n_places=4,
        max_lag=8,
        n_others=7,
        n_matched=8,
        n_matched_sets=40,
        n_masks=8,
    ),
}
