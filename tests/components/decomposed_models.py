"""Random decompositions of small random models."""

from copy import deepcopy

import torch

from analysis.components.decomposed import Components, Decomposition
from analysis.components.fitting.training import LAYERS, decomposed_layers
from analysis.components.importance import MLP, Affine, Layerwise
from analysis.models.load import Model, instrument, load_model

__all__ = ["decomposed", "importance_of", "load_model"]

N = 12
"""Components of every layer."""


def decomposed(folder, layers: str = LAYERS, seed: int = 0) -> Decomposition:
    """Components that reconstruct their layers badly, so that remainders matter."""
    model = load_model(str(folder))
    generator = torch.Generator().manual_seed(seed)
    components = {}
    for name in decomposed_layers(model, layers):
        d_out, d_in = model.net.get_submodule(name).weight.shape
        components[name] = Components(
            V=torch.randn(d_in, N, generator=generator) * d_in**-0.5,
            U=torch.randn(N, d_out, generator=generator) * 0.3,
        )
    return Decomposition.of(model, components)


def importance_of(decomposition: Decomposition, kind: str, hidden: int = 5) -> Layerwise:
    """A random layerwise causal-importance function."""
    torch.manual_seed(3)
    functions = {}
    for name, parts in decomposition.components.items():
        d_in = parts.V.shape[0]
        if kind == "shared_mlp":
            functions[name] = MLP.drawn([d_in, hidden, parts.n])
            continue
        width = 1 if kind == "mlp" else d_in
        first = Affine(torch.randn(parts.n, width, hidden), torch.randn(parts.n, hidden))
        last = Affine(torch.randn(parts.n, hidden, 1), torch.randn(parts.n, 1))
        functions[name] = MLP([first, last])
    return Layerwise(functions)


def in_float64(model: Model) -> Model:
    """A copy of the model in double precision."""
    return instrument(deepcopy(model.net).double(), model.card)
