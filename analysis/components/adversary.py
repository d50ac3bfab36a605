"""Masks that are chosen to do harm: sources by projected sign ascent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .decomposed import Decomposition, Mask, Masks, logits
from .losses import Importances, between
from .stacking import padded


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
