"""Attention that computes its own softmax, made to obey the taps of `analysis.attention`.

Some architectures call no function that could be exchanged. While their attention runs, the
functions of tensors that it calls are seen one by one: a product of queries and keys, a softmax
over keys, a product with values, then the output projection. Taps act there; nothing of a module
is copied or replaced. Hooks stay on the model, and act in calls that are given `taps` alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.attention import Site, Where
from analysis.errors import UserError

from .anatomy import Block, first, with_first
from .handed_on import Args, Call, Calls, Kwargs

_PRODUCTS = {"matmul", "__matmul__", "bmm", "baddbmm"}
_SOFTMAX = {"softmax"}
_STEPS = (_PRODUCTS, _SOFTMAX, _PRODUCTS)
_EARLIER = ("layer_past", "past_key_values")
"""What attention modules call the keys and values of earlier positions."""
_MASKED = -9000.0
"""Models mask with the lowest number there is, a part of it, minus infinity, or -10,000."""


def attend(net: nn.Module, blocks: Sequence[Block], n_heads: Sequence[int]) -> None:
    """Let a model, and each of its layers alone, take `taps` as if it called our function.

    Edits and watchers raise a `UserError` in a call if attention is not one product, one softmax
    over keys and one product, of as many heads; `Taps.prefix` does where it takes no earlier keys.

    Args:
        net: A model with eager attention; hooks are put on its modules.
        blocks: The parts of its decoder layers.
        n_heads: Query heads of each layer.
    """
    calls = Calls()
    calls.hold(net, [block.module for block in blocks])
    for layer, (block, heads) in enumerate(zip(blocks, n_heads, strict=True)):
        own, attention, projection = _Own(calls, layer, heads), block.attention, block.projection
        if attention is None or projection is None:
            continue
        attention.register_forward_pre_hook(own.begin, with_kwargs=True)
        if projection in set(attention.modules()):
            projection.register_forward_pre_hook(own.project)
        else:  # BERT's attention answers z
            attention.register_forward_hook(own.answered)
        attention.register_forward_hook(own.check)
        attention.register_forward_hook(calls.end, always_call=True)


@dataclass(frozen=True)
class _Own:
    """The attention of one layer."""

    calls: Calls
    layer: int
    n_heads: int

    def begin(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """A hook: look into attention, and put earlier keys and values in front."""
        taps = self.calls.taps
        self.calls.stack.append(call := Call(module, taps))
        if self.layer in taps.prefix:
            args, kwargs = _continued(module, args, kwargs, _Earlier(*taps.prefix[self.layer]))
        if taps.edits or taps.watch is not None:
            call.opened = _Reading(self, call)
            call.opened.__enter__()
        return args, kwargs

    def project(self, _module: nn.Module, args: Args) -> Args | None:
        """A hook: edit what the output projection reads."""
        reading = self._reading
        return None if reading is None else (reading.projected(args[0]), *args[1:])

    def answered(self, _module: nn.Module, _args: Args, output: Any) -> Any:
        """A hook: the same where the output projection stands beside the attention."""
        reading = self._reading
        if reading is None:
            return output
        return with_first(output, reading.projected(first(output)))

    def check(self, module: nn.Module, _args: Args, _output: Any) -> None:
        """A hook: attention that returned was seen through to its end."""
        if self._reading is not None and not self._reading.complete:
            raise _refusal(module)

    @property
    def _reading(self) -> _Reading | None:
        """That of the innermost call, where it is one of this attention."""
        call = self.calls.stack[-1] if self.calls.stack else None
        reading = call.opened if call is not None and call.lasts else None
        return reading if isinstance(reading, _Reading) and reading.own is self else None


@dataclass(eq=False)
class _Reading(TorchFunctionMode):
    """What taps do in one call of attention."""

    own: _Own
    call: Call
    n_steps: int = 0
    complete: bool = False
    where: Where = field(init=False)

    def __torch_function__(
        self, func: Any, types: Any, args: Args = (), kwargs: Kwargs | None = None
    ) -> Any:
        """Every function of tensors that the module calls."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in _PRODUCTS | _SOFTMAX or self.complete:
            return func(*args, **kwargs)
        given = {**dict(enumerate(args)), **kwargs}
        places = [at for at, value in given.items() if isinstance(value, Tensor)]
        places = places[-2:] if name in _PRODUCTS else places[:1]
        tensors = [given[at] for at in places]
        # Weights have two axes: a product with them is not one of activations.
        if min(t.ndim for t in tensors) < 3 or not self.call.lasts:
            return func(*args, **kwargs)
        if self.n_steps == len(_STEPS) or name not in _STEPS[self.n_steps]:
            raise _refusal(self.call.module)
        self.n_steps += 1
        given |= zip(places, self._read(tensors), strict=True)
        result = func(*[given[i] for i in range(len(args))], **{n: given[n] for n in kwargs})
        return self._attended(result) if name in _SOFTMAX else result

    def projected(
        self, z: Float[Tensor, "batch pos head_and_d_head"]
    ) -> Float[Tensor, "batch pos head_and_d_head"]:
        """What the output projection reads in place of z."""
        steps_left = len(_STEPS) - self.n_steps
        if self.complete or steps_left or len(z) != self.where.rows.stop:
            raise _refusal(self.call.module)
        self.complete = True
        by_head = z.unflatten(-1, (self.own.n_heads, -1)).transpose(1, 2)
        edited = self._edited(Site.Z, by_head)
        return z if edited is by_head else edited.transpose(1, 2).flatten(2)

    def _read(self, tensors: list[Tensor]) -> list[Tensor]:
        """What the step at hand reads in place of its tensors."""
        first, last = tensors[0], tensors[-1]
        if self.n_steps == 1:
            if first.ndim == 3 and len(first) % self.own.n_heads:
                raise _refusal(self.call.module)
            n_rows = len(_by_head(first, self.own.n_heads))
            self.where = Where(self.own.layer, slice(0, n_rows))
            query = self._edited(Site.Q, first)
            keys = self._edited(Site.K, last.transpose(-1, -2)).transpose(-1, -2)
            # Where several heads share keys, the product would lay them out so.
            return [query, keys if keys.shape == last.shape else keys.contiguous()]
        if self.n_steps == 2:
            return [self._edited(Site.SCORES, first)]
        return [first, self._edited(Site.V, last)]

    def _attended(self, pattern: Tensor) -> Tensor:
        """What stands in for the pattern, which is watched here."""
        edited = self._edited(Site.PATTERN, pattern)
        by_head = _by_head(edited, self.own.n_heads)
        if by_head.shape[:2] != (self.where.rows.stop, self.own.n_heads):
            raise _refusal(self.call.module)
        if self.call.taps.watch is not None:
            with self.own.calls.apart():
                self.call.taps.watch(self.where, by_head)
        return edited

    def _edited(self, site: Site, tensor: Tensor) -> Tensor:
        """A tensor of one matrix for each head, or what stands in for it at a site."""
        if site not in self.call.taps.edits:
            return tensor
        by_head = _by_head(tensor, self.own.n_heads)
        if site is Site.SCORES:
            by_head = _lowered(by_head)
        if site in {Site.K, Site.V}:
            by_head = by_head.repeat_interleave(self.own.n_heads // by_head.shape[1], dim=1)
        with self.own.calls.apart():
            edited = self.call.taps.edit(site, self.where, by_head)
        if edited is by_head:
            return tensor
        return _laid_out(edited.flatten(0, 1) if tensor.ndim == 3 else edited, tensor)


def _laid_out(edited: Tensor, given: Tensor) -> Tensor:
    """The same numbers, in memory as the tensor they stand in for: products round by that."""
    if edited.shape != given.shape or 0 in given.stride():
        return edited
    return torch.empty_strided(
        given.shape, given.stride(), dtype=edited.dtype, device=edited.device
    ).copy_(edited)


def _by_head(tensor: Tensor, n_heads: int) -> Float[Tensor, "batch head row column"]:
    return tensor.unflatten(0, (-1, n_heads)) if tensor.ndim == 3 else tensor


def _lowered(scores: Tensor) -> Tensor:
    """Scores whose masked ones are the lowest number there is, however the model masks."""
    lowest = torch.finfo(scores.dtype).min
    floor = scores.clamp(min=lowest).amin()
    return scores.masked_fill((scores < floor / 2) & (scores < _MASKED), lowest)


@dataclass(frozen=True)
class _Earlier:
    """Keys and values of earlier positions, as a module asks a cache for them."""

    keys: Float[Tensor, "batch head key d_head"]
    values: Float[Tensor, "batch head key d_head"]

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """All of them, one copy for each query head."""
        n_copies = self.keys.shape[1] // keys.shape[1]
        k, v = (t.repeat_interleave(n_copies, dim=1) for t in (keys, values))
        before = self.keys.to(k.dtype), self.values.to(v.dtype)
        return torch.cat((before[0], k), dim=2), torch.cat((before[1], v), dim=2)

    def get_seq_length(self) -> int:
        """How many positions are kept."""
        return self.keys.shape[2]


def _continued(
    module: nn.Module, args: Args, kwargs: Kwargs, earlier: _Earlier
) -> tuple[Args, Kwargs]:
    """How to call attention that continues from earlier positions."""
    call = inspect.signature(module.forward).bind(*args, **kwargs)
    name = next((name for name in _EARLIER if name in call.signature.parameters), None)
    if name is None:
        raise UserError(
            f"expected attention that takes keys of earlier positions, {type(module).__name__} "
            "takes none; run the model on whole sequences"
        )
    call.arguments[name] = earlier
    return call.args, call.kwargs


def _refusal(module: nn.Module | None) -> UserError:
    return UserError(
        "expected attention of one product, one softmax over keys and one product, "
        f"{type(module).__name__} computes another; choose a supported architecture"
    )
