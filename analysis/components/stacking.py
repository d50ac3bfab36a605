"""Several masks side by side, each in rows of a batch of its own."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from analysis.batches import rows_at_once

from .decomposed import Cut, Mask, Masks

TOKENS_AT_ONCE = 1_024
"""Draws are stacked up to so many tokens: then products, not calls, take the time."""


def stacks(
    draws: Sequence[Masks], tokens: Int[Tensor, "row pos"]
) -> Iterator[tuple[Masks, Int[Tensor, "stacked_row pos"]]]:
    """Draws of masks as rows of a few batches.

    Args:
        draws: Of one condition: they name the same layers, and cut the same components; several
            have a mask for every token.
        tokens: What each draw is applied to.

    Yields:
        Masks, and the tokens once for each of their draws; a pass holds at most `TOKENS_AT_ONCE`
        tokens, or those of one draw.
    """
    step = rows_at_once(TOKENS_AT_ONCE, tokens.numel())
    for begin in range(0, len(draws), step):
        some = draws[begin : begin + step]
        yield stacked(some), tokens.repeat(len(some), 1)


def stacked(draws: Sequence[Masks]) -> Masks:
    """Draws of masks one after the other, as `stacks` takes them; a single one as it is."""
    if len(draws) == 1:
        return draws[0]
    return {name: _joined([draw[name] for draw in draws]) for name in draws[0]}


def _joined(masks: Sequence[Mask]) -> Mask:
    routes = [mask.routed for mask in masks if mask.routed is not None]
    return Mask(
        components=torch.cat([mask.components for mask in masks]),
        delta=torch.cat([mask.delta for mask in masks]),
        routed=torch.cat(routes) if routes else None,
        cuts=tuple(
            replace(same[0], tokens=torch.cat([cut.tokens for cut in same]))
            for same in zip(*(mask.cuts for mask in masks), strict=True)
        ),
    )


def padded(tensors: Sequence[Tensor], value: float) -> Tensor:
    """Rows of several tensors (row, pos, ...), one after the other; short ones are filled up."""
    longest = max(tensor.shape[1] for tensor in tensors)
    filled = [
        F.pad(each, (*[0, 0] * (each.ndim - 2), 0, longest - each.shape[1]), value=value)
        for each in tensors
    ]
    return torch.cat(filled)


def stacked_cuts(
    every: Sequence[Mapping[str, tuple[Cut, ...]]], shapes: Sequence[tuple[int, int]]
) -> dict[str, tuple[Cut, ...]]:
    """Cuts of several conditions, each in rows of its own, as `padded` puts them.

    Args:
        every: Cuts by layer, of each condition.
        shapes: Rows and positions of each condition.

    Returns:
        One cut for all conditions that cut a component from the same rows of its layer.
    """
    found: dict[str, dict[Hashable, tuple[Cut, list[Tensor]]]] = {}
    for i, removed in enumerate(every):
        for name, cuts in removed.items():
            for place, cut in enumerate(cuts):
                rows = None if cut.rows is None else tuple(cut.rows.tolist())
                nowhere = [cut.tokens.new_zeros(shape) for shape in shapes]
                same = found.setdefault(name, {})
                same.setdefault((place, cut.component, rows), (cut, nowhere))[1][i] = cut.tokens
    return {
        name: tuple(replace(cut, tokens=padded(tokens, 0.0)) for cut, tokens in same.values())
        for name, same in found.items()
    }


def continued(masks: Masks, begin: int, n_copies: int) -> dict[str, Mask]:
    """Masks of whole sequences for several copies of all rows, which begin at a later position."""

    def later(tensor: Tensor, *copies: int) -> Tensor:
        """All but the first positions, if it says something of every token."""
        one_for_all = tensor.ndim < len(copies)
        return tensor if one_for_all else tensor[:, begin:].repeat(*copies)

    return {
        name: replace(
            mask,
            components=later(mask.components, n_copies, 1, 1),
            delta=later(mask.delta, n_copies, 1),
            routed=None if mask.routed is None else later(mask.routed, n_copies, 1),
            cuts=tuple(replace(cut, tokens=later(cut.tokens, n_copies, 1)) for cut in mask.cuts),
        )
        for name, mask in masks.items()
    }
