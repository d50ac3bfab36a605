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
_CHANGES = {
    *("os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.utime"),
}


def die_at_change(folder: Path, last: int) -> None:
    """Count the changes of a folder from now on, and never make change `last`, from 1."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            flags = arguments[2]
            changes = isinstance(flags, int) and bool(flags & _WRITING)
        else:
            changes = event in _CHANGES
        if changes and str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
