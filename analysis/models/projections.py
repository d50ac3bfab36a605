"""Weights that read the residual stream, split by query head, whatever a layer calls them."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attention import Site, Taps
from analysis.errors import UserError
from analysis.precision import wide

from .load import Model
from .placement import fetched

_APART = ("q_proj", "k_proj", "v_proj")
_FUSED = ("c_attn", "query_key_value", "qkv_proj")


@dataclass(frozen=True)
class Projection:
    """What turns the input of a layer's attention into q, k or v, before any RoPE or norm of it."""

    W: Float[Tensor, "head d_model d_head"]
    """One copy for each query head."""
    b: Float[Tensor, "head d_head"]


@dataclass(frozen=True)
class Surroundings:
    """What stands between the residual stream and a layer's attention."""

    before: nn.Module | None
    """The norm that the attention reads through; None if it reads the residual stream itself."""
    after: nn.Module | None
    """What changes the attention's output before it is added; None if it is added as it is."""


def projections(model: Model, layer: int) -> dict[Site, Projection]:
    """W_Q, W_K and W_V of a layer with their biases, one copy for each query head.

    Args:
        model: The model.
        layer: Which layer.

    Returns:
        By site. Position-free: q and k are what they are before RoPE and before a norm of
        queries and keys; an architecture may scale them by one factor beyond that.

    Raises:
        UserError: The layer names its projections otherwise.
    """
    module = model.attentions[layer]
    if all(isinstance(getattr(module, name, None), nn.Linear) for name in _APART):
        parts = [_rows(getattr(module, name)) for name in _APART]
    else:
        fused = next((name for name in _FUSED if hasattr(module, name)), None)
        if fused is None:
            raise UserError(
                f"expected projections named {', '.join((*_APART, *_FUSED))}, "
                f"{model.card.architecture} names them otherwise; choose a supported architecture"
            )
        parts = _split(model, fused, *_rows(getattr(module, fused)))
    sites = (Site.Q, Site.K, Site.V)
    return {site: _by_head(model, *part) for site, part in zip(sites, parts, strict=True)}


def _rows(projection: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight as (out, in), and bias; zeros where there is none."""
    with fetched(projection):
        weight = wide(projection.get_parameter("weight").detach())
        bias = getattr(projection, "bias", None)
    if type(projection).__name__ == "Conv1D":  # GPT-2 stores (in, out)
        weight = weight.T
    return weight, weight.new_zeros(weight.shape[0]) if bias is None else wide(bias.detach())


def _split(
    model: Model, fused: str, weight: Float[Tensor, "out d_model"], bias: Float[Tensor, " out"]
) -> list[tuple[Tensor, Tensor]]:
    """Rows of q, k and v out of one projection."""
    d_head, n_heads, n_kv = model.card.d_head, model.card.n_heads, model.card.n_kv_heads
    if fused == "query_key_value":  # GPT-NeoX: q, k and v of head 0, then of head 1, ...
        split = weight.view(n_heads, 3, d_head, -1).unbind(1), bias.view(n_heads, 3, d_head)
        biases = split[1].unbind(1)
        return [(w.flatten(0, 1), b.flatten()) for w, b in zip(split[0], biases, strict=True)]
    sizes = [n_heads * d_head, n_kv * d_head, n_kv * d_head]
    return list(zip(weight.split(sizes), bias.split(sizes), strict=True))


def _by_head(
    model: Model, weight: Float[Tensor, "out d_model"], bias: Float[Tensor, " out"]
) -> Projection:
    """Split by head; under grouped attention every query head gets a copy of its kv head's."""
    d_head = model.card.d_head
    W, b = weight.reshape(-1, d_head, weight.shape[1]).transpose(1, 2), bias.reshape(-1, d_head)
    copies = model.card.n_heads // W.shape[0]
    return Projection(W.repeat_interleave(copies, dim=0), b.repeat_interleave(copies, dim=0))


def surroundings(model: Model, layer: int) -> Surroundings:
    """Find by one pass what a layer's attention reads through, and what its output goes through.

    Nothing is taken from names: the norm before is the module whose output is the attention's
    input, and the one after is the module that is given its output and changes it.

    Args:
        model: The model.
        layer: Which layer.

    Returns:
        The modules; dropout, which changes nothing in evaluation, is none.
    """
    attention = model.attentions[layer]
    outputs: list[tuple[nn.Module, Tensor]] = []
    read: list[Tensor] = []
    after: list[nn.Module] = []

    def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given: Tensor | None = args[0] if args else kwargs.get("hidden_states")
        result: Tensor = output[0] if isinstance(output, tuple) else output
        if module is attention and given is not None:
            read.append(given)
        elif given is not None and any(m is attention and given is out for m, out in outputs):
            after.extend([] if torch.equal(result, given) else [module])
        outputs.append((module, result))

    with ExitStack() as hooks, torch.inference_mode():
        for child in model.layers[layer].children():
            hooks.callback(child.register_forward_hook(look, with_kwargs=True).remove)
        tokens = torch.arange(2, device=model.device)[None]
        model.net(tokens, use_cache=False, logits_to_keep=1, taps=Taps())
    before = [module for module, output in outputs if any(output is given for given in read)]
    return Surroundings(before[0] if before else None, after[0] if after else None)


def written_weights(model: Model, layer: int) -> Float[Tensor, "head d_head d_model"]:
    """W_O with the norm behind the attention folded in, but for the norm's scale.

    Returns:
        What head h adds to the residual stream is `z_h` times this, divided by what the norm
        finds of all heads together: W_O C diag(g), where C subtracts the mean over coordinates
        for LayerNorm and is the identity for RMSNorm; W_O itself without such a norm.
    """
    weight, norm = model.W_O(layer), surroundings(model, layer).after
    if norm is None:
        return weight
    gain, centres = norm_gain(norm, weight[0, 0], size=1.0)
    return gain * (weight - weight.mean(-1, keepdim=True) if centres else weight)


def norm_gain(norm: nn.Module, like: Float[Tensor, " d_model"], size: float) -> tuple[Tensor, bool]:
    """What a norm multiplies each coordinate by, and whether it subtracts the mean first.

    Found by norming an alternating vector, whose mean is 0, so that it holds for RMSNorm and
    LayerNorm, with a gain stored as g or as g - 1.

    Args:
        norm: LayerNorm or RMSNorm.
        like: Any vector of the same length, device and type.
        size: Of the vector's entries: 1 for the gain on a vector of unit mean square; where it
            is large, what the norm adds to the mean square is nothing.

    Returns:
        The gain on such a vector, and whether the norm centres.
    """
    ones = torch.ones_like(like)
    sign = ones.clone()
    sign[1::2] = -1
    with torch.no_grad():
        gain = (norm(size * sign) - norm(-size * sign)) * sign / 2
        centres = torch.allclose(norm(ones), norm(-ones))
    return gain, centres


def folded(
    weight: Float[Tensor, "head d_model d_head"], norm: nn.Module | None
) -> Float[Tensor, "head d_model d_head"]:
    """A projection with the norm before it folded in, but for the norm's scale.

    Args:
        weight: W_Q, W_K or W_V.
        norm: The norm that the attention reads through, if any.

    Returns:
        What multiplies the residual stream divided by its norm: C diag(g) W, where C subtracts
        the mean over coordinates for LayerNorm and is the identity for RMSNorm.
    """
    if norm is None:
        return weight
    gain, centres = norm_gain(norm, weight[0, :, 0], size=1.0)
    scaled = gain[:, None] * weight
    return scaled - scaled.mean(1, keepdim=True) if centres else scaled
