"""Kills this process just before a chosen change of a folder: every step of a program in turn.

A change is a file opened to be written, or anything made, renamed, linked, removed or given other
times or permissions. What DuckDB and safetensors write themselves is none: kills at random moments
meet that.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_BESIDE = {
    "os.mkdir": 2,
    "os.rename": 2,
    "os.link": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.chmod": 2,
    "os.utime": 3,
}
"""Changes, and which argument is the descriptor of the folder that a name is relative to."""


def _place(event: str, arguments: tuple[object, ...]) -> str:
    """Where a change is made."""
    name = arguments[0]
    if isinstance(name, int):
        return str(Path(f"/proc/self/fd/{name}").readlink())
    path = os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else ""
    beside = arguments[_BESIDE[event]] if event in _BESIDE else -1
    if isinstance(beside, int) and beside >= 0:
        return str(Path(f"/proc/self/fd/{beside}").readlink() / path)
    return path


def die_at_change(folder: Path, last: int) -> None:
    """Count the changes of a folder from now on, and never make change `last`, from 1."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            flags = arguments[2]
            changes = isinstance(flags, int) and bool(flags & _WRITING)
            inside = not os.path.isabs(str(arguments[0]))  # noqa: PTH117 - its folder is not told
        else:
            changes, inside = event in _BESIDE, False
        if changes and (inside or _place(event, arguments).startswith(str(folder))):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
