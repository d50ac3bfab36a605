"""Answers from elsewhere: parts of workers and of other stores, checked and taken over whole."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .answers import answered
from .beneath import Folder
from .disk import disk_errors
from .errors import DamagedPartError, StoreError
from .experiment import no_report, terminal_bar
from .folder import check_root, resolved
from .keys import MOST_JSON, run_key
from .manifests import MANIFEST, Part, check_part, read_part
from .notes import copy_notes
from .parts import Parts
from .pins import sound_pins
from .results import Store

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
    check_root(root)
    with disk_errors(root), Folder.open(root) as folder, folder.made(INCOMING):
        parts = Parts(root / INCOMING)
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
    parts, taken = Parts(store.root / INCOMING), list[str]()
    with disk_errors(store.root), Folder.open(store.root) as root:
        if root.entry(INCOMING) is None:
            return []
        with root.below(INCOMING) as incoming, incoming.made("parts") as folder:
            for name in parts.names() if names is None else names:
                if folder.entry(name) is None:
                    continue
                try:
                    check_part(read_part(folder, name))
                except DamagedPartError:
                    parts.drop(name)
                    continue
                store.parts.adopt(folder, name)
                taken.append(name)
    return taken


def merge(
    store: Store, other: Path, progress: Progress | None = None
) -> tuple[int, list[DamagedPartError]]:
    """Copy the answers of another store that this one lacks.

    Args:
        store: Gets them.
        other: Folder of the other store, which is only read.
        progress: Shows a bar; None for one on stderr after two seconds.

    Returns:
        How many runs are new, and what is wrong with each part of the other store that does not
        fit: its runs are not copied.

    Raises:
        StoreError: The other folder is no store, or of a newer headbook; or the disk refuses.
    """
    root = resolved(other)
    check_root(root)
    if root == store.root:
        raise StoreError(f"expected another store than {other}, got the same; choose another")
    theirs, before = Parts(root), set(store.runs())
    lacking = [
        one.part for one in sound_pins(theirs, values=True) if not one.part.keys.keys() <= before
    ]
    with (progress or terminal_bar)("Merging") as report:
        for index, part in enumerate(lacking):
            with disk_errors(store.root):
                _copy(part, store.parts)
            report(index + 1, len(lacking), "")
    store.make()
    with disk_errors(store.root), Folder.open(root) as source, Folder.open(store.root) as ours:
        copy_notes(source, ours)
    store.catalog.refresh()
    return len(set(store.runs()) - before), list(theirs.unfit.values())


def _copy(part: Part, parts: Parts) -> None:
    """Copy a part that was checked; nothing else that lies in its folder comes along."""
    with (
        Folder.open(Path(part.parent)) as others,
        others.below(part.name) as source,
        parts.aside(part.name) as (tmp, aside),
    ):
        with tmp.made(aside) as target:
            target.write(MANIFEST, source.read(MANIFEST, MOST_JSON))
            for table, file in part.files.items():
                target.write(f"{table}.parquet", source.read(f"{table}.parquet", file.bytes))
            os.fsync(target.descriptor)
        check_part(replace(part, parent=tmp.place, name=aside))  # it may have changed since
        parts.adopt(tmp, aside)
