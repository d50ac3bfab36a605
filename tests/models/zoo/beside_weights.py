"""Weights beside what heads really read and write, and what arrives of it at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from analysis.attention import Site, Taps
from analysis.models.load import hidden_states
from analysis.models.parts.anatomy import first, given_stream, with_first
from analysis.models.parts.look import off
from analysis.models.projections import folded, projections, surroundings

from .beside_stock import Check, Gaps, Pair, largest, logits_of


def weights(pair: Pair) -> Gaps:
    """W_Q, W_K and W_V make of what attention reads what heads have at position 0; W_V anywhere."""
    found: Gaps = {}
    for layer in pair.attending:
        parts = projections(pair.model, layer)
        read = _given(pair, pair.model.attentions[layer])
        for site, part in parts.items():
            made = torch.einsum("rpm,hmd->rhpd", read, part.W) + part.b[:, None]
            seen = pair.seen[site][layer]
            if site is Site.V:
                found[f"v {layer}"] = off(made, seen)
            else:
                found[f"{site.value} {layer}"] = _scaled(made[:, :, 0], seen[:, :, 0])
    return found


def _scaled(made: Tensor, seen: Tensor) -> float:
    """How far rows of each head are from multiples of others, plus what a norm's bias adds."""
    worst = 0.0
    for one, other in zip(made.double().unbind(1), seen.double().unbind(1), strict=True):
        n_rows, width = one.shape
        factors = torch.zeros(n_rows, width, n_rows).double()
        factors[torch.arange(n_rows), :, torch.arange(n_rows)] = one
        added = torch.eye(width).double().expand(n_rows, -1, -1)
        system = torch.cat([factors, added], dim=-1).flatten(0, 1)
        fit = system @ torch.linalg.lstsq(system, other.flatten()[:, None]).solution
        worst = max(worst, off(fit[:, 0], other.flatten()))
    return worst


def norms(pair: Pair) -> Gaps:
    """Weights with the norm before them folded in read what the norm reads; else the stream."""
    found: Gaps = {}
    for layer in pair.attending:
        norm, attention = surroundings(pair.model, layer).before, pair.model.attentions[layer]
        stream, read = (
            _given(pair, module) for module in (norm or pair.model.layers[layer], attention)
        )
        shape = (2, pair.model.card.d_model, 8)
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(4))
        through = torch.einsum("rpm,hmd->rhpd", stream, folded(weight, norm))
        with torch.no_grad():
            bias = 0 if norm is None else norm(torch.zeros_like(stream))
        direct = torch.einsum("rpm,hmd->rhpd", read - bias, weight)
        found[f"layer {layer}"] = _turned(direct, through)
    return found


def _given(pair: Pair, module: nn.Module | None) -> Tensor:
    """What a module of ours reads, in its last call."""
    assert module is not None
    kept: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept.append(given_stream(args, kwargs))

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    logits_of(pair.model.net, pair.ids)
    handle.remove()
    return kept[-1]


def _turned(a: Tensor, b: Tensor) -> float:
    """How far vectors are from being multiples of others: 1 minus the cosine."""
    if a.shape != b.shape:
        return float("inf")
    cosine = F.cosine_similarity(a.double(), b.double(), dim=-1)
    return largest(1 - cosine.abs().clamp(max=1))


class Held:
    """A pass in which no part answers to what attention adds: what arrives, arrives by itself.

    Every part of every layer answers what it did, detached, and zeros that ask for a gradient are
    added to what each attention writes. So a gradient by them is what reads them at the end.
    """

    def __init__(self, pair: Pair) -> None:
        model = pair.model
        self.zeros: dict[int, Tensor] = {}
        self.end: Tensor
        targets = {
            surroundings(model, layer).after or model.writer(layer): layer
            for layer in pair.attending
        }
        inner = {part for target in targets for part in target.modules()} - set(targets)
        leaves = [
            part
            for layer in model.layers
            for part in layer.modules()
            if part in targets or not (list(part.children()) or part in inner or _passes(part))
        ]

        def answer(module: nn.Module, _args: Any, output: Any) -> Any:
            output = _detached(output)
            if module not in targets:
                return output
            layer, plain = targets[module], first(output)
            self.zeros[layer] = torch.zeros_like(plain, requires_grad=True)
            changed = plain + self.zeros[layer]
            return with_first(output, changed)

        def ended(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.end = args[0]

        with ExitStack() as hooks, torch.enable_grad():
            for part in leaves:
                hooks.callback(part.register_forward_hook(answer).remove)
            hooks.callback(model.final_norm.register_forward_pre_hook(ended).remove)
            hidden_states(model, pair.ids, Taps())

    def reads(self, read: Float[Tensor, "row pos d_model"]) -> dict[int, Tensor]:
        """By layer, what reads an addition there that something reads before the final norm."""
        none = torch.zeros_like(read)
        found: Sequence[Tensor | None] = [None] * len(self.zeros)
        if self.end.requires_grad:
            made = (self.end * read).sum()
            found = torch.autograd.grad(
                made, list(self.zeros.values()), allow_unused=True, retain_graph=True
            )
        return {
            layer: none if one is None else one
            for layer, one in zip(self.zeros, found, strict=True)
        }


def _passes(part: nn.Module) -> bool:
    """Whether what a part answers is what it was given, which is no part's own doing."""
    return isinstance(part, (nn.Dropout, nn.Identity))


def _detached(output: Any) -> Any:
    if isinstance(output, (tuple, list)):
        return type(output)(map(_detached, output))
    return output.detach().clone() if isinstance(output, Tensor) else output


def shares(pair: Pair) -> Gaps:
    """What share of an addition arrives at the final norm: what was measured at load."""
    held = Held(pair)
    read = torch.randn(held.end.shape, generator=torch.Generator().manual_seed(2))
    return {
        f"layer {layer}": off(found, share * read)
        for layer, found in held.reads(read).items()
        if (share := pair.model.holds.adds[layer]) is not None
    }


CHECKS: Mapping[str, Check] = {check.__name__: check for check in (weights, norms, shares)}
