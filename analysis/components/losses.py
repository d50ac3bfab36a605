"""What a decomposition is trained on: masks, their sources, and the losses under them.

Source of all formulas:
    Bushnaq et al. 2025, "Stochastic Parameter Decomposition".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .decomposed import Decomposition, Mask, weight

Importances = Mapping[str, Float[Tensor, "batch pos component"]]
"""Causal importance in [0, 1] of every component of every layer."""

EPS = 1e-12


def divergence(
    target: Float[Tensor, "batch pos d_vocab"], logits: Float[Tensor, "batch pos d_vocab"]
) -> Float[Tensor, ""]:
    """KL(target || other), in nats, averaged over positions.

    Args:
        target: Logits of the target model.
        logits: Of the model that is compared with it.

    Returns:
        At least 0.
    """
    log_p, log_q = target.float().log_softmax(-1), logits.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def faithfulness(decomposition: Decomposition) -> Float[Tensor, ""]:
    """Squared remainders of all layers, per parameter of these layers."""
    total, n_params = torch.zeros((), device=decomposition.model.device), 0
    for name, parts in decomposition.components.items():
        total = total + (weight(decomposition.model, name) - parts.reconstruction()).square().sum()
        n_params += parts.V.shape[0] * parts.U.shape[1]
    return total / n_params


def minimality(raw: Importances, p: float, beta: float) -> Float[Tensor, ""]:
    """How much importance there is: small where few components matter to each token.

    Args:
        raw: Importances before the sigmoid.
        p: Exponent; small ones count components, whatever their importance.
        beta: Weight of the description length: rare components cost less than common ones.

    Returns:
        Sum over components of `s + beta s log2(1 + sum over positions)`, where s is the mean
        over positions of `(upper_leaky(raw) + eps)^p`.
    """
    total = torch.zeros((), device=next(iter(raw.values())).device)
    for values in raw.values():
        powers = (upper_leaky(values) + EPS).pow(p).flatten(0, 1)
        s = powers.mean(0)
        total = total + (s + beta * s * torch.log2(1 + powers.sum(0))).sum()
    return total


def lower(raw: Importances) -> dict[str, Tensor]:
    """Importances as masks use them, by layer."""
    return {name: lower_leaky(values) for name, values in raw.items()}


def between(
    importance: Float[Tensor, "batch pos component"],
    source: Float[Tensor, "*tokens component"],
    delta: Float[Tensor, "*some_tokens"],
    routed: Bool[Tensor, "batch pos"] | None = None,
) -> Mask:
    """The mask `g + (1 - g) r`: what matters stays, the rest may be anything.

    Args:
        importance: g, in [0, 1].
        source: r, in [0, 1].
        delta: Of the remainder, whose importance is 0: its mask is its source.
        routed: Where the mask applies.

    Returns:
        The mask.
    """
    mask = importance + (1 - importance) * source
    return Mask(components=mask, delta=delta, routed=routed)


def drawn_masks(
    importances: Importances,
    generator: torch.Generator,
    routed: Mapping[str, Bool[Tensor, "batch pos"]] | None = None,
) -> dict[str, Mask]:
    """Stochastic masks: every source is uniform on [0, 1], for every token anew.

    Args:
        importances: By layer.
        generator: What to draw with, on the CPU.
        routed: Where masks apply, by layer; everywhere by default.

    Returns:
        Masks by layer, drawn in the order of their names.
    """
    masks: dict[str, Mask] = {}
    for name in sorted(importances):
        g = importances[name]
        source = torch.rand(g.shape, generator=generator).to(g.device)
        delta = torch.rand(g.shape[:2], generator=generator).to(g.device)
        route = None if routed is None else routed[name].to(g.device)
        masks[name] = between(g, source, delta, route)
    return masks


def random_routes(
    names: Sequence[str], shape: tuple[int, int], generator: torch.Generator
) -> dict[str, Bool[Tensor, "batch pos"]]:
    """For every token a random subset of layers, of a size uniform in 1..n.

    Args:
        names: Of the layers.
        shape: Batch and positions.
        generator: What to draw with.

    Returns:
        By layer, where its mask applies.
    """
    k = torch.randint(1, len(names) + 1, shape, generator=generator)
    rank = torch.rand(len(names), *shape, generator=generator).argsort(0).argsort(0)
    return dict(zip(names, rank < k, strict=True))


LEAK = 0.01


class _LowerLeaky(torch.autograd.Function):
    """Clamped to [0, 1]; below 0 a small slope remains in the direction that raises it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        raised = torch.where(gradient < 0, LEAK * gradient, torch.zeros_like(gradient))
        return torch.where(x <= 0, raised, torch.where(x <= 1, gradient, 0.0))


def lower_leaky(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Causal importance as masks use it.

    Args:
        x: Any numbers.

    Returns:
        `x` clamped to [0, 1]. Its gradient below 0 is .01 of the incoming one where that would
        raise x, else 0, so that an unused component can come back but is not pushed further.
    """
    result: Tensor = _LowerLeaky.apply(x)  # pyright: ignore[reportAssignmentType]
    return result


def upper_leaky(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Causal importance as its minimality is measured.

    Args:
        x: Any numbers.

    Returns:
        0 below 0, x up to 1, and from there on a slope of .01, so that there is always a pull back.
    """
    return torch.where(x > 1, 1 + LEAK * (x - 1), x.clamp(0, 1))
