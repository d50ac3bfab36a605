"""A process that imports once and forks for every task: what workers of the tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable


def say(*words: object) -> None:
    """One line, at once and whole."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def forks(work: Callable[..., None]) -> None:
    """One fork for every line on stdin, whose words are what the work is asked for.

    Prints `ready`, and when a fork is gone `gone <status>`: 0, minus the signal that killed it, or
    1 where the work failed.
    """
    say("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(*line.split())
            os._exit(0)
        say("gone", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
