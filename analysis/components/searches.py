"""Many searches for masks that do harm, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from analysis.batches import rows_at_once

from .adversary import Ascent, Sources, worst_of_each
from .decomposed import Cut, Decomposition, Masks, with_cuts
from .losses import Importances
from .stacking import TOKENS_AT_ONCE, padded, stacked_cuts

MOST_PADDING = 64
"""Tokens that a pass may be filled up with: about as many as its calls take the time of."""


@dataclass(frozen=True)
class Search:
    """Where masks are to do harm."""

    tokens: Int[Tensor, "batch pos"]
    importances: Importances
    removed: Mapping[str, tuple[Cut, ...]]
    """What is cut besides, by layer."""
    starts: Sequence[Sources]
    """Where to begin, each for every token; the most harmful end counts."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and positions."""
        return len(self.tokens), self.tokens.shape[1]


def worst_masks(
    decomposition: Decomposition, searches: Sequence[Search], ascent: Ascent
) -> list[tuple[Masks, list[float]]]:
    """The masks that do most harm in each of several searches, and the way there.

    Args:
        decomposition: The decomposed model.
        searches: What to search; all with equally many starts.
        ascent: How far to go.

    Returns:
        Masks, and the divergence from the target before the first step and after each, in the
        order of the searches.
    """
    found: dict[int, tuple[Masks, list[float]]] = {}
    for places in batches([search.shape for search in searches]):
        some = [searches[i] for i in places]
        found.update(zip(places, _side_by_side(decomposition, some, ascent), strict=True))
    return [found[i] for i in range(len(searches))]


def batches(shapes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Which searches are made together: neighbours in length, in the order of their lengths.

    Args:
        shapes: Rows and positions of each.

    Yields:
        Places of searches, which together have `TOKENS_AT_ONCE` tokens at most, `MOST_PADDING` of
        them filled up; or of one.
    """
    batch: list[int] = []
    for i in sorted(range(len(shapes)), key=lambda i: shapes[i][1]):
        n_rows = sum(shapes[j][0] for j in (*batch, i))
        n_tokens = sum(shapes[j][0] * shapes[j][1] for j in (*batch, i))
        fits = n_rows <= rows_at_once(TOKENS_AT_ONCE, shapes[i][1])
        if batch and not (fits and n_rows * shapes[i][1] - n_tokens <= MOST_PADDING):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _side_by_side(
    decomposition: Decomposition, searches: Sequence[Search], ascent: Ascent
) -> list[tuple[Masks, list[float]]]:
    shapes = [search.shape for search in searches]
    tokens = padded([search.tokens for search in searches], 0.0)
    removed = stacked_cuts([search.removed for search in searches], shapes)
    importances = {
        name: padded([search.importances[name] for search in searches], 1.0)
        for name in searches[0].importances
    }

    def masking(sources: Sources) -> Masks:
        return with_cuts(decomposition, sources.masks(importances), removed)

    starts = zip(*(search.starts for search in searches), strict=True)
    found = [
        worst_of_each(decomposition, tokens, Sources.stacked(each), masking, ascent, shapes)
        for each in starts
    ]
    worst: list[tuple[Masks, list[float]]] = []
    for search, tried in zip(searches, zip(*found, strict=True), strict=True):
        sources, losses = max(tried, key=lambda each: max(each[1]))
        masks = sources.masks(search.importances)
        worst.append((with_cuts(decomposition, masks, search.removed), losses))
    return worst
