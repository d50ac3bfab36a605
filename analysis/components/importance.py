"""Causal-importance functions: from what layers read to how much each component matters.

Parameters carry the published names without leading underscores, so that published weights and
our own are loaded alike; sizes always follow the weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attention import rotate

from .decomposed import Components


class Affine(nn.Module):
    """`x W + b`; with W (component, in, out) one map for every component."""

    def __init__(self, W: Float[Tensor, "*component d_in d_out"], b: Tensor) -> None:
        super().__init__()
        self.W, self.b = nn.Parameter(W), nn.Parameter(b)

    @classmethod
    def drawn(cls, d_in: int, d_out: int, *, gain: float) -> "Affine":
        """Normal weights of standard deviation gain / sqrt(d_in), no bias."""
        return cls(torch.randn(d_in, d_out) * gain * d_in**-0.5, torch.zeros(d_out))

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*some d_out"]:
        """The outputs."""
        if self.W.ndim == 3:
            return torch.einsum("...ci,cio->...co", x, self.W) + self.b
        return x @ self.W + self.b


class MLP(nn.Module):
    """Affine maps with GELU between them."""

    def __init__(self, maps: list[Affine]) -> None:
        super().__init__()
        parts: list[nn.Module] = [maps[0]]
        for each in maps[1:]:
            parts += [nn.GELU(), each]
        self.layers = nn.Sequential(*parts)

    @classmethod
    def drawn(cls, sizes: list[int]) -> "MLP":
        """One of these sizes, input first, with the usual gains for rectified units."""
        last = len(sizes) - 2
        pairs = enumerate(pairwise(sizes))
        return cls([Affine.drawn(*pair, gain=1.0 if i == last else 2**0.5) for i, pair in pairs])

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*some d_out"]:
        """The outputs."""
        return self.layers(x)


class ImportanceFunction(nn.Module, ABC):
    """Computes, for every token, how much each component matters there; before the sigmoid."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Its published name."""

    @property
    def sees_future(self) -> bool:
        """Whether a token's importances depend on tokens after it."""
        return False

    @abstractmethod
    def forward(
        self, inputs: Mapping[str, Tensor], components: Mapping[str, Components]
    ) -> dict[str, Tensor]:
        """Importance before the sigmoid.

        Args:
            inputs: What each layer of the target reads (batch, pos, d_in).
            components: Of the same layers.

        Returns:
            By layer (batch, pos, component), any number.
        """


class Layerwise(ImportanceFunction):
    """One function for each layer.

    `mlp`: a small MLP for each component on its own activation; `vector_mlp`: the same on the
    whole input; `shared_mlp`: one MLP of the input for all components of the layer.
    """

    def __init__(self, functions: Mapping[str, MLP]) -> None:
        super().__init__()
        self.ci_fns = nn.ModuleDict(
            {name.replace(".", "-"): function for name, function in functions.items()}
        )

    @property
    def kind(self) -> str:
        """By the shape of the weights."""
        W = next(W for name, W in self.ci_fns.named_parameters() if name.endswith("layers.0.W"))
        if W.ndim == 2:
            return "shared_mlp"
        return "mlp" if W.shape[1] == 1 else "vector_mlp"

    def forward(
        self, inputs: Mapping[str, Tensor], components: Mapping[str, Components]
    ) -> dict[str, Tensor]:
        """See `ImportanceFunction`."""
        found: dict[str, Tensor] = {}
        for name, x in inputs.items():
            function = self.ci_fns[name.replace(".", "-")]
            if self.kind == "shared_mlp":
                found[name] = function(x)
            elif self.kind == "vector_mlp":
                found[name] = function(x[..., None, :])[..., 0]
            else:
                found[name] = function(components[name].activations(x)[..., None])[..., 0]
        return found


class GlobalMLP(ImportanceFunction):
    """`global_shared_mlp`: one MLP of all inputs, concatenated in the order of their names."""

    def __init__(self, maps: list[Affine]) -> None:
        super().__init__()
        self.global_ci_fn = MLP(maps)

    @property
    def kind(self) -> str:
        """The published name."""
        return "global_shared_mlp"

    def forward(
        self, inputs: Mapping[str, Tensor], components: Mapping[str, Components]
    ) -> dict[str, Tensor]:
        """See `ImportanceFunction`."""
        order = sorted(inputs)
        return _split(self.global_ci_fn(torch.cat([inputs[n] for n in order], -1)), components)


class Attention(nn.Module):
    """Attention in both directions with rotary positions, without biases."""

    def __init__(self, weights: Mapping[str, Tensor], n_heads: int, rope_base: float) -> None:
        super().__init__()
        self.n_heads, self.rope_base = n_heads, rope_base
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            d_out, d_in = weights[name].shape
            layer = nn.Linear(d_in, d_out, bias=False)
            layer.weight = nn.Parameter(weights[name])
            self.add_module(name, layer)

    def forward(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        """What the heads write together."""
        batch, n_pos, width = x.shape
        d_head = width // self.n_heads
        q, k, v = (
            self.get_submodule(name)(x).view(batch, n_pos, self.n_heads, d_head).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        half = torch.arange(0, d_head, 2, device=x.device)
        frequency = self.rope_base ** (-half.float() / d_head)
        angle = (torch.arange(n_pos, device=x.device)[:, None] * frequency)[None]
        q, k = rotate(q, angle, adjacent=False), rotate(k, angle, adjacent=False)
        z = F.scaled_dot_product_attention(q, k, v)
        return self.get_submodule("out_proj")(z.transpose(1, 2).reshape(batch, n_pos, width))


class Block(nn.Module):
    """Attention and MLP, each on the normed stream."""

    def __init__(self, attention: Attention, mlp: nn.Sequential) -> None:
        super().__init__()
        self.attn, self.mlp = attention, mlp

    def forward(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        """The stream after the block."""
        x = x + self.attn(F.rms_norm(x, x.shape[-1:]))
        return x + self.mlp(F.rms_norm(x, x.shape[-1:]))


class Transformer(nn.Module):
    """Maps concatenated inputs through blocks to importances."""

    def __init__(self, projector: Affine, blocks: list[Block], head: Affine) -> None:
        super().__init__()
        self.input_projector, self.output_head = projector, head
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos component"]:
        """Importances of all layers, one after the other."""
        x = self.input_projector(x)
        for block in self.blocks:
            x = block(x)
        return self.output_head(x)


class GlobalTransformer(ImportanceFunction):
    """`global_shared_transformer`: inputs, normed, through attention in both directions."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.global_ci_fn = transformer

    @property
    def kind(self) -> str:
        """The published name."""
        return "global_shared_transformer"

    @property
    def sees_future(self) -> bool:
        """Its attention has no causal mask."""
        return True

    def forward(
        self, inputs: Mapping[str, Tensor], components: Mapping[str, Components]
    ) -> dict[str, Tensor]:
        """See `ImportanceFunction`."""
        normed = [F.rms_norm(inputs[name], inputs[name].shape[-1:]) for name in sorted(inputs)]
        return _split(self.global_ci_fn(torch.cat(normed, -1)), components)


def _split(
    together: Float[Tensor, "batch pos component"], components: Mapping[str, Components]
) -> dict[str, Tensor]:
    """By layer, in the order of their names."""
    order = sorted(components)
    parts = together.split([components[name].n for name in order], dim=-1)
    return dict(zip(order, parts, strict=True))
