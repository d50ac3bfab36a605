"""Our own engine with other arithmetic: compiled, and in bfloat16 with a float32 head."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from analysis.models.load import Model

from .models import path_of

Compiler = Callable[[nn.Module], None]
"""Compiles a module in place."""


class Widened(nn.Module):
    """A norm that is computed in float32, whatever it is given."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The norm of x, in float32."""
        return self.norm(x.float())


def in_bfloat16(model: Model) -> Model:
    """A copy whose blocks compute in bfloat16, and whose final norm and unembedding in float32.

    Parameters alone are narrowed: the frequencies of RoPE are buffers, and angles in bfloat16
    would be off by whole turns.

    Args:
        model: A model in float32, which stays as it is.

    Returns:
        The copy, which shares the weights of the norm and the unembedding.
    """
    narrow = {
        id(weight): nn.Parameter(weight.detach().bfloat16(), requires_grad=False)
        for weight in model.net.parameters()
    }
    copied = deepcopy(model, narrow)
    ends = nn.ModuleList([model.final_norm, model.unembedding])
    final_norm, unembedding = deepcopy(ends, {id(p): p for p in ends.parameters()})
    final_norm = Widened(final_norm)
    copied.net.set_submodule(path_of(model, model.final_norm), final_norm)
    copied.net.set_submodule(path_of(model, model.unembedding), unembedding)
    assert isinstance(unembedding, nn.Linear)
    return replace(copied, final_norm=final_norm, unembedding=unembedding)


def compile_in_place(module: nn.Module) -> None:
    """Compile for any number of rows, since a sweep's batch grows from layer to layer."""
    module.compile(dynamic=True)


def compiled(model: Model, compiler: Compiler) -> Model:
    """A copy, sharing weights, whose norms and MLPs are compiled.

    Attention stays as it is: it is one fused kernel between plain matrix products.

    Args:
        model: The model, which stays as it is.
        compiler: What compiles one module.

    Returns:
        The copy.
    """
    copied = deepcopy(model, {id(weight): weight for weight in model.net.parameters()})
    for layer in copied.layers:
        for child in layer.children():
            if child not in copied.attentions:
                compiler(child)
    compiler(copied.final_norm)
    return copied


def relative_errors(
    found: Float[np.ndarray, " head"], exact: Float[np.ndarray, " head"]
) -> tuple[float, float]:
    """Largest and median relative error of a preview.

    Args:
        found: What the preview says.
        exact: What float32 says; heads where that is 0 are left out.

    Returns:
        Both as fractions of the exact value.
    """
    known = exact != 0
    errors = np.abs(found[known] / exact[known] - 1)
    return float(errors.max()), float(np.median(errors))
