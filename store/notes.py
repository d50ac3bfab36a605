"""Notes of a store: numbers that were chosen or measured once, so that all who come later agree."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from .beneath import Folder
from .disk import disk_errors, reading
from .errors import StoreError
from .keys import canonical, key_of, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .parts import Parts

NOTES = "notes"
NOTE = re.compile(r"[0-9a-f]{32}\.json")
"""What a note can be called: the key of what it is about."""
_MOST = 10_000
"""Bytes of a note."""

Numbers = dict[str, float]


class Notes:
    """The part of a store that keeps notes, in `notes/`. No answer depends on one."""

    parts: Parts

    def noted(self, about: Mapping[str, Any]) -> Numbers | None:
        """What was noted, if anything.

        Args:
            about: JSON of what it is about.

        Returns:
            Numbers by name; None where there is no note, or none that is sound.
        """
        if self.parts.unmade():
            return None
        with reading(self.parts.root), Folder.open(self.parts.root) as root:
            if root.entry(NOTES) is None:
                return None
            with root.below(NOTES) as notes:
                return read_note(notes, _name(about))

    def note(self, about: Mapping[str, Any], numbers: Mapping[str, float]) -> Numbers:
        """Note numbers, unless somebody has before.

        Args:
            about: JSON of what they are about.
            numbers: By name.

        Returns:
            What is noted now: the first to note it is who all others follow.

        Raises:
            StoreError: The disk refuses.
        """
        with disk_errors(self.parts.root), self.parts.made(NOTES) as notes:
            keep_note(notes, _name(about), canonical(dict(numbers)).encode())
        return self.noted(about) or dict(numbers)


def read_note(notes: Folder, name: str) -> Numbers | None:
    """A note by its name; None for anything else."""
    if notes.entry(name) is None:
        return None
    try:
        found: object = parsed(notes.read(name, _MOST))
    except (ValueError, StoreError):
        return None
    if not isinstance(found, dict):
        return None
    numbers = cast("Numbers", found)
    return numbers if all(type(n) in (int, float) for n in numbers.values()) else None


def keep_note(notes: Folder, name: str, data: bytes) -> None:
    """Put a whole note under a name, if nothing has it yet."""
    aside = f".{name}.{uuid4().hex}"
    notes.write(aside, data)
    try:
        os.link(aside, name, src_dir_fd=notes.descriptor, dst_dir_fd=notes.descriptor)
        os.fsync(notes.descriptor)
    except FileExistsError:
        pass
    finally:
        notes.unlink(aside)


def copy_notes(source: Folder, target: Folder) -> None:
    """Copy the notes of one store that another lacks.

    Args:
        source: Folder of the one, checked.
        target: Folder of the other.
    """
    if source.entry(NOTES) is None:
        return
    with source.below(NOTES) as theirs, target.made(NOTES) as ours:
        for name in filter(NOTE.fullmatch, theirs.names()):
            numbers = read_note(theirs, name)
            if numbers is not None:
                keep_note(ours, name, canonical(numbers).encode())


def _name(about: Mapping[str, Any]) -> str:
    return f"{key_of(dict(about))}.json"
