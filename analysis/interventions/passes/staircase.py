"""Many conditions in one walk through the layers, each from the first layer that it touches.

Nothing before that layer can change, so a condition joins there, from the residual stream that
enters the layer in the base's own pass. What replaces z needs no attention either: the layer's
attention answers what it did for the base, plus what the replaced heads write differently.
"""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Edit, Site, Taps, Where
from analysis.interventions.heads import Head
from analysis.interventions.kinds import Condition, Intervention, Method
from analysis.interventions.stand_ins import NOTHING, StandIns
from analysis.models.load import Model, hidden_states
from analysis.models.parts.anatomy import first, given_stream, with_first
from analysis.models.parts.look import TOLERANCE, off, probe

from .layers import LayerCall, layer_calls, through
from .tapping import Block, block_taps, taps

_PROBED = 12
"""Positions of the probe that show whether a model can be walked."""


@dataclass(frozen=True)
class Trace:
    """The base's pass over some rows, as far as conditions start from it."""

    resid_pre: dict[int, Float[Tensor, "*row_and_pos d_model"]]
    """The residual stream entering a layer, by layer; some models have several side by side."""
    attn_out: dict[int, Float[Tensor, "row pos d_model"]]
    """What a layer's attention writes."""
    z: dict[int, Float[Tensor, "row head pos d_head"]]
    hidden: Float[Tensor, "row pos d_model"]
    """What the unembedding reads."""
    tokens: Int[Tensor, "row pos"]


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
        return lambda _m, args, kwargs: resid_pre.update({layer: given_stream(args, kwargs)})

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
            if model.attentions[at] is not None:
                hooks.callback(model.writer(at).register_forward_hook(wrote(at)).remove)
        hidden = hidden_states(model, tokens, Taps(edits={**others, Site.Z: keep}))
    return Trace(resid_pre, attn_out, z, hidden, tokens)


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
        if not walks(self.model):
            return self.whole(conditions)
        return self.walked(conditions)

    def whole(self, conditions: Sequence[Condition]) -> Float[Tensor, "condition row pos d_model"]:
        """The same by whole passes, which every model can do."""
        n, n_rows = len(conditions), len(self.base.hidden)
        blocks = [
            Block(slice(i * n_rows, (i + 1) * n_rows), condition.interventions, slice(0, n_rows))
            for i, condition in enumerate(conditions)
        ]
        applied = block_taps(blocks, self.stand_ins)
        return hidden_states(self.model, self.base.tokens.repeat(n, 1), applied).unflatten(
            0, (n, -1)
        )

    def walked(self, conditions: Sequence[Condition]) -> Float[Tensor, "condition row pos d_model"]:
        """The same layer by layer, where `walks` says that this is the same."""
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
        attention = self.model.attentions[layer]
        with nullcontext() if attention is None else _answered(attention, n_attending, given):
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
        rows = given_stream(args, kwargs)[: max(1, n_attending)]
        return ((rows, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": rows})

    def append(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return with_first(output, torch.cat([first(output)[:n_attending], *given]))

    with ExitStack() as hooks:
        hooks.callback(attention.register_forward_pre_hook(shorten, with_kwargs=True).remove)
        hooks.callback(attention.register_forward_hook(append).remove)
        yield


_WALKS: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def walks(model: Model) -> bool:
    """Whether layers that are called one after another compute what a whole pass does.

    Measured once for each model: not where a layer is given something of the tokens beside the
    residual stream, or of the layer before it.
    """
    if model.net not in _WALKS:
        with torch.inference_mode():
            _WALKS[model.net] = _walks(model)
    return _WALKS[model.net]


def _walks(model: Model) -> bool:
    tokens = probe(model.card)[:, :_PROBED].to(model.device)
    places = model.card.attending
    asked = [
        Condition(
            name=f"{method.value} {place}",
            family="probe",
            interventions=(Intervention(method=method, heads=(Head(place, 0),), positions=None),),
        )
        for place in (places[0], places[-1])
        for method in (Method.ZERO, Method.MASK_KEY)
    ]
    every = sorted(asked, key=joining_order)
    try:
        base = trace(model, tokens, {one.first_layer for one in every})
        stairs = Staircase(model, layer_calls(model, tokens[:1]), base, NOTHING)
        found = stairs.walked(every)
    except Exception:  # whatever a layer says when it is not called as it expects
        return False
    return off(found, stairs.whole(every)) <= TOLERANCE
