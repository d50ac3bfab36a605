"""Whether what a model keeps of earlier positions still holds when a sequence gets longer.

Some rotary factors depend on how long the whole sequence is (LongRoPE): keys that were kept from
before they change are not those of the longer sequence.
"""

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Site, Taps, Where
from analysis.interventions.passes.endings import continues
from analysis.models.load import Model, hidden_states
from analysis.models.parts.look import TOLERANCE, off, probe

Span = tuple[int, int]
"""Two lengths of a sequence, the smaller one first."""


@dataclass(frozen=True)
class _Known:
    """What was measured of a model: between which lengths its keys stay, and do not."""

    stay: list[Span] = field(default_factory=list[Span])
    change: list[Span] = field(default_factory=list[Span])


_KNOWN: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()
_TRIED = 8
"""Positions of a sequence that is read in two parts."""
_CACHES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def caches(model: Model) -> bool:
    """Whether keys and values are all that a model keeps of earlier positions; measured once.

    Some keep more: an index of keys, or the state of layers that do not attend.
    """
    if model.net not in _CACHES:
        _CACHES[model.net] = _caches(model)
    return _CACHES[model.net]


def _caches(model: Model) -> bool:
    from transformers import DynamicCache  # noqa: PLC0415 - slow to import

    tokens = probe(model.card)[:1, :_TRIED].to(model.device)
    half, cache = tokens.shape[1] // 2, DynamicCache()
    try:
        with torch.inference_mode():
            whole = hidden_states(model, tokens, Taps())
            hidden_states(model, tokens[:, :half], Taps(), cache)
            rest = hidden_states(model, tokens[:, half:], Taps(), cache)
    except Exception:  # whatever a model says that looks for more
        return False
    return off(rest, whole[:, half:]) <= TOLERANCE


def keys_stay(model: Model, first: Int[Tensor, " pos"], n_pos: int) -> bool:
    """Whether the keys of a sequence stay what they are when it grows.

    Args:
        model: The model.
        first: The sequence.
        n_pos: How long it gets; its first token is repeated to try.

    Returns:
        Whether they differ by no more than rounding in every layer, and nothing but attention
        looks back. Lengths inside a span where
        they stay, or around one where they change, are not measured again.
    """
    if not continues(model):
        return False
    known = _KNOWN.setdefault(model.net, _Known())
    start, end = len(first), n_pos
    if start >= end or any(a <= start and end <= b for a, b in known.stay):
        return True
    if any(start <= a and b <= end for a, b in known.change):
        return False
    whole = torch.cat([first, first[:1].expand(end - start)])
    pairs = zip(_keys(model, first), _keys(model, whole), strict=True)
    rounding = torch.finfo(next(model.layers[0].parameters()).dtype).eps ** 0.5
    same = all(
        bool((b[:, :, :start] - a).abs().max() <= rounding * a.abs().max()) for a, b in pairs
    )
    (known.stay if same else known.change).append((start, end))
    return same


def _keys(model: Model, row: Int[Tensor, " pos"]) -> list[Float[Tensor, "one head pos d_head"]]:
    found: list[Tensor] = []

    def keep(_where: Where, keys: Tensor) -> Tensor:
        found.append(keys)
        return keys

    with torch.inference_mode():
        hidden_states(model, row[None], Taps(edits={Site.K: keep}))
    return found
