"""What headbook itself leaves in a store, and removes: nothing else there is ever touched."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress

from .beneath import Folder, StrangeEntryError
from .folder import IN_PART

DAY_S = 24 * 3600.0
IN_TMP = re.compile(
    r"[0-9a-f]{32}-(?:[0-9a-f]{32}|(?:catalog|snapshot)\.duckdb(?:\.wal)?)"
    r"|[0-9a-f]{32}\.refused|\.[0-9a-f]{32}\.refused\.[0-9a-f]{32}"
)
"""What headbook itself puts into `tmp/`; nothing else there is ever removed."""


def remove(folder: Folder, name: str) -> None:
    """Remove a part, or a file, that headbook made; what else lies in the part stays, and it too.

    Args:
        folder: Where it is.
        name: Its name.
    """
    with suppress(FileNotFoundError, StrangeEntryError):  # someone else removes it, too
        found = folder.entry(name)
        if found is None or not stat.S_ISDIR(found.st_mode):
            folder.unlink(name)
            return
        with folder.below(name) as part:
            for file in filter(IN_PART.fullmatch, part.names()):
                part.unlink(file)
        with suppress(OSError):  # it is not empty: something else lies in it
            os.rmdir(name, dir_fd=folder.descriptor)


def now(tmp: Folder) -> float:
    """Seconds by the clock of the disk, which stamps what lies in a folder."""
    os.utime(tmp.descriptor)
    return os.fstat(tmp.descriptor).st_mtime


def sweep(tmp: Folder, age_s: float) -> None:
    """Delete what headbook left in `tmp/` and what lies there for longer than `age_s` s."""
    oldest = now(tmp) - age_s
    for name in filter(IN_TMP.fullmatch, tmp.names()):
        found = tmp.entry(name)
        if found is not None and found.st_mtime < oldest:
            remove(tmp, name)
