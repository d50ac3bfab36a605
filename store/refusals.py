"""Notes that a unit cannot be asked, so that processes that share a store do not wait for it."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from .disk import disk_errors, write_synced

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .parts import Parts

_RUN = re.compile(r"[0-9a-f]{32}")


class Refusals:
    """The part of a store that keeps these notes, in `tmp/`: swept after a day, then asked anew."""

    parts: Parts

    def refuse(self, run: str, reason: str) -> None:
        """Note that a unit cannot be asked.

        Args:
            run: Its run id.
            reason: What is wrong, in one line.

        Raises:
            StoreError: The disk refuses.
        """
        if not _RUN.fullmatch(run):
            raise ValueError(f"expected a run id of 32 hexadecimal characters, got {run!r}")
        with disk_errors(self.parts.tmp):
            aside = self.parts.aside(f"{run}.refused")
            write_synced(aside, reason.encode("utf-8", "replace"))
            aside.replace(self.parts.tmp / f"{run}.refused")

    def refused(self, runs: Iterable[str]) -> set[str]:
        """Which of some runs are noted.

        Args:
            runs: Run ids.

        Returns:
            Those that a process could not ask within the last day.
        """
        noted = set[str]()
        with suppress(FileNotFoundError, NotADirectoryError):
            noted = {path.name for path in self.parts.tmp.iterdir()}
        return {run for run in runs if f"{run}.refused" in noted}
