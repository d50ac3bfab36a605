"""A model whose weights are sums of rank-one components and a remainder, under masks.

The decomposed layers are the model's own: a mask changes what a layer returns while a context
lasts, so nothing is copied, and without masks, or with all of them 1, the model is the target.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.models.load import Model, hidden_states, unembed


class Components(nn.Module):
    """Rank-one components of one weight: component c writes `(x . V[:, c]) U[c]`.

    Source:
        Bushnaq et al. 2025, "Stochastic Parameter Decomposition".
    """

    def __init__(self, V: Float[Tensor, "d_in component"], U: Float[Tensor, "component d_out"]):
        super().__init__()
        self.V, self.U = nn.Parameter(V), nn.Parameter(U)

    @property
    def n(self) -> int:
        """How many there are."""
        return self.U.shape[0]

    def activations(self, x: Float[Tensor, "*batch d_in"], /) -> Float[Tensor, "*batch component"]:
        """How strongly each component reads its direction in an input."""
        return x @ self.V

    def reconstruction(self) -> Float[Tensor, "d_out d_in"]:
        """The sum of all components, as a weight."""
        return (self.V @ self.U).T


@dataclass(frozen=True)
class Cut:
    """One component that writes nothing at some tokens, to all or some rows of its layer."""

    component: int
    tokens: Bool[Tensor, "batch pos"]
    """Where it writes nothing."""
    rows: Bool[Tensor, " d_out"] | None = None
    """Which outputs it is cut from, such as those of some heads; all by default."""


@dataclass(frozen=True, kw_only=True)
class Mask:
    """How one layer is computed while its mask is applied."""

    components: Float[Tensor, "*tokens component"]
    """Weight of every component, in [0, 1]: one for all tokens, or (batch, pos, component)."""
    delta: Float[Tensor, "*some_tokens"]
    """Weight of the remainder W - W_rec, a number or (batch, pos); 1 keeps it, 0 leaves it out."""
    routed: Bool[Tensor, "batch pos"] | None = None
    """Where the mask is applied; elsewhere the layer is the target's. Everywhere by default."""
    cuts: tuple[Cut, ...] = ()
    """What is removed from the masked output."""


Masks = Mapping[str, Mask]
"""By name of the layer, as `h.1.attn.q_proj`; a layer without a mask is the target's."""


@dataclass(frozen=True)
class Decomposition:
    """A target model and the components of some of its linear layers."""

    model: Model
    components: Mapping[str, Components]
    """By name of the layer in the model, sorted."""

    @classmethod
    def of(cls, model: Model, components: Mapping[str, Components]) -> "Decomposition":
        """Check that components fit the layers that they name.

        Raises:
            UserError: There is no such layer, or its sizes differ.
        """
        for name, parts in components.items():
            shape = tuple(weight(model, name).shape)
            if shape != (parts.U.shape[1], parts.V.shape[0]):
                raise UserError(
                    f"expected components of {name} for a weight of shape {shape}, got "
                    f"{(parts.U.shape[1], parts.V.shape[0])}; give the model that was decomposed"
                )
        return cls(model, dict(sorted(components.items())))

    def delta(self, name: str) -> Float[Tensor, "d_out d_in"]:
        """The remainder of a layer: what its components leave out."""
        return weight(self.model, name) - self.components[name].reconstruction()

    def uniform(self, components: float, delta: float) -> dict[str, Mask]:
        """The same mask for every component of every layer.

        Args:
            components: Weight of each component.
            delta: Weight of each remainder.

        Returns:
            Masks. `uniform(1, 1)` is the target, `uniform(1, 0)` the reconstruction.
        """
        like = self.model.W_U
        return {
            name: Mask(
                components=like.new_full((parts.n,), components), delta=like.new_tensor(delta)
            )
            for name, parts in self.components.items()
        }


def weight(model: Model, name: str) -> Float[Tensor, "d_out d_in"]:
    """The weight of a linear layer of a model.

    Raises:
        UserError: The model has no linear layer of that name.
    """
    try:
        layer = model.net.get_submodule(name)
    except AttributeError:
        layer = None
    if not isinstance(layer, nn.Linear):
        raise UserError(
            f"expected a linear layer of {model.card.architecture}, got {name!r}; "
            "name it as the model does, such as h.1.attn.q_proj"
        )
    return layer.weight.detach()


def with_cuts(
    decomposition: Decomposition, masks: Masks, removed: Mapping[str, tuple[Cut, ...]]
) -> dict[str, Mask]:
    """The same masks with some components removed; a layer without a mask gets masks of 1."""
    whole = decomposition.uniform(1.0, 1.0)
    found = dict(masks)
    for name, each in removed.items():
        before = found.get(name, whole[name])
        found[name] = replace(before, cuts=(*before.cuts, *each))
    return found


@contextmanager
def masked(decomposition: Decomposition, masks: Masks) -> Generator[None]:
    """While the context lasts, layers of the model are computed under masks.

    A layer returns `((x V) * m) U + m_delta x (W - W_rec)^T + bias`, written as
    `m_delta x W^T + ((x V) * (m - m_delta)) U + bias`, so that masks of 1 leave it as it is.

    Args:
        decomposition: The decomposed model; its `model` is what to call.
        masks: By layer. Their shapes must broadcast with the tokens that the model is called on.
    """

    def apply(parts: Components, mask: Mask) -> Any:
        def hook(layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return under(mask, parts, args[0], output, getattr(layer, "bias", None))

        return hook

    with ExitStack() as stack:
        for name, mask in masks.items():
            layer = decomposition.model.net.get_submodule(name)
            hook = apply(decomposition.components[name], mask)
            stack.callback(layer.register_forward_hook(hook).remove)
        yield


def under(
    mask: Mask,
    parts: Components,
    x: Float[Tensor, "batch pos d_in"],
    whole: Float[Tensor, "batch pos d_out"],
    bias: Float[Tensor, " d_out"] | None,
) -> Float[Tensor, "batch pos d_out"]:
    """What a layer returns under a mask.

    Args:
        mask: The mask.
        parts: The layer's components.
        x: What the layer reads.
        whole: What the target's layer returns, `x W^T + bias`.
        bias: Its bias.

    Returns:
        The masked output, and `whole` where the mask is not routed.
    """
    delta = mask.delta[..., None]
    linear = whole if bias is None else whole - bias
    activations = parts.activations(x)
    result = delta * linear + (activations * (mask.components - delta)) @ parts.U
    result = result if bias is None else result + bias
    for cut in mask.cuts:
        weight = mask.components[..., cut.component] * cut.tokens
        written = activations[..., cut.component] * weight
        rows = parts.U[cut.component]
        rows = rows if cut.rows is None else rows * cut.rows
        result = result - written[..., None] * rows
    return result if mask.routed is None else torch.where(mask.routed[..., None], result, whole)


@contextmanager
def reading(model: Model, names: Iterable[str]) -> Generator[dict[str, Tensor]]:
    """While the context lasts, what named layers read is kept: the last call's, by name.

    Args:
        model: The model.
        names: Linear layers.

    Yields:
        Inputs (batch, pos, d_in) by name, filled by calls of the model.
    """
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
            kept[name] = args[0]

        return hook

    with ExitStack() as stack:
        for name in names:
            layer = model.net.get_submodule(name)
            stack.callback(layer.register_forward_pre_hook(keep(name)).remove)
        yield kept


def logits(
    decomposition: Decomposition,
    tokens: Int[Tensor, "batch pos"],
    masks: Masks,
    taps: Taps | None = None,
) -> Float[Tensor, "batch pos d_vocab"]:
    """What the model predicts under masks.

    Args:
        decomposition: The decomposed model.
        tokens: Token ids.
        masks: By layer; none is the target.
        taps: What else is observed or replaced.

    Returns:
        Next-token logits.
    """
    with masked(decomposition, masks):
        hidden = hidden_states(decomposition.model, tokens, taps or Taps())
    return unembed(decomposition.model, hidden)
