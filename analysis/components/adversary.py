"""Masks that are chosen to do harm: sources by projected sign ascent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .decomposed import Decomposition, Mask, Masks, logits
from .losses import Importances, between, divergence


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
    with torch.no_grad():
        target = logits(decomposition, tokens, {})
    sources, best, losses = start.leaves(), start, list[float]()
    for left in range(ascent.n_steps, -1, -1):
        with torch.set_grad_enabled(left > 0):
            loss = divergence(target, logits(decomposition, tokens, masking(sources)))
        losses.append(loss.item())
        if losses[-1] == max(losses):
            best = sources
        if left > 0:
            gradients = list(torch.autograd.grad(loss, sources.tensors))
            sources = sources.moved(gradients, ascent.step).leaves()
    return best.detached(), losses
