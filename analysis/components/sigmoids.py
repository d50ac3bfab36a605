"""Leaky hard sigmoids: from what a causal-importance function computes to numbers in [0, 1]."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

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
