"""Masks that are chosen to do harm: sources by projected sign ascent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.batches import rows_at_once

from .decomposed import Cut, Decomposition, Mask, Masks, logits, with_cuts
from .losses import Importances, between
from .stacking import TOKENS_AT_ONCE, padded, stacked_cuts


@dataclass(frozen=True)
class Sources:
    """What stands where importance leaves room: one r in [0, 1] a component."""

    components: dict[str, Float[Tensor, "*batch_pos component"]]
    deltas: dict[str, Float[Tensor, "*batch_pos"]]

    @classmethod
    def drawn(
        cls, importances: Importances, generator: torch.Generator, *, shared: bool
    ) -> "Sources":
        """Uniform sources.

        Args:
            importances: By layer; only their shapes matter.
            generator: What to draw with, on the CPU.
            shared: One source for each component, for all tokens; else one for every token.
        """
        components: dict[str, Tensor] = {}
        deltas: dict[str, Tensor] = {}
        for name in sorted(importances):
            g = importances[name]
            shape = g.shape[-1:] if shared else g.shape
            components[name] = torch.rand(shape, generator=generator).to(g.device)
            deltas[name] = torch.rand(shape[:-1], generator=generator).to(g.device)
        return cls(components, deltas)

    def masks(self, importances: Importances) -> dict[str, Mask]:
        """The masks `g + (1 - g) r`."""
        return {
            name: between(g, self.components[name], self.deltas[name])
            for name, g in importances.items()
        }

    @property
    def tensors(self) -> list[Tensor]:
        """All sources."""
        return [*self.components.values(), *self.deltas.values()]

    def leaves(self) -> "Sources":
        """The same numbers, ready to take gradients."""

        def leaf(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: t.detach().clone().requires_grad_() for name, t in found.items()}

        return Sources(leaf(self.components), leaf(self.deltas))

    def detached(self) -> "Sources":
        """The same numbers, without gradients."""
        return Sources(
            {name: t.detach() for name, t in self.components.items()},
            {name: t.detach() for name, t in self.deltas.items()},
        )

    @classmethod
    def stacked(cls, every: "Sequence[Sources]") -> "Sources":
        """Sources for every token of several searches, one after the other, filled up behind."""
        components, deltas = (
            [getattr(s, kind) for s in every] for kind in ("components", "deltas")
        )
        return cls(
            {name: padded([found[name] for found in components], 0.0) for name in components[0]},
            {name: padded([found[name] for found in deltas], 0.0) for name in deltas[0]},
        )

    def part(self, rows: slice, n_pos: int) -> "Sources":
        """Those of the first positions of some rows; all where they are for all tokens."""

        def cut(found: Mapping[str, Tensor], n_axes: int) -> dict[str, Tensor]:
            return {n: t[rows, :n_pos] if t.ndim == n_axes else t for n, t in found.items()}

        return Sources(cut(self.components, 3), cut(self.deltas, 2))

    def moved(self, gradients: list[Tensor], step: float) -> "Sources":
        """A step along the signs of the gradients, clipped to [0, 1]."""
        moved = [
            (t.detach() + step * g.sign()).clamp(0, 1)
            for t, g in zip(self.tensors, gradients, strict=True)
        ]
        names, n = list(self.components), len(self.components)
        return Sources(
            dict(zip(names, moved[:n], strict=True)), dict(zip(names, moved[n:], strict=True))
        )


@dataclass(frozen=True)
class Ascent:
    """How far an adversary goes."""

    n_steps: int
    step: float
    """Length of each step, in every coordinate."""


Masking = Callable[[Sources], Masks]
"""The masks that sources make."""


def worst(
    decomposition: Decomposition,
    tokens: Int[Tensor, "batch pos"],
    start: Sources,
    masking: Masking,
    ascent: Ascent,
) -> tuple[Sources, list[float]]:
    """Sources that make predictions as bad as sign ascent finds.

    Args:
        decomposition: The decomposed model.
        tokens: Token ids.
        start: Where to begin.
        masking: What masks the sources make, with fixed importances.
        ascent: How far to go.

    Returns:
        The sources that were worst of all on the way, the last ones included, and the divergence
        from the target, in nats, before the first step and after each.
    """
    shape = len(tokens), tokens.shape[1]
    (found,) = worst_of_each(decomposition, tokens, start, masking, ascent, [shape])
    return found


def worst_of_each(
    decomposition: Decomposition,
    tokens: Int[Tensor, "batch pos"],
    start: Sources,
    masking: Masking,
    ascent: Ascent,
    shapes: Sequence[tuple[int, int]],
) -> list[tuple[Sources, list[float]]]:
    """What `worst` finds in each of several searches, whose rows stand one after the other.

    A search is not changed by those beside it: only signs of gradients count, and what its rows
    are filled up with comes after all of its tokens.

    Args:
        decomposition: As for `worst`.
        tokens: Of all searches; shorter rows are filled up with any token.
        start: Likewise.
        masking: Likewise.
        ascent: Likewise.
        shapes: Rows of each search, and how many tokens they have.
    """
    ends = list(accumulate(n_rows for n_rows, _ in shapes))
    places = [slice(end - n_rows, end) for end, (n_rows, _) in zip(ends, shapes, strict=True)]
    lengths = [n_pos for _, n_pos in shapes]
    with torch.no_grad():
        log_p = logits(decomposition, tokens, {}).float().log_softmax(-1)
        p = log_p.exp()
    sources, best, losses = start.leaves(), [start] * len(shapes), list[list[float]]()
    for left in range(ascent.n_steps, -1, -1):
        with torch.set_grad_enabled(left > 0):
            log_q = logits(decomposition, tokens, masking(sources)).float().log_softmax(-1)
            apart = (p * (log_p - log_q)).sum(-1)
            found = torch.stack(
                [apart[at, :n].mean() for at, n in zip(places, lengths, strict=True)]
            )
        losses.append(found.tolist())
        highest = [max(each) for each in zip(*losses, strict=True)]
        best = [
            sources if new == most else kept
            for new, most, kept in zip(losses[-1], highest, best, strict=True)
        ]
        if left > 0:
            gradients = list(torch.autograd.grad(found.sum(), sources.tensors))
            sources = sources.moved(gradients, ascent.step).leaves()
    return [
        (each.detached().part(at, n), list(trajectory))
        for each, at, n, trajectory in zip(
            best, places, lengths, zip(*losses, strict=True), strict=True
        )
    ]


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
