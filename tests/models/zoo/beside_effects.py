"""Effects of single heads, by gradients of the model itself and by stock models."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attention import Site, Taps
from analysis.interventions import (
    Method,
)
from analysis.interventions.attribution import estimated_loss_change
from analysis.interventions.direct import direct_effects
from analysis.interventions.passes.staircase import trace
from analysis.interventions.passes.sweep import Source
from analysis.models.load import check_plain, hidden_states, unembed
from analysis.models.parts.anatomy import first
from analysis.models.parts.look import off
from analysis.models.projections import surroundings, written_weights
from analysis.studies.atlas.copying import ov_copy_scores
from analysis.studies.circuit.composition import compositions, factors
from analysis.studies.circuit.passes import check_adds

from .beside_passes import losses, silent
from .beside_stock import N_POS, Check, Gaps, Pair, logits_of, tokens
from .beside_weights import Held


def _frozen(norm: nn.Module, at: Tensor, read: Tensor) -> Tensor:
    """What reads before a norm as something reads after it, if its scale stays.

    By coordinate, what the norm answers over what it was given, centred if it centres, is its
    gain over its scale.
    """
    with torch.no_grad():
        bias = norm(torch.zeros_like(at[:1, :1]))
        centres = off(norm(at + at.abs().max()), norm(at)) < 1e-2
        given = at - at.mean(-1, keepdim=True) if centres else at
        back = read * (norm(at) - bias) / given
        return back - back.mean(-1, keepdim=True) if centres else back


def direct(pair: Pair) -> Gaps:
    """Direct effects: the model itself reads what a head writes, all else as it is."""
    model, ids = pair.model, pair.ids
    got = direct_effects(model, ids.numpy().astype(np.int32), 9, silent).top1
    held = Held(pair)
    with torch.no_grad():
        top1 = unembed(model, hidden_states(model, ids, Taps())).argmax(-1)
        base = trace(model, ids, pair.attending)
    reads = held.reads(_frozen(model.final_norm, held.end.detach(), model.W_U[top1]))
    spread = max(float(np.nanmax(np.abs(got))), 1e-6)
    found: Gaps = {}
    for layer in pair.attending:
        norm, read = surroundings(model, layer).after, reads[layer]
        if norm is not None:
            read = _frozen(norm, base.attn_out[layer], read)
        effects = torch.einsum("rhpd,hdm,rpm->hrp", -base.z[layer], model.W_O(layer), read)
        gap = np.abs(got[layer, : len(effects)] - effects.mean(-1).numpy()).max()
        found[f"layer {layer}"] = float(gap) / spread
    return found


def paths(pair: Pair) -> Gaps:
    """Where a path can be patched, an addition enters a later layer as it is."""
    check_adds(pair.model)
    held = Held(pair)
    read = torch.randn(held.end.shape, generator=torch.Generator().manual_seed(3))
    return {f"layer {layer}": off(found, read) for layer, found in held.reads(read).items()}


def composed(pair: Pair) -> Gaps:
    """Compositions are norms of whole products of weights."""
    check_plain(pair.model)
    low, high = pair.attending[0], pair.attending[-1]
    earlier, later = factors(pair.model, low), factors(pair.model, high)
    found: Gaps = {}
    ov = earlier.read[Site.V][0] @ earlier.write[0]
    qk = later.read[Site.Q][0] @ later.read[Site.K][0].T
    read = {Site.Q: qk, Site.K: qk.T, Site.V: later.read[Site.V][0] @ later.write[0]}
    for site, circuit in read.items():
        expected = (ov @ circuit).norm() / (ov.norm() * circuit.norm())
        got = compositions(earlier, later, site)
        found[site.value] = float((got[0, 0] - expected).abs())
        found[f"{site.value} beyond 0 and 1"] = float((got - got.clamp(0, 1)).abs().max())
    return found


def copying(pair: Pair) -> Gaps:
    """Copy scores: what stock's heads read of a token that is alone, in W_U's own direction."""
    model, ids = pair.model, torch.tensor([[5], [6], [7]])
    got, gained = ov_copy_scores(model, ids[:, 0].tolist())
    real = np.arange(model.card.n_heads) < np.array(model.card.heads_by_layer)[:, None]
    found = {"finite": 0.0 if np.isfinite([got[:, real], gained[:, real]]).all() else float("inf")}
    for layer, z in _alone(pair, ids).items():
        if not model.holds.plain[layer]:  # a gate may read the pattern's sink too
            continue
        expected = torch.einsum(
            "thd,hdm,tm->th", z, written_weights(model, layer), model.W_U[ids[:, 0]]
        )
        found[f"layer {layer}"] = off(
            torch.from_numpy(got[:, layer, : z.shape[1]]), expected.double()
        )
    return found


def _alone(pair: Pair, ids: Tensor) -> dict[int, Float[Tensor, "token head d_head"]]:
    """z of stock's heads, if every layer reads what layer 0 makes of a token with its heads off."""
    names = {module: name for name, module in pair.model.net.named_modules()}
    layers = [pair.stock.get_submodule(names[layer]) for layer in pair.model.layers]
    start: list[Tensor] = []
    kept: dict[int, Tensor] = {}

    def put(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (start[0], *args[1:]), kwargs
        return args, kwargs | {"hidden_states": start[0]}

    def keep(layer: int) -> Any:
        return lambda _module, args: kept.update({layer: args[0].reshape(len(ids), -1)})

    with ExitStack() as hooks:
        hooks.callback(
            layers[0].register_forward_hook(lambda _m, _a, out: start.append(first(out))).remove
        )
        if 0 in pair.writers:
            nothing = pair.writers[0].register_forward_pre_hook(
                lambda _module, args: (torch.zeros_like(args[0]), *args[1:])
            )
            hooks.callback(nothing.remove)
        logits_of(pair.stock, ids)
    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_pre_hook(put, with_kwargs=True).remove)
        for at, writer in pair.writers.items():
            hooks.callback(writer.register_forward_pre_hook(keep(at)).remove)
        logits_of(pair.stock, ids)
    shares = _sinks(pair, start[0], ids)
    n_heads = pair.model.card.heads_by_layer
    return {
        layer: z.unflatten(-1, (n_heads[layer], -1)) / shares[layer][..., None]
        for layer, z in kept.items()
    }


def _sinks(pair: Pair, start: Tensor, ids: Tensor) -> dict[int, Float[Tensor, "token head"]]:
    """How much of its attention a token that is alone has for itself; a sink has the rest."""
    shares: dict[int, Tensor] = {}

    def put(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (start, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": start}

    def watch(where: Any, pattern: Tensor) -> None:
        shares[where.layer] = pattern[:, :, 0, 0]

    with ExitStack() as hooks:
        for layer in pair.model.layers:
            hooks.callback(layer.register_forward_pre_hook(put, with_kwargs=True).remove)
        logits_of(pair.model.net, ids, taps=Taps(watch=watch))
    return shares


def gradient(pair: Pair) -> Gaps:
    """The estimate for zeroing is minus the slope of stock's loss along a scale of each head."""
    ids = tokens(N_POS, 2)
    source = Source(means=None, donor_of=None)
    got = estimated_loss_change(
        pair.model, ids.numpy().astype(np.int32), Method.ZERO, source, 9, silent
    )
    n_heads = pair.model.card.heads_by_layer
    scale = {i: torch.ones(2, 1, n_heads[i], 1, requires_grad=True) for i in pair.attending}

    def scaled(layer: int) -> Any:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> Any:
            z = args[0].reshape(2, N_POS, n_heads[layer], -1) * scale[layer]
            return (z.reshape(args[0].shape), *args[1:])

        return hook

    with ExitStack() as hooks, torch.enable_grad():
        for layer, writer in pair.writers.items():
            hooks.callback(writer.register_forward_pre_hook(scaled(layer)).remove)
        answered = pair.stock(ids, use_cache=False).logits
        slopes = torch.autograd.grad(losses(answered, ids).mean(1).sum(), list(scale.values()))
    found = [torch.from_numpy(got[i, : n_heads[i]]).T.flatten() for i in scale]
    expected = [-slope.flatten().double() for slope in slopes]
    return {"all heads": off(torch.cat(found), torch.cat(expected))}


CHECKS: Mapping[str, Check] = {
    check.__name__: check for check in (direct, paths, composed, copying, gradient)
}
