"""Weights that read the residual stream, split by query head, whatever a layer calls them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attention import Edit, EnoughError, Site, Taps, Where
from analysis.errors import UserError

from .load import Model, check_shares, hidden_states
from .parts.anatomy import Block, given_stream
from .parts.look import TOLERANCE, off

_SCALE = 2.0**10
"""Of what is put in for one coordinate: beside it a bias is small, so that it costs no digits."""
_SITES = (Site.Q, Site.K, Site.V)
_CHECKED = 3
"""Random vectors, side by side, by which linearity is checked."""


@dataclass(frozen=True)
class Projection:
    """What turns the input of a layer's attention into q, k or v, before any RoPE or norm of it."""

    W: Float[Tensor, "head d_model d_head"]
    """One copy for each query head."""
    b: Float[Tensor, "head d_head"]


def projections(model: Model, layer: int) -> dict[Site, Projection]:
    """W_Q, W_K and W_V of a layer with their biases, one copy for each query head.

    See `projections_of`.
    """
    return projections_of(model, [layer])[layer]


def projections_of(model: Model, layers: Sequence[int]) -> dict[int, dict[Site, Projection]]:
    """W_Q, W_K and W_V of some layers with their biases, one copy for each query head.

    They are read off what a layer makes of one coordinate after the other at position 0, where
    RoPE turns nothing: no name or order of weights is assumed.

    Args:
        model: The model.
        layers: Which layers, in order; each attends.

    Returns:
        By layer and site. Position-free: q and k are what they are before RoPE, and but for the
        scale of a norm of queries and keys, whose gain is part of them.

    Raises:
        UserError: Queries, keys or values are no linear function of what the attention reads.
    """
    found = _read(model, layers, normed=True)
    again = [layer for layer in layers if None in (found[layer][Site.Q], found[layer][Site.K])]
    if again:  # perhaps there is a norm on the way
        for layer, parts in _read(model, again, normed=False).items():
            for site in (Site.Q, Site.K):
                found[layer][site] = found[layer][site] or parts[site]
    known = {
        layer: {site: part for site, part in parts.items() if part is not None}
        for layer, parts in found.items()
    }
    for layer, parts in found.items():
        _refuse(model, layer, [site for site in parts if site not in known[layer]])
    return known


def check_linear(model: Model) -> None:
    """Make sure that the queries, keys and values of every layer are linear in what it reads.

    Raises:
        UserError: Those of a layer are not.
    """
    attend = [layer for layer, module in enumerate(model.attentions) if module is not None]
    found = _linear(model, attend, normed=True)
    if not all(found.values()):  # perhaps there is a norm on the way
        bare = _linear(model, attend, normed=False)
        found = {at: linear or (at[1] is not Site.V and bare[at]) for at, linear in found.items()}
    for layer in attend:
        _refuse(model, layer, [site for site in Site if not found.get((layer, site), True)])


def _linear(model: Model, layers: Sequence[int], *, normed: bool) -> dict[tuple[int, Site], bool]:
    """Whether q, k and v are linear, by layer and site: sums and multiples tell, in two passes."""
    size, device = model.card.d_model, model.device
    x, y = torch.randn(2, size, generator=torch.Generator().manual_seed(0)).to(device)
    rows = torch.stack([0 * x, x, y, x + y, _SCALE * x])
    alone = _inputs(model, layers, rows[:, None], normed=normed)
    beside = _inputs(model, layers, rows[None, :3], normed=normed)
    most = max(
        TOLERANCE, 8 * torch.finfo(model.writer(layers[0]).get_parameter("weight").dtype).eps
    )
    linear: dict[tuple[int, Site], bool] = {}
    for at, answer in ((at, alone[at[0]][at[1]]) for at in product(layers, _SITES)):
        b, of_x, of_y, of_sum, of_multiple = answer[:, :, 0]
        gaps = [
            off(of_sum - b, of_x + of_y - 2 * b),
            off((of_multiple - b) / _SCALE, of_x - b),
        ]
        if at[1] is Site.V:  # later queries and keys are turned
            gaps.append(off(beside[at[0]][at[1]][0].transpose(0, 1), answer[:3, :, 0]))
        linear[at] = max(gaps) <= most
    return linear


def _refuse(model: Model, layer: int, sites: Sequence[Site]) -> None:
    if sites:
        raise UserError(
            f"expected q, k and v that are linear in what attention reads, "
            f"{', '.join(site.value for site in sites)} of layer {layer} of "
            f"{model.card.architecture} are not; choose another architecture"
        )


def _read(
    model: Model, layers: Sequence[int], *, normed: bool
) -> dict[int, dict[Site, Projection | None]]:
    """Projections of the sites that are linear, with norms on the way or with their gains alone."""
    size, device = model.card.d_model, model.device
    drawn = torch.randn(1, _CHECKED, size, generator=torch.Generator().manual_seed(0)).to(device)
    units = torch.cat([torch.zeros(1, size), _SCALE * torch.eye(size)]).to(device)[:, None]
    answers = _inputs(model, layers, units, normed=normed)
    checked = _inputs(model, layers, drawn, normed=normed)
    found: dict[int, dict[Site, Projection | None]] = {}
    for layer in layers:
        digits = torch.finfo(model.writer(layer).get_parameter("weight").dtype).eps
        for site, answer in answers[layer].items():
            b = answer[0, :, 0]
            W = ((answer[1:, :, 0] - b) / _SCALE).transpose(0, 1)
            expected = torch.einsum("rpm,hmd->rhpd", drawn.to(W.dtype), W) + b[:, None]
            n_pos = _CHECKED if site is Site.V else 1  # later queries and keys are turned
            gap = off(checked[layer][site][:, :, :n_pos], expected[:, :, :n_pos])
            linear = gap <= max(TOLERANCE, 8 * digits)
            found.setdefault(layer, {})[site] = Projection(W, b) if linear else None
    return found


def _inputs(
    model: Model, layers: Sequence[int], given: Float[Tensor, "row pos d_model"], *, normed: bool
) -> dict[int, dict[Site, Float[Tensor, "row head pos d_head"]]]:
    """q, k and v if the attention of each layer read some vectors."""
    found: dict[int, dict[Site, Tensor]] = {layer: {} for layer in layers}

    def keep(site: Site) -> Edit:
        def edit(where: Where, tensor: Tensor) -> Tensor:
            if where.layer in found:
                found[where.layer][site] = tensor
                if all(len(parts) == len(_SITES) for parts in found.values()):
                    raise EnoughError
            return tensor

        return edit

    def put(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        read = given_stream(args, kwargs)

        def instead(value: Any) -> Any:  # some are handed it for queries, keys and values apart
            same = isinstance(value, Tensor) and value.shape == read.shape
            return given.to(read) if same and torch.equal(value, read) else value

        return tuple(map(instead, args)), {name: instead(value) for name, value in kwargs.items()}

    with ExitStack() as hooks, torch.inference_mode():
        for attention in (model.attentions[layer] for layer in layers):
            if attention is None:
                continue
            hooks.callback(attention.register_forward_pre_hook(put, with_kwargs=True).remove)
            leaves = (part for part in attention.modules() if not list(part.children()))
            for part in () if normed else leaves:
                hook = part.register_forward_hook(_without_scale, with_kwargs=True)
                hooks.callback(hook.remove)
        tokens = torch.zeros(given.shape[:2], dtype=torch.long, device=given.device)
        with suppress(EnoughError):
            hidden_states(model, tokens, Taps(edits={site: keep(site) for site in _SITES}))
    return found


def _without_scale(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    """What a norm answers but for its scale: its gain alone; another module's answer as it is."""
    given = args[0] if len(args) == 1 and not kwargs else None
    if not isinstance(output, Tensor) or not isinstance(given, Tensor):
        return output
    if output.shape != given.shape or isinstance(module, (nn.Linear, nn.Dropout)):
        return output
    large = torch.arange(1.0, 1.0 + given.shape[-1], device=given.device) * _SCALE
    once, twice = (module.forward(size * large.to(given)) for size in (1, 2))
    if not torch.allclose(once, twice, rtol=1e-4):
        return output
    try:
        gain, centres = norm_gain(module.forward, given[(0,) * (given.ndim - 1)], size=1.0)
    except UserError:
        return output
    return gain * (given - given.mean(-1, keepdim=True) if centres else given)


def surroundings(model: Model, layer: int) -> Block:
    """What a layer's attention reads through (`before`) and writes through (`after`).

    Args:
        model: The model.
        layer: Which layer.
    """
    return model.blocks[layer]


def written_weights(model: Model, layer: int) -> Float[Tensor, "head d_head d_model"]:
    """W_O with the norm behind the attention folded in, but for the norm's scale.

    Returns:
        What head h adds to the residual stream is `z_h` times this, divided by what the norm
        finds of all heads together: W_O C diag(g), where C subtracts the mean over coordinates
        for LayerNorm and is the identity for RMSNorm; W_O itself without such a norm.

    Raises:
        UserError: No share of what heads write arrives at the final norm.
    """
    check_shares(model)
    weight, norm = model.W_O(layer), surroundings(model, layer).after
    if norm is None:
        return weight
    gain, centres = norm_gain(norm, weight[0, 0], size=1.0)
    return gain * (weight - weight.mean(-1, keepdim=True) if centres else weight)


def norm_gain(
    norm: Callable[[Tensor], Tensor], like: Float[Tensor, " d_model"], size: float
) -> tuple[Tensor, bool]:
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

    Raises:
        UserError: It does more than a norm, or takes or answers something else than such a vector.
    """
    ones = torch.ones_like(like)
    sign = ones.clone()
    sign[1::2] = -1
    drawn = torch.randn(len(like), generator=torch.Generator().manual_seed(0)).to(like)
    drawn = drawn - drawn.mean()
    drawn = drawn / drawn.square().mean().sqrt()
    gain, centres = ones, False
    try:
        with torch.no_grad():
            gain = (norm(size * sign) - norm(-size * sign)) * sign / 2
            centres = torch.allclose(norm(ones), norm(-ones))
            answer = (norm(size * drawn) - norm(-size * drawn)) / 2
            gap = off(answer, gain * drawn)
    except (TypeError, ValueError, RuntimeError):
        gap = float("inf")
    if gap > max(TOLERANCE, 8 * torch.finfo(like.dtype).eps):
        raise UserError(
            "expected a norm that multiplies what it was given by a gain for each coordinate, "
            f"{type(getattr(norm, '__self__', norm)).__name__} does something else; choose another "
            "architecture"
        )
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
