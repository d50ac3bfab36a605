"""Masks that are chosen to do harm: sources by projected sign ascent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .decomposed import Decomposition, Mask, Masks, logits
from .losses import Importances, between


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

    def copies(self, n: int) -> "Sources":
        """The same sources for every token of n times as many rows."""
        return Sources(
            {name: t.repeat(n, 1, 1) for name, t in self.components.items()},
            {name: t.repeat(n, 1) for name, t in self.deltas.items()},
        )

    def part(self, i: int, n: int) -> "Sources":
        """Those of the i-th of n equal blocks of rows; all of the only one."""
        if n == 1:
            return self
        return Sources(
            {name: t.chunk(n)[i] for name, t in self.components.items()},
            {name: t.chunk(n)[i] for name, t in self.deltas.items()},
        )

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
    (found,) = worst_of_each(decomposition, tokens, start, masking, ascent, 1)
    return found


def worst_of_each(
    decomposition: Decomposition,
    tokens: Int[Tensor, "batch pos"],
    start: Sources,
    masking: Masking,
    ascent: Ascent,
    n: int,
) -> list[tuple[Sources, list[float]]]:
    """What `worst` finds in each of n searches, whose rows stand one search after the other.

    A search is not changed by those beside it: only signs of gradients count.
    """
    with torch.no_grad():
        log_p = logits(decomposition, tokens, {}).float().log_softmax(-1)
        p = log_p.exp()
    sources, best, losses = start.leaves(), [start] * n, list[list[float]]()
    for left in range(ascent.n_steps, -1, -1):
        with torch.set_grad_enabled(left > 0):
            log_q = logits(decomposition, tokens, masking(sources)).float().log_softmax(-1)
            found = (p * (log_p - log_q)).sum(-1).reshape(n, -1).mean(1)
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
        (each.detached().part(i, n), list(trajectory))
        for i, (each, trajectory) in enumerate(zip(best, zip(*losses, strict=True), strict=True))
    ]
