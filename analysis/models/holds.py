"""What holds of a model, measured when it is loaded: no number is believed because of a name.

What does not hold of a model at all is a refusal; what holds of some layers is written down, and
whoever needs it asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Site, Taps, Where, edit_z_late
from analysis.errors import UserError

from .anatomy import Anatomy, first, with_first
from .card import ModelCard

TOLERANCE = 5e-4
"""Of the spread of what is expected; sums in another order stay below a tenth of it."""
_LENGTHS = re.compile(r"window|chunk|topk|top_k|extent|block_size|original_max_position")
"""Keys of a configuration that say how far a layer looks, or from where it looks otherwise."""
_LONGEST, _BEYOND = 8_192, 8
SHORT = 24
"""Positions of the probe that parts are found by; masks alone need all of them."""
_N_ROWS, _SHOWN = 2, 16
_LONG = 512
"""Beyond so many positions one row is enough."""


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


def probe(card: ModelCard) -> Int[Tensor, "row pos"]:
    """Tokens to look at a model with: random ones, longer than every window that it names."""
    lengths = [
        value
        for key, value in _leaves(card.config)
        if _LENGTHS.search(key) and type(value) is int and value < card.n_ctx
    ]
    special = {v for key, v in _leaves(card.config) if "token" in key and type(v) is int}
    n_pos = min(card.n_ctx, _LONGEST, max([SHORT, *(n + _BEYOND for n in lengths)]))
    known = torch.tensor([i for i in range(min(card.vocab, 50_000)) if i not in special])
    drawn = torch.randint(len(known), (_N_ROWS, n_pos), generator=torch.Generator().manual_seed(0))
    return known[drawn]


def _leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield key, value


def hidden_of(
    net: nn.Module,
    parts: tuple[nn.Module, nn.Module],
    tokens: Int[Tensor, "row pos"],
    **kwargs: Any,
) -> Float[Tensor, "row pos d_model"]:
    """What the final norm answers, without computing any logits.

    Args:
        net: The model.
        parts: Its final norm and its unembedding.
        tokens: Token ids.
        **kwargs: What else it is called with.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Tensor) -> None:
        kept.append(output)

    def shorten(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0][:, :0],)

    with ExitStack() as hooks:
        hooks.callback(parts[0].register_forward_hook(keep).remove)
        hooks.callback(parts[1].register_forward_pre_hook(shorten).remove)
        net(tokens, **kwargs)
    return kept[-1]


def shown_logits(
    net: nn.Module, unembedding: nn.Linear, tokens: Int[Tensor, "row pos"], **kwargs: Any
) -> Float[Tensor, "row some_pos d_vocab"]:
    """A model's logits at some positions, the first and the last among them.

    Args:
        net: The model.
        unembedding: What makes them; no others are made, which would take gigabytes.
        tokens: Of the probe; one row of it where that is long.
        **kwargs: What else the model is called with.
    """
    n_pos = tokens.shape[1]
    rows = tokens if n_pos <= _LONG else tokens[:1]
    places = torch.linspace(0, n_pos - 1, min(n_pos, _SHOWN)).long().to(tokens.device)

    def some(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (args[0][:, places],)

    with ExitStack() as hooks, torch.no_grad():
        hooks.callback(unembedding.register_forward_pre_hook(some).remove)
        return net(rows, use_cache=False, **kwargs).logits


class _Look:
    """Passes over a short probe through our attention, and what they show."""

    def __init__(self, net: nn.Module, found: Anatomy, tokens: Int[Tensor, "row pos"]) -> None:
        self.net, self.found, self.tokens = net, found, tokens
        self.z: dict[int, Tensor] = {}
        self.given: dict[int, Tensor] = {}
        self.wrote: dict[int, Tensor] = {}

    def logits(self, taps: Taps, tokens: Tensor | None = None) -> Tensor:
        """The model's logits; what W_O reads and writes is kept."""
        with ExitStack() as hooks, torch.no_grad():
            for layer, block in enumerate(self.found.blocks):
                if block.projection is not None:
                    hook = block.projection.register_forward_hook(self._keep(layer))
                    hooks.callback(hook.remove)
            ids = self.tokens if tokens is None else tokens
            return self.net(ids, use_cache=False, taps=taps).logits

    def _keep(self, layer: int) -> Any:
        def keep(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            self.given[layer], self.wrote[layer] = args[0], output

        return keep

    def keep_z(self) -> None:
        """Keep z as it is seen, and what W_O reads in the same pass."""
        self.logits(Taps(edits={Site.Z: self._keep_z}))

    def _keep_z(self, where: Where, z: Tensor) -> Tensor:
        self.z[where.layer] = z
        return z


def off(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the spread of what is expected; infinite for another shape."""
    if found.shape != expected.shape:
        return float("inf")
    gap = (found - expected).abs().max() / expected.std().clamp(min=1e-12)
    return float(gap) if gap.isfinite() else float("inf")


def reaches(net: nn.Module, tokens: Int[Tensor, "row pos"]) -> bool:
    """Whether taps that a model is called with come to its attention."""
    seen: list[int] = []

    def note(where: Where, z: Tensor) -> Tensor:
        seen.append(where.layer)
        return z

    try:
        with torch.no_grad():
            net(tokens[:, :2], use_cache=False, taps=Taps(edits={Site.Z: note}))
    except TypeError:  # a keyword that it does not know
        return False
    except ValueError:  # what else it hands over
        return True
    return bool(seen)


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
    _check_equal(net, found, tokens, stock, refuse)
    tokens = tokens[:, :SHORT]
    look = _Look(net, found, tokens)
    fast = look.logits(Taps())
    look.keep_z()
    if sorted(look.z) != attend:
        raise refuse("z of every layer that attends", f"shows that of {len(look.z)} layers")
    plain = tuple(_plain(look, i) for i in range(len(found.blocks)))
    heads = tuple(look.z[i].shape[1] if i in look.z else 0 for i in range(len(found.blocks)))
    if heads != card.heads_by_layer:
        raise refuse(f"{card.heads_by_layer} heads in its layers", f"shows {heads}")
    changed = tokens.clone()
    changed[:, -1] = tokens[:, 0]
    if off(look.logits(Taps(), changed)[:, :-1], fast[:, :-1]) > TOLERANCE:
        raise refuse("predictions from earlier tokens only", "lets later tokens change them")
    _check_slices(look, attend, refuse)
    for layer in attend:
        block = found.blocks[layer]
        if not plain[layer] and block.attention is not None and block.projection is not None:
            edit_z_late(block.attention, block.projection)
    return Holds(_logits(look, card, fast, refuse), _adds(look), plain)


def _check_equal(
    net: nn.Module, found: Anatomy, tokens: Tensor, stock: Tensor, refuse: Any
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
        raise refuse("patterns that look back only", "looks ahead")


def _plain(look: _Look, layer: int) -> bool:
    """Whether W_O reads z as it is."""
    if layer not in look.z:
        return False
    return _same(look.given[layer], look.z[layer].transpose(1, 2).flatten(2))


def _same(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() and torch.equal(a.flatten(), b.flatten())


def _check_slices(look: _Look, attend: list[int], refuse: Any) -> None:
    """Make sure that every head has a slice of what W_O reads to itself."""

    def silence(_where: Where, pattern: Tensor) -> Tensor:
        silent = pattern.clone()
        silent[:, ::2] = 0
        return silent

    with torch.no_grad():
        look.logits(Taps(edits={Site.PATTERN: silence}))
    for layer in attend:
        n_heads = look.z[layer].shape[1]
        given = look.given[layer]
        if given.shape[-1] % n_heads:
            raise refuse("as many entries for each head before W_O", "has another number")
        rest = given.unflatten(-1, (n_heads, -1)).abs().flatten(0, -3).amax((0, -1))
        if float(rest[::2].max()) > 0 or (n_heads > 1 and float(rest[1::2].min()) == 0):
            raise refuse("a slice of what W_O reads for each head", f"mixes heads in layer {layer}")


def _logits(look: _Look, card: ModelCard, expected: Tensor, refuse: Any) -> Logits:
    """How logits come from what the final norm answers."""
    head = look.found.unembedding
    with torch.no_grad():
        parts = (look.found.final_norm, head)
        hidden = hidden_of(look.net, parts, look.tokens, use_cache=False, taps=Taps())
        bare = nn.functional.linear(hidden, head.weight)
        caps = [
            v for k, v in _leaves(card.config) if "cap" in k and isinstance(v, (int, float)) and v
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


def _adds(look: _Look) -> tuple[float | None, ...]:
    """What share of an addition to each layer's attention arrives, all other parts held.

    Every layer gets noise of its own, so that one pass tells them all apart; where that fails,
    each has a pass to itself.
    """
    blocks = look.found.blocks
    attend = [i for i, block in enumerate(blocks) if block.attention is not None]
    found = _shares(look, attend)
    if found is None:
        alone = [_shares(look, [i]) for i in attend]
        found = [None if one is None else one[0] for one in alone]
    found = [
        share if _norms(blocks[layer].after, look.wrote[layer]) else None
        for layer, share in zip(attend, found, strict=True)
    ]
    return tuple(dict(zip(attend, found, strict=True)).get(i) for i in range(len(blocks)))


def _norms(after: nn.Module | None, wrote: Tensor) -> bool:
    """Whether what attention writes goes through a norm at most: the scale is nothing to it."""
    if after is None:
        return True
    try:
        with torch.no_grad():
            return off(first(after(64 * wrote)), first(after(32 * wrote))) <= 1e-2
    except (TypeError, ValueError, RuntimeError):  # it reads more than that
        return False


def _shares(look: _Look, layers: Sequence[int]) -> list[float] | None:
    """The same for some layers; None if what arrives is no sum of shares."""
    blocks = look.found.blocks
    targets: dict[nn.Module, int] = {}
    for i, block in enumerate(blocks):
        target = block.after or block.projection
        if target is not None:
            targets[target] = i
    kept: dict[nn.Module, list[Any]] = {}
    noise: dict[int, Tensor] = {}
    passes: list[list[Tensor]] = []
    generator = torch.Generator().manual_seed(1)

    def keep(module: nn.Module, _args: Any, output: Any) -> None:
        kept.setdefault(module, []).append(_own(output))

    def answer(module: nn.Module, _args: Any, _output: Any) -> Any:
        output = kept[module].pop(0)
        layer = targets.get(module)
        if layer is None or layer not in layers or layer in noise:
            return output
        plain: Tensor = first(output)
        drawn = torch.randn(plain.shape, generator=generator).to(plain) * passes[0][-1].std()
        noise[layer] = drawn
        return with_first(output, plain + drawn)

    apart = {*targets, *look.found.mixing}
    held = {*targets, *(child for block in blocks for child in _held(block.module, apart))}
    final = look.found.final_norm
    with torch.no_grad():
        for hook in (keep, answer):
            passes.append([])  # the norm may be used for more than the end
            with ExitStack() as once:
                end = final.register_forward_pre_hook(lambda _m, args: passes[-1].append(args[0]))
                once.callback(end.remove)
                for module in held:
                    once.callback(module.register_forward_hook(hook).remove)
                look.net(look.tokens, use_cache=False, taps=Taps())
    if not _norms(final, passes[0][-1]):
        return None
    came = (passes[1][-1] - passes[0][-1]).double().flatten()
    made = torch.stack([noise[i].double().flatten() for i in layers], dim=-1)
    if made.shape[0] != came.shape[0]:
        return None
    shares = torch.linalg.lstsq(made, came[:, None]).solution[:, 0]
    if off(made @ shares, came) > TOLERANCE or float(shares.abs().min()) < 1e-6:
        return None
    return [1.0 if abs(share - 1) < 1e-4 else share for share in shares.tolist()]


def _own(output: Any) -> Any:
    """A copy, since some layers add to what their parts answer in place."""
    if isinstance(output, (tuple, list)):
        return type(output)(map(_own, output))
    return output.clone() if isinstance(output, Tensor) else output


def _held(module: nn.Module, apart: set[nn.Module]) -> Iterator[nn.Module]:
    """The largest parts of a layer that compute something and hold nothing of what is apart."""
    for child in module.children():
        if isinstance(child, (nn.Dropout, nn.Identity)):
            continue
        if apart.isdisjoint(child.modules()):
            yield child
        else:
            yield from _held(child, apart)
