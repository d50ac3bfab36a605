"""Our own engine with other arithmetic: compiled, and in bfloat16 with a float32 head."""

from collections.abc import Callable
from copy import deepcopy

import numpy as np
from jaxtyping import Float
from torch import nn

from analysis.models.load import Model
from analysis.precision import narrow

Compiler = Callable[[nn.Module], None]
"""Compiles a module in place."""


def in_bfloat16(model: Model) -> Model:
    """A copy whose blocks compute in bfloat16, and whose final norm and unembedding in float32.

    Args:
        model: A model in float32, which stays as it is.

    Returns:
        The copy, which shares the weights of the norm and the unembedding.
    """
    copied = deepcopy(model, {id(weight): weight for weight in model.net.parameters()})
    narrow(copied.net, copied.final_norm, copied.unembedding)
    return copied


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
