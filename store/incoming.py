"""Answers from elsewhere: parts of workers and of other stores, checked and taken over whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .disk import disk_errors
from .errors import DamagedPartError, StoreError
from .experiment import no_report, terminal_bar
from .folder import check_marker
from .keys import run_key
from .parts import Parts, check_part, read_part
from .results import Store, answered

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .experiment import Experiment, Progress

INCOMING = "incoming"
"""Folder of a store where workers leave parts, until its one writer takes them over."""


def deliver(root: Path, unit: Experiment) -> str:
    """Compute a unit, and leave its answer for the writer of a store.

    Args:
        root: Folder of the store, which may lie on a disk that machines share.
        unit: What to compute.

    Returns:
        The name of the part, there whole or not at all.

    Raises:
        StoreError: A frame does not fit its table, or the disk refuses.
    """
    parts = Parts(root / INCOMING)
    with disk_errors(root):
        parts.folder.mkdir(parents=True, exist_ok=True)
    return parts.publish(*answered(run_key(unit), unit, no_report))


def accept(store: Store, names: Iterable[str] | None = None) -> list[str]:
    """Take parts that workers delivered over.

    A damaged one is dropped: its units are missing still, and asked for again.

    Args:
        store: The store; nobody else accepts at the same time.
        names: Which parts; None for all that lie there.

    Returns:
        Names of those taken over.

    Raises:
        StoreError: The disk refuses.
    """
    parts = Parts(store.root / INCOMING)
    if not parts.folder.is_dir():
        return []
    taken: list[str] = []
    for name in parts.names() if names is None else names:
        folder = parts.folder / name
        if not folder.is_dir():
            continue
        try:
            check_part(read_part(folder))
        except DamagedPartError:
            parts.drop(name)
            continue
        store.parts.adopt(folder)
        taken.append(name)
    return taken


def merge(store: Store, other: Path, progress: Progress | None = None) -> int:
    """Copy the answers of another store that this one lacks.

    Args:
        store: Gets them.
        other: Folder of the other store, which is only read.
        progress: Shows a bar; None for one on stderr after two seconds.

    Returns:
        How many runs are new.

    Raises:
        StoreError: The other folder is no store, or of a newer headbook; a part of it is damaged;
            or the disk refuses.
    """
    check_marker(other)
    if other.resolve() == store.root.resolve():
        raise StoreError(f"expected another store than {other}, got the same; choose another")
    found, before = Parts(other).current(), set(store.runs())
    lacking = [part for part in found if not part.keys.keys() <= before]
    with (progress or terminal_bar)("Merging") as report:
        for index, part in enumerate(lacking):
            check_part(part)
            aside = store.parts.aside(part.name)
            with disk_errors(store.root):
                try:
                    shutil.copytree(part.folder, aside)
                    store.parts.adopt(aside)
                finally:
                    shutil.rmtree(aside, ignore_errors=True)
            report(index + 1, len(lacking), "")
    store.catalog.refresh()
    return len(set(store.runs()) - before)
