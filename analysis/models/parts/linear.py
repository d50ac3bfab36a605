"""Matrix products in float32 through oneDNN, which is faster than MKL, and by far on some CPUs.

The operator is the one that torch's own compiler emits. It has no gradient, so it is used where
none is asked for; its sums are in another order, so results differ in the last bits.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_product: Callable[..., Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
"""None where torch is built without oneDNN."""
MIN_WEIGHTS = 2**15
"""Smaller products cost more to hand over than they gain."""


def linear(
    x: Float[Tensor, "*batch d_in"],
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None,
) -> Float[Tensor, "*batch d_out"]:
    """`x weight^T + bias`, as `torch.nn.functional.linear`.

    Args:
        x: Inputs.
        weight: One row an output.
        bias: Added to each output.

    Returns:
        The outputs, to float32 precision.
    """
    plain = x.dtype is weight.dtype is torch.float32 and x.device.type == "cpu"
    if (
        not plain
        or torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or weight.numel() < MIN_WEIGHTS
        or x.numel() == 0
        or _product is None
    ):
        return F.linear(x, weight, bias)
    return _product(x, weight, bias, "none", [], "")


class Linear(nn.Linear):
    """A linear layer whose products take the faster way where there is no gradient."""

    def forward(self, input: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """The layer's outputs."""
        return linear(input.to(self.weight.dtype), self.weight, self.bias)


def with_products(net: nn.Module, kind: type[nn.Linear]) -> None:
    """Put one kind of linear layer in the place of every other, with the same parameters.

    Args:
        net: The model; its own modules are replaced.
        kind: `Linear`, or torch's own.
    """
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Linear) and {type(module), kind} == {Linear, nn.Linear}:
            other = kind(1, 1, device="meta")
            other.in_features, other.out_features = module.in_features, module.out_features
            other.weight, other.bias = module.weight, module.bias
            net.set_submodule(name, other.train(module.training))
