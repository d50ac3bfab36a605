"""Modules of ours in processes of their own, which import nothing from the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from .inputs import CHECKOUT


def child_environment(**more: str) -> dict[str, str]:
    """What a child inherits.

    Args:
        more: Variables of its own.

    Returns:
        This process's environment, where Python finds our packages first and never looks into
        the current folder; an empty entry of PYTHONPATH would be that folder.
    """
    entries = [str(CHECKOUT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    search = os.pathsep.join(entry for entry in entries if Path(entry) != Path())
    return {**os.environ, "PYTHONPATH": search, "PYTHONSAFEPATH": "1", **more}


class Children:
    """Processes that end with the block that started them, however it ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    @contextmanager
    def started(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stderr: int | None = None,
    ) -> Generator[subprocess.Popen[str]]:
        """Run a module, in a process group of its own: a terminal's Ctrl-C is for us alone.

        Args:
            module: Ends once its stdin does, as `end_with_parent` makes it.
            arguments: Its command line.
            environment: As `child_environment` gave it.
            stderr: As for `subprocess`; its stdin and stdout are pipes.

        Yields:
            The process; it is waited for.

        Raises:
            KeyboardInterrupt: All were told to end.
        """
        with self._lock:
            if self._ended:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
                process_group=0,
            )
            self._running.add(process)
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
            finally:
                self._running.discard(process)

    def end(self) -> None:
        """Kill those that run, and start no other."""
        with self._lock:
            self._ended = True
            for process in tuple(self._running):
                process.kill()
