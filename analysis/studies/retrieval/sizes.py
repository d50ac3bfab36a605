"""How much of retrieval one profile measures."""

from dataclasses import dataclass

from analysis.questions.asked import Profile


@dataclass(frozen=True, kw_only=True)
class RetrievalSizes:
    """How much of everything one profile measures."""

    n_tokens: int
    """Length of the prompts that heads are ranked and curves are drawn on."""
    n_detection: int
    """Training items a fact that heads are ranked on."""
    n_items: int
    """Test items a fact."""
    n_draws: int
    """Random orders of heads."""
    levels: tuple[int, ...]
    """Heads replaced together, up to a third of the model's."""
    lengths: tuple[int, ...]
    """Of the needle heat map and the grid; those that the model's context holds."""
    n_per_length: int
    """Test items a fact at each of them."""


SIZES = {
    Profile.TINY: RetrievalSizes(
        n_tokens=96,
        n_detection=3,
        n_items=3,
        n_draws=2,
        levels=(1, 4),
        lengths=(96,),
        n_per_length=2,
    ),
    Profile.QUICK: RetrievalSizes(
        n_tokens=128,
        n_detection=12,
        n_items=10,
        n_draws=50,
        levels=(1, 2, 4, 8),
        lengths=(128, 256),
        n_per_length=8,
    ),
    Profile.FULL: RetrievalSizes(
        n_tokens=128,
        n_detection=50,
        n_items=125,
        n_draws=50,
        levels=(1, 2, 3, 4, 6, 8, 11),
        lengths=(128, 256, 384, 502),
        n_per_length=50,
    ),
}
