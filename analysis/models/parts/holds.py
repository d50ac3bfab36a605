"""What holds of a model, measured when it is loaded: no number is believed because of a name.

What does not hold of a model at all is a refusal; what holds of some layers is written down, and
whoever needs it asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from analysis.attention import Site, Taps, Where, edit_z_late
from analysis.errors import UserError
from analysis.models.files.card import ModelCard

from .adds import adds
from .anatomy import Anatomy
from .look import SHORT, TOLERANCE, Look, hidden_of, leaves, off, shown_logits


@dataclass(frozen=True)
class Logits:
    """How logits come from what the final norm answers: `cap(scale W_U hidden + bias b_U)`."""

    scale: float
    bias: float
    cap: float | None

    def of(
        self, unembedding: nn.Linear, hidden: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_vocab"]:
        """The logits of normed hidden states."""
        logits: Tensor = unembedding(hidden)
        if self.scale != 1:
            added: Tensor | None = getattr(unembedding, "bias", None)
            logits = logits * self.scale
            if added is not None and self.bias != self.scale:
                logits = logits + added * (self.bias - self.scale)
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


@dataclass(frozen=True)
class Holds:
    """What was measured of a model."""

    logits: Logits
    adds: tuple[float | None, ...]
    """By layer, how much of what its attention adds arrives at the final norm while all else is
    held: 1 in most models; None if it is no share of it that arrives, or if nothing attends."""
    plain: tuple[bool, ...]
    """By layer, whether W_O reads what the pattern takes from the values, and nothing stands
    between; False for a layer that does not attend."""


def measured(
    net: nn.Module,
    found: Anatomy,
    card: ModelCard,
    tokens: Int[Tensor, "row pos"],
    stock: Float[Tensor, "row some_pos d_vocab"],
) -> Holds:
    """Measure a switched model.

    Args:
        net: The model, switched to our attention.
        found: Its parts.
        card: Its sizes.
        tokens: The probe.
        stock: `shown_logits` of it, before the model was switched.

    Returns:
        What holds.

    Raises:
        UserError: Something does not hold without which every number would be wrong.
    """

    def refuse(expected: str, got: str) -> UserError:
        return UserError(f"expected {expected}, {card.architecture} {got}; choose another model")

    attend = [i for i, block in enumerate(found.blocks) if block.attention is not None]
    _check_equal(net, found, card, tokens, stock, refuse)
    tokens = tokens[:, :SHORT]
    look = Look(net, found, tokens)
    fast = look.logits(Taps())
    look.keep_z()
    if sorted(look.z) != attend:
        raise refuse("z of every layer that attends", f"shows that of {len(look.z)} layers")
    plain = tuple(_plain(look, i) for i in range(len(found.blocks)))
    heads = tuple(look.z[i].shape[1] if i in look.z else 0 for i in range(len(found.blocks)))
    if heads != card.heads_by_layer:
        raise refuse(f"{card.heads_by_layer} heads in its layers", f"shows {heads}")
    _check_slices(look, attend, refuse)
    changed = tokens.clone()
    changed[:, -1] = tokens[:, 0]
    if off(look.logits(Taps(), changed)[:, :-1], fast[:, :-1]) > TOLERANCE:
        raise refuse("predictions from earlier tokens only", "lets later tokens change them")
    for layer in attend:
        block = found.blocks[layer]
        if not plain[layer] and block.attention is not None and block.projection is not None:
            edit_z_late(block.attention, block.projection)
    return Holds(_logits(look, card, fast, refuse), adds(look), plain)


def _check_equal(
    net: nn.Module, found: Anatomy, card: ModelCard, tokens: Tensor, stock: Tensor, refuse: Any
) -> None:
    """Make sure that both ways through our attention give the stock's logits, and look back only.

    Patterns are looked at one after the other: all of a long probe would not fit.
    """
    attend = {i for i, block in enumerate(found.blocks) if block.attention is not None}
    seen: dict[int, int] = {}
    ahead: list[bool] = []

    def watch(where: Where, pattern: Tensor) -> None:
        seen[where.layer] = pattern.shape[-1]
        ahead.append(bool(pattern.triu(1).any()))

    for name, taps in (("watched", Taps(watch=watch)), ("as it is", Taps())):
        logits = shown_logits(net, found.unembedding, tokens, taps=taps)
        if seen.keys() != attend:
            raise refuse(
                "attention that can be watched in every layer that attends",
                f"shows it in {len(seen)} of {len(attend)}",
            )
        gap = off(logits, stock)
        if gap > TOLERANCE:
            raise refuse(
                "the logits of transformers' own attention",
                f"gives others when {name} (off by {gap:.2g} spreads)",
            )
    n_keys, n_pos = max(seen.values()), tokens.shape[1]
    if n_keys != n_pos:
        raise refuse("one key for each token", f"has {n_keys} keys for {n_pos} tokens")
    if any(ahead):
        for key, value in leaves(card.config):
            if "window" in key and type(value) is int and value < 1:  # it hides every token
                raise refuse("windows of at least one token", f"has one of {value} as {key}")
        raise refuse("patterns that look back only", "looks ahead")


def _plain(look: Look, layer: int) -> bool:
    """Whether W_O reads z as it is."""
    if layer not in look.z:
        return False
    return _same(look.given[layer], look.z[layer].transpose(1, 2).flatten(2))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() and torch.equal(a.flatten(), b.flatten())


def _check_slices(look: Look, attend: list[int], refuse: Any) -> None:
    """Make sure that every head has a slice of what W_O reads to itself.

    There is nothing in it where a head is silenced, or writes nothing by itself; all else stays.
    """

    def silence(_where: Where, pattern: Tensor) -> Tensor:
        silent = pattern.clone()
        silent[:, ::2] = 0
        return silent

    whole = dict(look.given)
    look.logits(Taps(edits={Site.PATTERN: silence}))
    for layer in attend:
        n_heads = look.z[layer].shape[1]
        if whole[layer].shape[-1] % n_heads:
            raise refuse("as many entries for each head before W_O", "has another number")
        speaks = look.z[layer].abs().amax((0, 2, 3)) > 0
        before, after = (_filled(given[layer], n_heads) for given in (whole, look.given))
        odd = torch.arange(n_heads, device=before.device) % 2 == 1
        if bool((before & ~speaks).any()) or not torch.equal(after, before & odd):
            raise refuse("a slice of what W_O reads for each head", f"mixes heads in layer {layer}")


def _filled(given: Tensor, n_heads: int) -> Bool[Tensor, " head"]:
    """The slices of what W_O reads in which there is anything."""
    return given.unflatten(-1, (n_heads, -1)).abs().flatten(0, -3).amax((0, -1)) > 0


def _logits(look: Look, card: ModelCard, expected: Tensor, refuse: Any) -> Logits:
    """How logits come from what the final norm answers."""
    head = look.found.unembedding
    with torch.no_grad():
        parts = (look.found.final_norm, head)
        hidden = hidden_of(look.net, parts, look.tokens, use_cache=False, taps=Taps())
        bare = nn.functional.linear(hidden, head.weight)
        caps = [
            v for k, v in leaves(card.config) if "cap" in k and isinstance(v, (int, float)) and v
        ]
        for cap in (None, *dict.fromkeys(map(float, caps))):
            linear = expected if cap is None else _uncapped(expected, cap)
            scale = _scale(bare, linear, head.bias)
            for bias in dict.fromkeys((1.0, scale)):
                found = Logits(scale, bias, cap)
                if off(found.of(head, hidden), expected) <= TOLERANCE:
                    return found
    raise refuse("logits that are a product of the normed residual stream", "makes them otherwise")


def _uncapped(logits: Tensor, cap: float) -> Tensor:
    return torch.atanh((logits.double() / cap).clamp(-1 + 1e-9, 1 - 1e-9)) * cap


def _scale(bare: Tensor, logits: Tensor, bias: Tensor | None) -> float:
    """The factor of a product among logits, which may hold a bias too."""
    x, y = bare.double().flatten(), logits.double().flatten()
    columns = [x] if bias is None else [x, bias.double().expand(bare.shape).flatten()]
    small = y.abs() <= y.abs().median()  # far from any cap
    made = torch.stack(columns, dim=-1)[small]
    scale = float(torch.linalg.lstsq(made, y[small, None]).solution[0, 0])
    return 1.0 if abs(scale - 1) < 1e-5 else scale
