"""A short look at a model: tokens to look with, and passes that keep what its parts hand on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Site, Taps, Where
from analysis.errors import UserError
from analysis.models.files.card import ModelCard

from .anatomy import Anatomy

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


def probe(card: ModelCard) -> Int[Tensor, "row pos"]:
    """Tokens to look at a model with: random ones, longer than every window that it names.

    Raises:
        UserError: All tokens are special, or all but one: nothing could change with them.
    """
    lengths = [
        value
        for key, value in leaves(card.config)
        if _LENGTHS.search(key) and type(value) is int and value < card.n_ctx
    ]
    special = {v for key, v in leaves(card.config) if "token" in key and type(v) is int}
    n_pos = min(card.n_ctx, _LONGEST, max([SHORT, *(n + _BEYOND for n in lengths)]))
    known = torch.tensor([i for i in range(min(card.vocab, 50_000)) if i not in special])
    if len(known) < 2:
        raise UserError(
            f"expected at least 2 tokens that are not special, {card.name} has {len(known)} of "
            f"{card.vocab}; choose another model"
        )
    drawn = torch.randint(len(known), (_N_ROWS, n_pos), generator=torch.Generator().manual_seed(0))
    return known[drawn]


def leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values of a configuration, those within others too."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value)
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


class Look:
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
