"""What conditions change at the last position of sequences, from the first position they touch.

Nothing before the first replaced position can change, so only the rows from there on are walked:
keys and values of earlier positions are those of the base's own pass.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attention import Edit, Site, Taps, Where
from analysis.interventions.heads import Head
from analysis.interventions.kinds import Condition, Intervention, Method, check
from analysis.interventions.stand_ins import NOTHING, StandIns
from analysis.models.load import Model, hidden_states
from analysis.models.parts.look import TOLERANCE, off, probe

from .layers import LayerCall, layer_calls, through, written
from .staircase import Trace, trace, walks
from .tapping import Block, block_taps


@dataclass(frozen=True)
class Endings:
    """What a model computes at the last position of every sequence."""

    attn_out: Float[Tensor, "condition layer row d_model"]
    """What each layer's attention writes."""
    hidden: Float[Tensor, "condition row d_model"]
    """What the unembedding reads."""


@dataclass(frozen=True)
class Opening:
    """The base's pass over some sequences of one length, which conditions continue."""

    model: Model
    calls: tuple[LayerCall, ...]
    base: Trace
    prefix: dict[int, tuple[Tensor, Tensor]]
    """Keys and values of every layer, one copy for each query head."""

    @property
    def n_pos(self) -> int:
        """Length of the sequences."""
        return self.base.hidden.shape[1]

    @property
    def endings(self) -> Endings:
        """What the base itself computes, as the only condition."""
        absent = torch.zeros_like(self.base.hidden)
        written = [self.base.attn_out.get(i, absent) for i in range(len(self.model.blocks))]
        return Endings(torch.stack(written)[None, :, :, -1], self.base.hidden[None, :, -1])


def opening(model: Model, tokens: Int[Tensor, "row pos"]) -> Opening:
    """Run the base on sequences of one length, without padding."""
    with torch.inference_mode():
        return opened(model, tokens, layer_calls(model, tokens[:1]))


def opened(model: Model, tokens: Int[Tensor, "row pos"], calls: tuple[LayerCall, ...]) -> Opening:
    """The same where it is known how layers are called on sequences of this length.

    Calls are read off a single row, which what a layer does to many rows may not fit.
    """
    kept: dict[Site, dict[int, Tensor]] = {Site.K: {}, Site.V: {}}

    def keep(site: Site) -> Edit:
        def edit(where: Where, tensor: Tensor) -> Tensor:
            kept[site][where.layer] = tensor
            return tensor

        return edit

    with torch.inference_mode():
        base = trace(model, tokens, range(len(model.layers)), {site: keep(site) for site in kept})
    prefix = {layer: (k, kept[Site.V][layer]) for layer, k in kept[Site.K].items()}
    return Opening(model, calls, base, prefix)


def endings(start: Opening, conditions: Sequence[Condition], stand_ins: StandIns) -> Endings:
    """Apply conditions, side by side, and read the last position.

    Args:
        start: The base's pass.
        conditions: What to replace; positions are those of the sequences.
        stand_ins: For the rows of the base.

    Returns:
        The same numbers as one whole pass for each condition.

    Raises:
        UserError: A condition does not fit the model, or a stand-in is missing.
    """
    for condition in conditions:
        check(condition.interventions, start.model.card, start.n_pos)
    found = start.endings
    n_layers = len(start.model.blocks)
    at = min((condition.first_layer for condition in conditions), default=n_layers)
    attn_out = found.attn_out.repeat(len(conditions), 1, 1, 1)
    if at >= n_layers:
        return Endings(attn_out, found.hidden.repeat(len(conditions), 1, 1))
    with torch.inference_mode():
        if not continues(start.model):
            return whole_endings(start, conditions, stand_ins)
        return continued_endings(start, conditions, stand_ins)


def whole_endings(start: Opening, conditions: Sequence[Condition], stand_ins: StandIns) -> Endings:
    """The same by whole passes, which every model can do."""
    n_rows = len(start.base.hidden)
    blocks = [
        Block(slice(i * n_rows, (i + 1) * n_rows), condition.interventions, slice(0, n_rows))
        for i, condition in enumerate(conditions)
    ]
    attn_out = start.endings.attn_out.repeat(len(conditions), 1, 1, 1)
    with ExitStack() as writers:
        wrote = {
            layer: writers.enter_context(written(start.model.writer(layer)))
            for layer in start.base.attn_out
        }
        tokens = start.base.tokens.repeat(len(conditions), 1)
        hidden = hidden_states(start.model, tokens, block_taps(blocks, stand_ins))[:, -1]
    for layer, (output,) in wrote.items():
        attn_out[:, layer] = output[:, -1].unflatten(0, (len(conditions), n_rows))
    return Endings(attn_out, hidden.unflatten(0, (len(conditions), n_rows)))


def continued_endings(
    start: Opening, conditions: Sequence[Condition], stand_ins: StandIns
) -> Endings:
    """The same from the first position on that is touched, where `continues` says that it is."""
    n_rows, n_layers = start.base.hidden.shape[0], len(start.calls)
    at = min(condition.first_layer for condition in conditions)
    attn_out = start.endings.attn_out.repeat(len(conditions), 1, 1, 1)
    blocks = [
        Block(slice(i * n_rows, (i + 1) * n_rows), condition.interventions, slice(0, n_rows))
        for i, condition in enumerate(conditions)
    ]
    begin = first_position(conditions, start.n_pos)
    taps = _continued(start, block_taps(blocks, stand_ins), begin, len(conditions))
    stream = start.base.resid_pre[at][:, begin:].repeat(len(conditions), 1, 1)
    for layer in range(at, n_layers):
        call = start.calls[layer].after(begin, start.n_pos)
        if layer not in start.base.attn_out:
            stream = through(start.model, layer, call, stream, taps)
            continue
        with written(start.model.writer(layer)) as wrote:
            stream = through(start.model, layer, call, stream, taps)
        attn_out[:, layer] = wrote[0][:, -1].unflatten(0, (len(conditions), n_rows))
    hidden = start.model.final_norm(stream[:, -1])
    return Endings(attn_out, hidden.unflatten(0, (len(conditions), n_rows)))


_PROBED = 1_024
_CONTINUES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def continues(model: Model) -> bool:
    """Whether layers can be called on later positions, given keys and values of earlier ones.

    Measured once for each model, on sequences of up to `_PROBED` tokens: not where anything but
    attention looks back, or where a mask or positions cannot be cut.
    """
    if model.net not in _CONTINUES:
        with torch.inference_mode():
            _CONTINUES[model.net] = walks(model) and _continues(model)
    return _CONTINUES[model.net]


def _continues(model: Model) -> bool:
    tokens = probe(model.card)[:, :_PROBED].to(model.device)
    places = model.card.attending
    try:
        start = opening(model, tokens)
        for position in (tokens.shape[1] // 2, tokens.shape[1] - 2):
            asked = [
                Condition(
                    name=f"{method.value} {place}",
                    family="probe",
                    interventions=(
                        Intervention(method=method, heads=(Head(place, 0),), positions=(position,)),
                    ),
                )
                for place in (places[0], places[-1])
                for method in (Method.ZERO, Method.ZERO_VALUE, Method.MASK_KEY)
            ]
            found = continued_endings(start, asked, NOTHING)
            expected = whole_endings(start, asked, NOTHING)
            if (
                max(
                    off(a, b)
                    for a, b in (
                        (found.attn_out, expected.attn_out),
                        (found.hidden, expected.hidden),
                    )
                )
                > TOLERANCE
            ):
                return False
    except Exception:  # whatever a layer says when it is not called as it expects
        return False
    return True


def first_position(conditions: Iterable[Condition], n_pos: int) -> int:
    """The first position whose residual stream conditions can change."""
    touched = [one.positions for condition in conditions for one in condition.interventions]
    if any(positions is None for positions in touched):
        return 0
    return min((min(positions) for positions in touched if positions), default=n_pos - 1)


def _continued(start: Opening, taps: Taps, begin: int, n_conditions: int) -> Taps:
    """Taps of whole sequences for rows that begin later."""
    prefix: dict[int, tuple[Tensor, Tensor]] = {
        layer: (
            k[:, :, :begin].repeat(n_conditions, 1, 1, 1),
            v[:, :, :begin].repeat(n_conditions, 1, 1, 1),
        )
        for layer, (k, v) in start.prefix.items()
    }
    return Taps(edits=later_queries(taps.edits, begin), prefix=prefix)


def later_queries(edits: Mapping[Site, Edit], begin: int) -> dict[Site, Edit]:
    """Edits of whole sequences for a call on the positions from `begin` on.

    Args:
        edits: By site.
        begin: How many positions the call leaves out; keys and values stay those of all.

    Returns:
        Edits that are shown only the queries from there on.
    """
    of_queries = {Site.Q, Site.SCORES, Site.PATTERN, Site.Z}
    return {
        site: _padded(edit, begin) if site in of_queries else edit for site, edit in edits.items()
    }


def _padded(edit: Edit, begin: int) -> Edit:
    """An edit of all queries for one that is shown the queries from `begin` on."""

    def padded(where: Where, tensor: Tensor) -> Any:
        return edit(where, F.pad(tensor, (0, 0, begin, 0)))[:, :, begin:]

    return padded
