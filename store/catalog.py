"""DuckDB files made from the parts: written aside, renamed, read-only, and never opened again.

Opening a database file from a process that has it open elsewhere drops its lock, so nothing
here opens, hashes or copies one that others may be reading.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import duckdb

from .beneath import FILE, Folder
from .disk import disk_errors
from .errors import StoreError
from .keys import key_of, parsed
from .pins import Pinned, live_comments, live_views, quoted, scan_files, sound_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .parts import Parts

STORAGE = "v1.5.0"
"""Storage version of the files people open: DuckDB 2 files do not open in the 1.x shells."""

CATALOG, STAMP = "catalog.duckdb", "catalog.json"
_MOST_STAMP = 10_000
_ATTEMPTS = 2
"""A part that came meanwhile deserves another; whoever published it refreshes as well."""

_REFRESH_S = 5.0
"""While units keep being published, the catalog follows at this interval."""


def write_database(
    path: Path, options: str, fill: Callable[[duckdb.DuckDBPyConnection], None]
) -> None:
    """Write a new DuckDB file and wait until the disk has it.

    Args:
        path: Where; must not exist, and nobody reads it before this returns.
        options: Options of ATTACH, such as the storage version.
        fill: Makes the content; the new database is the default one meanwhile.

    Raises:
        StoreError: DuckDB could not write it.
    """
    try:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH {quoted(str(path))} AS made ({options}); USE made")
            fill(connection)
            connection.execute("USE memory; DETACH made")
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if not isinstance(error, duckdb.Error):
            raise
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
        reason = str(error).partition("\n")[0]
        raise StoreError(
            f"expected to write {path}, got {reason}; check the disk with `df` and the parts "
            "with `headbook store verify`"
        ) from error


class Catalog:
    """`catalog.duckdb`: views over the parts, for the duckdb shell and other SQL clients."""

    def __init__(self, root: Path, parts: Parts) -> None:
        self.root = root
        self.path = root / CATALOG
        self._parts = parts
        self._written = time.monotonic()

    def _wanted(self) -> str:
        """What the catalog must show: these parts, in this folder (views hold absolute paths)."""
        return key_of({"folder": str(self._parts.folder), "parts": self._parts.names()})

    def is_current(self) -> bool:
        """Whether it shows the parts published so far, where they are now, and is unharmed."""
        try:
            with Folder.open(self.root) as root:
                stamp: object = parsed(root.read(STAMP, _MOST_STAMP))
                return stamp == [self._wanted(), *_version(root, CATALOG)]
        except (OSError, ValueError, StoreError):
            return False

    def refresh(self) -> bool:
        """Rewrite it where it is not current.

        A full or read-only disk or a damaged part leaves it as it was: it only repeats the
        parts, and recall and SQL, which do not need it, report what is wrong with those.

        Returns:
            Whether it is current.
        """
        if self._parts.unmade():
            return False
        try:
            for _ in range(_ATTEMPTS):
                if self.is_current():
                    break
                wanted = self._wanted()
                with disk_errors(self.path), Folder.open(self.root) as root:
                    version = self._write(root, sound_pins(self._parts))
                    root.replace(STAMP, json.dumps([wanted, *version]).encode())
        except StoreError:
            return False
        self._written = time.monotonic()
        return self.is_current()

    def refresh_now_and_then(self) -> None:
        """Refresh it unless that was done a moment ago."""
        if time.monotonic() - self._written > _REFRESH_S:
            self.refresh()

    def _write(self, root: Folder, pins: Sequence[Pinned]) -> tuple[int, int]:
        views = live_views(pins, scan_files) + live_comments()
        with self._parts.aside(CATALOG) as (tmp, aside):
            path = tmp.path / aside
            write_database(path, f"STORAGE_VERSION '{STORAGE}'", lambda made: _run(made, views))
            tmp.seal(aside)
            version = _version(tmp, aside)  # not that of the path, which others may replace
            tmp.move(aside, root, CATALOG)
            os.fsync(root.descriptor)
        # whoever had the old file open for writing left a log that would spoil the new one
        root.unlink(f"{CATALOG}.wal")
        return version


def _version(folder: Folder, name: str) -> tuple[int, int]:
    """Size and time of a file, which tell it from one cut short or written by others."""
    found = folder.expect(name, FILE)
    return found.st_size, found.st_mtime_ns


def _run(connection: duckdb.DuckDBPyConnection, statements: str) -> None:
    connection.execute(statements)
