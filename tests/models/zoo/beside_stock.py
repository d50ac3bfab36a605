"""What the program computes of a model, beside what stock eager attention computes of it.

Every check answers how far off something is, by name; 0 is right, and `BAR` is the most that sums
in another order can do. A `UserError` says that the model lacks what is asked, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Site, Taps, Where
from analysis.interventions import NOTHING, Head, Intervention, Method, taps
from analysis.interventions.passes.tapping import Block, block_taps
from analysis.interventions.stand_ins import read_z
from analysis.models.load import Model, hidden_states, unembed
from analysis.models.parts.look import off

BAR = 1e-3
"""Of the spread of what is expected."""
N_POS = 13
"""Longer than any window, chunk or index of the tiny models."""
LENGTHS = (5, N_POS, 40)

Gaps = dict[str, float]
Check = Callable[["Pair"], Gaps]


@dataclass(frozen=True)
class Pair:
    """A model as the program has it, and as transformers has it."""

    model: Model
    stock: nn.Module

    @cached_property
    def ids(self) -> Int[Tensor, "row pos"]:
        """Tokens that are nobody's special ones."""
        return tokens(N_POS)

    @cached_property
    def attending(self) -> tuple[int, ...]:
        """Layers that attend."""
        return tuple(i for i, n in enumerate(self.model.card.heads_by_layer) if n)

    @cached_property
    def writers(self) -> dict[int, nn.Module]:
        """By layer, the output projection of the stock model."""
        names = {module: name for name, module in self.model.net.named_modules()}
        return {i: self.stock.get_submodule(names[self.model.writer(i)]) for i in self.attending}

    @cached_property
    def given(self) -> dict[int, Float[Tensor, "row pos head d_head"]]:
        """By layer, what the stock model's output projection reads."""
        kept: dict[int, Tensor] = {}

        def keep(layer: int) -> Any:
            def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
                n_heads = self.model.card.heads_by_layer[layer]
                n_pos = self.ids.shape[1]
                kept[layer] = args[0].reshape(len(self.ids), n_pos, n_heads, -1)

            return hook

        with ExitStack() as hooks:
            for layer, writer in self.writers.items():
                hooks.callback(writer.register_forward_pre_hook(keep(layer)).remove)
            logits_of(self.stock, self.ids)
        return kept

    @cached_property
    def seen(self) -> dict[Site, dict[int, Tensor]]:
        """q, k, v and z of every layer of ours, and its pattern."""
        sites = (Site.Q, Site.K, Site.V, Site.Z, Site.PATTERN)
        found: dict[Site, dict[int, Tensor]] = {site: {} for site in sites}

        def keep(site: Site) -> Any:
            def edit(where: Where, tensor: Tensor) -> Tensor:
                found[site][where.layer] = tensor.clone()
                return tensor

            return edit

        logits_of(self.model.net, self.ids, taps=Taps(edits={site: keep(site) for site in sites}))
        return found


def tokens(n_pos: int, n_rows: int = 3) -> Int[Tensor, "row pos"]:
    """Random ids that no tiny model means something by."""
    return torch.randint(3, 120, (n_rows, n_pos), generator=torch.Generator().manual_seed(n_pos))


def logits_of(net: nn.Module, ids: Tensor, **kwargs: Any) -> Tensor:
    """Logits of a pass without a cache."""
    with torch.no_grad():
        return net(ids, use_cache=False, **kwargs).logits


def logits(pair: Pair) -> Gaps:
    """The same as they are, watched, and from hidden states; short and past every window."""
    found: Gaps = {}
    watched = Taps(watch=lambda _where, _pattern: None)
    for n_pos in LENGTHS:
        ids = tokens(n_pos)
        expected = logits_of(pair.stock, ids)
        found[f"{n_pos} tokens"] = off(logits_of(pair.model.net, ids), expected)
        found[f"{n_pos} tokens, watched"] = off(
            logits_of(pair.model.net, ids, taps=watched), expected
        )
        with torch.no_grad():
            made = unembed(pair.model, hidden_states(pair.model, ids, Taps()))
        found[f"{n_pos} tokens, unembedded"] = off(made, expected)
    return found


def patterns(pair: Pair) -> Gaps:
    """Those that stock reports, up to the share of a sink, which it may leave out; all causal."""
    seen = pair.seen[Site.PATTERN]
    with torch.no_grad():
        told = pair.stock(pair.ids, use_cache=False, output_attentions=True).attentions
    told = [each for each in told or () if each is not None]
    found = {
        "ahead": max(float(p.triu(1).abs().max()) for p in seen.values()),
        "sums beyond 1": max(float((p.sum(-1) - 1).clamp(min=0).max()) for p in seen.values()),
    }
    if len(told) == len(seen) and all(t.ndim == 4 for t in told):
        found["unlike stock"] = max(
            largest(_shares(p) - _shares(t[..., -p.shape[-1] :]))
            for p, t in zip(seen.values(), told, strict=True)
        )
    return found


def _shares(pattern: Tensor) -> Tensor:
    return pattern / pattern.sum(-1, keepdim=True).clamp(min=1e-9)


def largest(tensor: Tensor) -> float:
    """The largest number, whatever its sign; infinite for none."""
    largest = tensor.abs().max()
    return float(largest) if largest.isfinite() else float("inf")


def causality(pair: Pair) -> Gaps:
    """Another token changes nothing before it."""
    base, found = logits_of(pair.model.net, pair.ids), 0.0
    for at in (1, N_POS // 2, N_POS - 1):
        other = pair.ids.clone()
        other[:, at] = other[:, at].roll(1) + 1
        found = max(found, off(logits_of(pair.model.net, other)[:, :at], base[:, :at]))
    return {"leak": found}


def heads(pair: Pair) -> Gaps:
    """z is what stock's W_O reads; all heads together write what it writes."""
    found: Gaps = {}
    for layer in pair.attending:
        given, writer = pair.given[layer], pair.writers[layer]
        z = pair.seen[Site.Z][layer]
        found[f"z {layer}"] = off(z.transpose(1, 2), given)
        with torch.no_grad():
            wrote = writer(given.flatten(2))
        made = torch.einsum("rhpd,hdm->rpm", z, pair.model.W_O(layer)) + pair.model.b_O(layer)
        found[f"sum {layer}"] = off(made, wrote)
        if pair.model.holds.plain[layer]:
            attended = pair.seen[Site.PATTERN][layer] @ pair.seen[Site.V][layer]
            found[f"pattern times values {layer}"] = off(attended, z)
    read = read_z(pair.model, pair.ids)
    for layer, given in pair.given.items():
        n_heads, width = given.shape[-2:]
        found[f"read {layer}"] = off(read[layer, :, :n_heads, :, :width].transpose(1, 2), given)
    return found


def zeroing(pair: Pair) -> Gaps:
    """Zeroing a head is zeroing its slice of what stock's W_O reads; each head in a row."""
    found: Gaps = {}
    for layer in pair.attending:
        n_heads = pair.model.card.heads_by_layer[layer]
        ids = pair.ids[:1].expand(n_heads, -1)

        def silence(_module: nn.Module, args: tuple[Tensor, ...], n: int = n_heads) -> Any:
            z = args[0].clone()
            z.view(n, N_POS, n, -1)[torch.arange(n), :, torch.arange(n)] = 0
            return (z, *args[1:])

        handle = pair.writers[layer].register_forward_pre_hook(silence)
        expected = logits_of(pair.stock, ids)
        handle.remove()
        rows = [slice(head, head + 1) for head in range(n_heads)]
        blocks = [
            Block(row, (_one(Method.ZERO, Head(layer, head)),), row)
            for head, row in enumerate(rows)
        ]
        zeroed = logits_of(pair.model.net, ids, taps=block_taps(blocks, NOTHING))
        found[f"layer {layer}"] = off(zeroed, expected)
    return found


def _one(method: Method, head: Head, positions: tuple[int, ...] | None = None) -> Intervention:
    return Intervention(method=method, heads=(head,), positions=positions)


def methods(pair: Pair) -> Gaps:
    """z by the definition of a method, made of the pattern and the values that were seen."""
    found: Gaps = {}
    keys = (2, 5)
    for layer in sorted({pair.attending[0], pair.attending[-1]}):
        if not pair.model.holds.plain[layer]:
            continue
        pattern, v = (pair.seen[site][layer][:, 0] for site in (Site.PATTERN, Site.V))
        hidden = pattern.clone()
        hidden[..., keys] = 0
        left = 1 - (pattern - hidden).sum(-1, keepdim=True)
        seen = (pattern > 0).float()
        silent = v.clone()
        silent[:, list(keys)] = 0
        expected = {
            Method.MASK_KEY: (hidden / left.clamp(min=1e-9)) @ v,
            Method.UNIFORM: (seen / seen.sum(-1, keepdim=True).clamp(min=1)) @ v,
            Method.ZERO_VALUE: pattern @ silent,
        }
        for method, z in expected.items():
            one = _one(method, Head(layer, 0), None if method is Method.UNIFORM else keys)
            got: list[Tensor] = []

            def keep(where: Where, tensor: Tensor, at: int = layer, got: Any = got) -> Tensor:
                if where.layer == at:
                    got.append(tensor[:, 0])
                return tensor

            edits = {**taps([one], NOTHING, len(pair.ids)).edits, Site.Z: keep}
            logits_of(pair.model.net, pair.ids, taps=Taps(edits=edits))
            known = (left[..., 0] > 1e-2)[..., None]  # what is left is the rest of a subtraction
            found[f"{method.value} {layer}"] = off(got[0] * known, z * known)
    return found


CHECKS: Mapping[str, Check] = {
    check.__name__: check for check in (logits, patterns, causality, heads, zeroing, methods)
}
