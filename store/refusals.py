"""Notes that a unit cannot be asked, so that processes that share a store do not wait for it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .beneath import Folder
from .disk import reading

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
        with self.parts.made("tmp") as tmp:
            tmp.replace(f"{run}.refused", reason.encode("utf-8", "replace"))

    def refused(self, runs: Iterable[str]) -> set[str]:
        """Which of some runs are noted.

        Args:
            runs: Run ids.

        Returns:
            Those that a process could not ask within the last day.
        """
        if self.parts.unmade():
            return set()
        with reading(self.parts.root), Folder.open(self.parts.root) as root:
            if root.entry("tmp") is None:
                return set()
            with root.below("tmp") as tmp:
                noted = set(tmp.names())
        return {run for run in runs if f"{run}.refused" in noted}
