"""Single layers: how a model calls them, what goes through them, what is read inside them."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Edit, EnoughError, Site, Taps, Where
from analysis.models.load import Model, hidden_states
from analysis.models.parts.anatomy import first


@dataclass(frozen=True)
class LayerCall:
    """What a layer is called with beside the residual stream; it fits any number of rows."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def after(self, begin: int, n_pos: int) -> "LayerCall":
        """The call on the positions from `begin` on; keys stay those of all positions."""
        if begin == 0:
            return self
        args: Any = _cut(self.args, begin, n_pos)
        return LayerCall(args, _cut(self.kwargs, begin, n_pos))


def _cut(value: Any, begin: int, n_pos: int) -> Any:
    """Masks lose rows, and positions and what is computed from them lose entries."""
    if isinstance(value, Tensor):
        axis = -2 if value.ndim == 4 else min(1, value.ndim - 1)
        long = value.ndim > 0 and value.shape[axis] == n_pos
        return value.narrow(axis, begin, n_pos - begin) if long else value
    if isinstance(value, dict):
        return {name: _cut(part, begin, n_pos) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_cut(part, begin, n_pos) for part in value)
    return value


def through(
    model: Model, layer: int, call: LayerCall, stream: Float[Tensor, "row pos d_model"], taps: Taps
) -> Float[Tensor, "row pos d_model"]:
    """The residual stream after a layer.

    Args:
        model: The model.
        layer: Which layer.
        call: What it is called with beside the residual stream.
        stream: The residual stream that enters it.
        taps: What is seen and replaced.
    """
    kwargs = {**call.kwargs, "taps": taps}
    return first(model.layers[layer](stream, *call.args, **kwargs))


def layer_inputs(
    model: Model,
    layer: int,
    call: LayerCall,
    stream: Float[Tensor, "row pos d_model"],
    sites: Sequence[Site],
) -> dict[Site, Float[Tensor, "row head pos d_head"]]:
    """What heads of a layer read, one copy for each query head; the rest is not computed.

    Args:
        model: The model.
        layer: Which layer.
        call: What it is called with beside the residual stream.
        stream: The residual stream that enters it.
        sites: Among q, k and v, in that order and with v.
    """
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Edit:
        def edit(_where: Where, tensor: Tensor) -> Tensor:
            found[site] = tensor
            if site is sites[-1]:
                raise EnoughError
            return tensor

        return edit

    with suppress(EnoughError):
        through(model, layer, call, stream, Taps(edits={site: keep(site) for site in sites}))
    return found


def layer_calls(model: Model, tokens: Int[Tensor, "one pos"]) -> tuple[LayerCall, ...]:
    """How a model calls its layers on sequences of a length.

    Args:
        model: The model.
        tokens: One sequence, so that masks and positions broadcast over rows.

    Returns:
        One call for each layer.
    """
    calls: list[LayerCall] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        others = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        calls.append(LayerCall(args[1:], others))

    with ExitStack() as hooks:
        for layer in model.layers:
            hooks.callback(layer.register_forward_pre_hook(keep, with_kwargs=True).remove)
        hidden_states(model, tokens, Taps())
    return tuple(calls)


@contextmanager
def written(writer: nn.Module) -> Generator[list[Tensor]]:
    """What an output projection writes while the context is open."""
    kept: list[Tensor] = []
    handle = writer.register_forward_hook(lambda _m, _args, output: kept.append(first(output)))
    try:
        yield kept
    finally:
        handle.remove()
