"""Many conditions in one walk through the layers, each from the first layer that it touches.

Nothing before that layer can change, so a condition joins there, from the residual stream that
enters the layer in the base's own pass. What replaces z needs no attention either: the layer's
attention answers what it did for the base, plus what the replaced heads write differently.
"""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Edit, Site, Taps, Where
from analysis.interventions.kinds import Condition, Intervention
from analysis.interventions.stand_ins import StandIns
from analysis.models.load import Model, hidden_states

from .layers import LayerCall, first, through
from .tapping import Block, block_taps, taps


@dataclass(frozen=True)
class Trace:
    """The base's pass over some rows, as far as conditions start from it."""

    resid_pre: dict[int, Float[Tensor, "row pos d_model"]]
    """The residual stream entering a layer, by layer."""
    attn_out: dict[int, Float[Tensor, "row pos d_model"]]
    """What a layer's attention writes."""
    z: dict[int, Float[Tensor, "row head pos d_head"]]
    hidden: Float[Tensor, "row pos d_model"]
    """What the unembedding reads."""


def trace(
    model: Model,
    tokens: Int[Tensor, "row pos"],
    layers: Collection[int],
    others: Mapping[Site, Edit] = {},
) -> Trace:
    """Run the base and keep what conditions that join at some layers start from.

    Args:
        model: The model.
        tokens: Sequences of one length.
        layers: Where conditions join.
        others: What else looks at the pass.

    Returns:
        What was kept.
    """
    resid_pre: dict[int, Tensor] = {}
    attn_out: dict[int, Tensor] = {}
    z: dict[int, Tensor] = {}

    def entering(layer: int) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        return lambda _m, args, kwargs: resid_pre.update({layer: _stream(args, kwargs)})

    def wrote(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _m, _args, output: attn_out.update({layer: first(output)})

    def keep(where: Where, tensor: Tensor) -> Tensor:
        if where.layer in layers:
            z[where.layer] = tensor
        return tensor

    with ExitStack() as hooks:
        for at in layers:
            pre = model.layers[at].register_forward_pre_hook(entering(at), with_kwargs=True)
            hooks.callback(pre.remove)
            hooks.callback(model.attentions[at].register_forward_hook(wrote(at)).remove)
        hidden = hidden_states(model, tokens, Taps(edits={**others, Site.Z: keep}))
    return Trace(resid_pre, attn_out, z, hidden)


def joining_order(condition: Condition) -> tuple[int, bool]:
    """Sorts conditions by where they join; those that need the layer's attention come first."""
    return condition.first_layer, not _attends(condition, condition.first_layer)


@dataclass(frozen=True)
class Staircase:
    """Rows of a base from which conditions branch off."""

    model: Model
    calls: tuple[LayerCall, ...]
    base: Trace
    stand_ins: StandIns
    """Donors are those of the base's rows."""

    def hidden_states(
        self, conditions: Sequence[Condition]
    ) -> Float[Tensor, "condition row pos d_model"]:
        """What the unembedding reads under each condition.

        Args:
            conditions: In joining order; each has a head, and its first layer was traced.

        Returns:
            Hidden states in that order.
        """
        stream = self.entering(len(self.model.layers), conditions)
        return self.model.final_norm(stream).unflatten(0, (len(conditions), -1))

    def entering(
        self, layer: int, conditions: Sequence[Condition]
    ) -> Float[Tensor, "condition_and_row pos d_model"]:
        """The residual stream entering a layer, of the conditions that join there or below.

        Args:
            layer: Which; the number of layers for the stream that leaves the last.
            conditions: In joining order; each has a head, and its first layer was traced.

        Returns:
            The rows of one condition after those of another, in that order.
        """
        start = conditions[0].first_layer
        stream = self.base.resid_pre[start][:0]
        for at in range(start, layer + 1):
            n_joining = sum(condition.first_layer == at for condition in conditions)
            if n_joining:
                joining = self.base.resid_pre[at].repeat(n_joining, 1, 1)
                stream = torch.cat([stream, joining])
            if at < layer:
                joined = [condition for condition in conditions if condition.first_layer <= at]
                stream = self._after(at, stream, joined)
        return stream

    def _after(
        self, layer: int, stream: Float[Tensor, "row pos d_model"], joined: Sequence[Condition]
    ) -> Float[Tensor, "row pos d_model"]:
        """The residual stream of all rows after a layer."""
        attending = [c for c in joined if c.first_layer < layer or _attends(c, layer)]
        given = [self._attn_out(layer, c) for c in joined[len(attending) :]]
        n_attending = len(attending) * len(self.base.hidden)
        here = self.layer_taps(layer, attending)
        with _answered(self.model.attentions[layer], n_attending, given):
            return through(self.model, layer, self.calls[layer], stream, here)

    def layer_taps(self, layer: int, conditions: Sequence[Condition]) -> Taps:
        """What is replaced in a layer, each condition in its own rows."""
        n_rows = len(self.base.hidden)
        blocks = [
            Block(slice(i * n_rows, (i + 1) * n_rows), here, slice(0, n_rows))
            for i, condition in enumerate(conditions)
            if (here := _here(condition, layer))
        ]
        return block_taps(blocks, self.stand_ins)

    def _attn_out(self, layer: int, condition: Condition) -> Float[Tensor, "row pos d_model"]:
        """What a layer's attention writes once z of some heads is replaced."""
        here, z = _here(condition, layer), self.base.z[layer]
        edit: Edit = taps(here, self.stand_ins, len(z)).edits[Site.Z]
        heads = sorted({head for one in here for head in one.in_layer(layer)})
        change = edit(Where(layer, slice(0, len(z))), z)[:, heads] - z[:, heads]
        writes = torch.einsum("rhpd,hdm->rpm", change, self.model.W_O(layer)[heads])
        return self.base.attn_out[layer] + writes


def _here(condition: Condition, layer: int) -> tuple[Intervention, ...]:
    return tuple(one for one in condition.interventions if one.in_layer(layer))


def _attends(condition: Condition, layer: int) -> bool:
    """Whether a condition that joins at a layer needs more of its attention than z."""
    return any(not one.method.at_z for one in _here(condition, layer))


@contextmanager
def _answered(attention: nn.Module, n_attending: int, given: Sequence[Tensor]) -> Generator[None]:
    """Let the first rows through an attention module, and answer what is given for the rest."""
    if not given:
        yield
        return

    def shorten(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # One row goes in even if none is needed: not every module takes an empty batch.
        stream = _stream(args, kwargs)[: max(1, n_attending)]
        return ((stream, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": stream})

    def append(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        attn_out = torch.cat([first(output)[:n_attending], *given])
        return (attn_out, *output[1:]) if isinstance(output, tuple) else attn_out

    with ExitStack() as hooks:
        hooks.callback(attention.register_forward_pre_hook(shorten, with_kwargs=True).remove)
        hooks.callback(attention.register_forward_hook(append).remove)
        yield


def _stream(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What a layer or an attention module reads."""
    return args[0] if args else kwargs["hidden_states"]
