"""What share of what a layer's attention adds arrives at the final norm, measured with noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from analysis.attention import Taps

from .anatomy import first, with_first
from .look import TOLERANCE, Look, off


def adds(look: Look) -> tuple[float | None, ...]:
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


def _shares(look: Look, layers: Sequence[int]) -> list[float] | None:
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
