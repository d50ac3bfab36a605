"""Snapshots: DuckDB files with real tables and keys, for people to open beside the store."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from .beneath import Folder
from .catalog import STORAGE, write_database
from .disk import disk_errors
from .experiment import terminal_bar
from .pins import live_views, scan_files
from .schema import schema

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from .experiment import Progress
    from .results import Store

SNAPSHOTS_KEPT = 3


def _write(store: Store, path: Path, progress: Progress | None) -> None:
    """Copy every table with its comments and keys, then make the views over them."""
    live = live_views(store.true_pins(), scan_files)
    tables = schema().tables

    def fill(made: duckdb.DuckDBPyConnection) -> None:
        made.execute(f"USE memory; {live} USE made")
        made.execute(f"BEGIN; {schema().create_tables} COMMIT")
        with (progress or terminal_bar)("Copying tables") as report:
            for index, table in enumerate(tables):
                report(index, len(tables), table)
                made.execute(f"INSERT INTO {table} FROM memory.{table}")
            report(len(tables), len(tables), "")
        made.execute(f"BEGIN; {schema().create_views} COMMIT")

    write_database(path, f"STORAGE_VERSION '{STORAGE}'", fill)


def snapshots(store: Store) -> list[Path]:
    """The snapshots of a store, oldest first.

    Args:
        store: The store.

    Returns:
        Their files.
    """
    numbers = {
        int(match[1]): path
        for path in store.root.iterdir()
        if (match := re.fullmatch(r"results-(\d+)\.duckdb", path.name))
    }
    return [numbers[number] for number in sorted(numbers)]


def snapshot(store: Store, progress: Progress | None = None) -> Path:
    """Write the store as it is now to a new `results-<n>.duckdb`, and keep the newest few.

    Every snapshot has a name of its own: a process that holds an older one open for writing
    would leave a log beside a replaced file, and the new one could not be read.

    Args:
        store: The store.
        progress: Shows a bar; None for one on stderr after two seconds.

    Returns:
        The new file: real tables with comments, keys on the small ones, mode 0444.

    Raises:
        StoreError: A part is damaged, or the disk refuses.
    """
    with disk_errors(store.root), Folder.open(store.root) as root:
        with store.parts.aside("snapshot.duckdb") as (tmp, aside):
            _write(store, tmp.path / aside, progress)
            tmp.seal(aside)
            final = _numbered(store, root, tmp, aside)
        for old in snapshots(store)[:-SNAPSHOTS_KEPT]:
            root.unlink(old.name)
            root.unlink(f"{old.name}.wal")
        os.fsync(root.descriptor)
    return final


def _numbered(store: Store, root: Folder, tmp: Folder, aside: str) -> Path:
    """Give the file the next free number; unlike a rename, a link never takes one in use."""
    while True:
        taken = [int(path.stem.removeprefix("results-")) for path in snapshots(store)]
        final = store.root / f"results-{max(taken, default=0) + 1}.duckdb"
        with suppress(FileExistsError):
            os.link(
                aside, final.name, src_dir_fd=tmp.descriptor, dst_dir_fd=root.descriptor,
                follow_symlinks=False,
            )  # fmt: skip
            return final
