"""Processes that a build starts end with it, however it ends: nobody waits for what they make."""

from __future__ import annotations

import os
import signal
import threading


def end_with_parent() -> None:
    """End this process once the one that holds the other end of its stdin is gone.

    A killed build could not tell its workers; they would go on writing where the next one writes.
    """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else `stty tostop` holds what prints for ever
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)
