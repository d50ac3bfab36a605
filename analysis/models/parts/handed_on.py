"""Taps that reach attention although what lies between a model and its attention drops them.

Not every model, and not every layer, hands on keyword arguments that it does not know. Hooks take
`taps` out of a call of the model, or of one of its layers, and hold them while that call lasts.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

from torch import nn

from analysis.attention import Taps

from .anatomy import Block

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def hand_on(net: nn.Module, blocks: Sequence[Block]) -> None:
    """Let a model, and each of its layers alone, take `taps` for our attention function.

    Args:
        net: A model that was switched to it; hooks are put on its modules.
        blocks: The parts of its layers; attention hands every keyword on to the function.
    """
    calls = Calls()
    calls.hold(net, [block.module for block in blocks])
    for block in blocks:
        if block.attention is not None:
            block.attention.register_forward_pre_hook(calls.give, with_kwargs=True)


def _frame() -> FrameType | None:
    """Python's own record of the innermost call of a module."""
    at = inspect.currentframe()
    while at is not None and at.f_code is not nn.Module.__call__.__code__:
        at = at.f_back
    return at


@dataclass
class Call:
    """A call of a module that is under way, or an edit within one."""

    module: nn.Module | None
    taps: Taps
    opened: AbstractContextManager[Any] | None = None
    """Entered already, and left when the call ends."""
    frame: FrameType | None = field(default_factory=_frame)

    @property
    def lasts(self) -> bool:
        """Whether it led here: an interruption ends a call and tells no hook."""
        at = inspect.currentframe()
        while at is not None and at is not self.frame:
            at = at.f_back
        return at is self.frame


@dataclass
class Calls:
    """The calls of one model that are under way."""

    stacks: dict[int, list[Call]] = field(default_factory=dict[int, list[Call]])

    @property
    def stack(self) -> list[Call]:
        """Those of this thread, the innermost last."""
        return self.stacks.setdefault(threading.get_ident(), [])

    @property
    def taps(self) -> Taps:
        """Those of the innermost call that is really under way."""
        while self.stack and not self.stack[-1].lasts:
            self._drop()
        return self.stack[-1].taps if self.stack else Taps()

    def hold(self, net: nn.Module, layers: Sequence[nn.Module]) -> None:
        """Take the taps of a model's calls and of its layers'; these have those of the model."""
        for module, inherits in ((net, False), *((layer, True) for layer in layers)):
            begin = partial(self._begin, inherits)
            module.register_forward_pre_hook(begin, with_kwargs=True)
            module.register_forward_hook(self.end, always_call=True)

    def give(self, _module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """A hook: the taps go into a module as a keyword argument."""
        return args, {**kwargs, "taps": self.taps}

    def end(self, module: nn.Module, _args: Args, _output: Any) -> None:
        """A hook: forget a call, and what it began inside."""
        while self._drop().module is not module:
            pass

    @contextmanager
    def apart(self) -> Generator[None]:
        """While an edit runs: models that it calls have nothing of the taps that it is of."""
        call = self.stack[-1]
        self.stack.append(Call(None, Taps()))
        try:
            yield
        finally:
            while self.stack[-1] is not call:
                self._drop()

    def _begin(
        self, inherits: bool, module: nn.Module, args: Args, kwargs: Kwargs
    ) -> tuple[Args, Kwargs]:
        around = self.taps
        taps = kwargs.get("taps") or (around if inherits else Taps())
        self.stack.append(Call(module, taps))
        return args, {name: value for name, value in kwargs.items() if name != "taps"}

    def _drop(self) -> Call:
        call = self.stack.pop()
        if call.opened is not None:
            call.opened.__exit__(None, None, None)
        return call
