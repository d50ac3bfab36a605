"""Parts: immutable folders of Parquet, each published whole by one rename."""

from __future__ import annotations

import io
import json
import os
import re
import stat
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .beneath import FOLDER, Folder, StrangeEntryError
from .disk import disk_errors, reading
from .errors import DamagedPartError
from .files import File
from .folder import PART, create, is_new
from .manifests import MANIFEST, Part, Unit, check_part, part_name, read_part
from .schema import SCHEMA_VERSION, conformed, empty, schema
from .values import untrue

if TYPE_CHECKING:
    import polars as pl

DAY_S = 24 * 3600.0
_IN_PART = re.compile(r"part\.json|[a-z_]+\.parquet")
_IN_TMP = re.compile(
    r"[0-9a-f]{32}-(?:[0-9a-f]{32}|(?:catalog|snapshot)\.duckdb(?:\.wal)?)"
    r"|[0-9a-f]{32}\.refused|\.[0-9a-f]{32}\.refused\.[0-9a-f]{32}"
)
"""What headbook itself puts into `tmp/`; nothing else there is ever removed."""


def _write_table(folder: Folder, name: str, frame: pl.DataFrame) -> File:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    data = buffer.getbuffer()
    folder.write(name, data)
    return File(sha256(data).hexdigest(), len(data), frame.height)


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
            for file in filter(_IN_PART.fullmatch, part.names()):
                part.unlink(file)
        with suppress(OSError):  # it is not empty: something else lies in it
            os.rmdir(name, dir_fd=folder.descriptor)


class Parts:
    """The folder `parts/` of a store, and `tmp/`, where parts grow until they are renamed."""

    def __init__(self, root: Path, *, planned: bool = False) -> None:
        self.root = root
        self._planned = planned
        self.folder = root / "parts"
        self.tmp = root / "tmp"
        self.unfit: dict[str, DamagedPartError] = {}
        """Parts that are set aside, by name: nobody sees them, and what is wrong."""

        self._known: dict[tuple[str, int], Part] = {}
        self._sound: dict[tuple[str, str], Part] = {}
        self._true: dict[tuple[str, str], Part] = {}
        self._bad: dict[str, tuple[Part, DamagedPartError]] = {}

    @contextmanager
    def made(self, name: str) -> Generator[Folder]:
        """A folder of the store, made if need be."""
        self.begin()
        with disk_errors(self.root / name), Folder.open(self.root) as root, root.made(name) as made:
            yield made

    def unmade(self) -> bool:
        """Whether the store is only planned: nothing of it is there, and nobody has made it."""
        self._planned = self._planned and is_new(self.root)
        return self._planned

    def begin(self) -> bool:
        """Make the store, where it is only planned.

        Returns:
            Whether it was.

        Raises:
            StoreError: The disk refuses.
        """
        if not self.unmade():
            return False
        create(self.root)
        self._planned = False
        self.create()
        return True

    def create(self) -> None:
        """Make the folder, and the part that holds every table without rows."""
        self.publish({table: empty(table) for table in schema().tables}, {})

    def _published(self) -> list[tuple[str, int]]:
        """Name and inode: a part that was dropped and computed anew is another one."""
        if self.unmade():
            return []
        with reading(self.folder), Folder.open(self.root) as root:
            if root.entry("parts") is None:
                return []
            with root.below("parts") as parts, os.scandir(parts.descriptor) as entries:
                return sorted(
                    (entry.name, entry.inode()) for entry in entries if PART.fullmatch(entry.name)
                )

    def names(self) -> list[str]:
        """Names of the parts published so far, in order, damaged ones too."""
        return [name for name, _ in self._published()]

    def current(self) -> list[Part]:
        """The parts published so far, in order of name, without those that are set aside.

        Raises:
            StoreError: A part is of a newer headbook.
        """
        published = self._published()
        known, unfit = dict[tuple[str, int], Part](), dict[str, DamagedPartError]()
        if published:
            with Folder.open(self.root) as root, root.below("parts") as parts:
                for found in published:
                    try:
                        known[found] = self._known.get(found) or read_part(parts, found[0])
                    except DamagedPartError as error:
                        if parts.entry(found[0]):  # else someone else has pruned it
                            unfit[found[0]] = error
        unfit |= {
            name: error for name, (part, error) in self._bad.items() if part in known.values()
        }
        self._known, self.unfit = known, unfit
        return [part for part in known.values() if part.name not in unfit]

    def check(self, part: Part, tables: Collection[str] | None = None) -> bool:
        """Check a part's bytes, once for each process; one that does not fit is set aside.

        Args:
            part: The part.
            tables: The tables that are going to be read; None for all.

        Returns:
            Whether it is sound; if not, `unfit` says why, and `current` leaves it out.
        """
        wanted = [table for table in part.files if tables is None or table in tables]
        unknown = [table for table in wanted if self._sound.get((part.name, table)) is not part]
        try:
            check_part(part, unknown)
        except DamagedPartError as error:
            self.set_aside(part, error)
            return False
        self._sound |= {(part.name, table): part for table in unknown}
        return True

    def check_values(self, parts: Sequence[Part], tables: Collection[str] | None = None) -> bool:
        """Check the values of parts, as `check` does their bytes, all parts of a table at once.

        Args:
            parts: Parts, their bytes checked.
            tables: The tables that are going to be read; None for all.

        Returns:
            Whether nothing was set aside.
        """
        true = True
        for table in schema().tables if tables is None else tables:
            held = [part for part in parts if table in part.files and part.files[table].rows]
            fresh = [part for part in held if self._true.get((part.name, table)) is not part]
            wrong = untrue(fresh, table)
            self._true |= {(part.name, table): part for part in fresh if part.name not in wrong}
            for part in fresh:
                if part.name in wrong:
                    self.set_aside(part, wrong[part.name])
            true = true and not wrong
        return true

    def set_aside(self, part: Part, error: DamagedPartError) -> None:
        """Leave a part out from now on."""
        self._bad[part.name] = part, error
        self.unfit[part.name] = error

    def publish(self, frames: Mapping[str, pl.DataFrame], keys: Mapping[str, Unit]) -> str:
        """Publish complete units as one part; does nothing where that part exists.

        Args:
            frames: Rows by table, with their column `run`.
            keys: Every unit in the frames, by run id.

        Returns:
            The part's name.

        Raises:
            StoreError: A frame does not fit its table, or the disk refuses.
        """
        fitted = {table: conformed(table, frame) for table, frame in frames.items()}
        name = part_name(keys)
        with self.made("parts") as parts, self.made("tmp") as tmp:
            if parts.entry(name):
                parts.expect(name, FOLDER)
                return name
            aside = f"{uuid4().hex}-{name}"
            _sweep(tmp, DAY_S)
            try:
                _write(tmp, aside, fitted, keys)
                _rename(tmp, aside, parts)
            finally:
                remove(tmp, aside)
        return name

    def adopt(self, other: Folder, name: str) -> None:
        """Publish a whole part that lies elsewhere on this disk; it is gone from there.

        Args:
            other: The folder that it lies in, checked.
            name: Its name there: its own, or aside for that.

        Raises:
            StoreError: The disk refuses.
        """
        with self.made("parts") as parts:
            if parts.entry(name.rpartition("-")[2]):
                remove(other, name)
            else:
                _rename(other, name, parts)

    @contextmanager
    def aside(self, name: str) -> Generator[tuple[Folder, str]]:
        """A place in `tmp/` that nobody else uses, for something that is to get this name.

        Yields:
            `tmp/`, and the name there; what is left under it when the block ends is removed.

        Raises:
            StoreError: The disk refuses.
        """
        with self.made("tmp") as tmp:
            aside = f"{uuid4().hex}-{name}"
            try:
                yield tmp, aside
            finally:
                remove(tmp, aside)

    def now(self) -> float:
        """Seconds by the clock of the disk, which stamps what lies here; ours may be wrong."""
        with self.made("tmp") as tmp:
            return _now(tmp)

    def drop(self, name: str) -> bool:
        """Take a part away at once; its bytes stay in `tmp/` for a day.

        Returns:
            Whether it did: what is no folder, or holds something that is not ours, is left alone.

        Raises:
            StoreError: The disk refuses.
        """
        with self.made("parts") as parts, self.made("tmp") as tmp:
            try:
                with parts.below(name) as folder:
                    if not all(map(_IN_PART.fullmatch, folder.names())):
                        return False
                aside = f"{uuid4().hex}-{name}"
                parts.move(name, tmp, aside)
                os.utime(aside, dir_fd=tmp.descriptor, follow_symlinks=False)
            except (FileNotFoundError, StrangeEntryError):  # someone else prunes, too
                return False
        return True

    def sweep(self, age_s: float) -> None:
        """Delete what headbook left in `tmp/` and what lies there for longer than `age_s` s."""
        with self.made("tmp") as tmp:
            _sweep(tmp, age_s)


def _write(
    tmp: Folder, aside: str, frames: Mapping[str, pl.DataFrame], keys: Mapping[str, Unit]
) -> None:
    with tmp.made(aside) as folder:
        files = {
            table: asdict(_write_table(folder, f"{table}.parquet", frame))
            for table, frame in frames.items()
        }
        units = {run: asdict(unit) for run, unit in keys.items()}
        manifest = {"schema": SCHEMA_VERSION, "keys": units, "files": files}
        folder.write(MANIFEST, json.dumps(manifest, indent=1).encode())
        os.fsync(folder.descriptor)


def _rename(tmp: Folder, aside: str, parts: Folder) -> None:
    name = aside.rpartition("-")[2]
    try:
        tmp.move(aside, parts, name)
        os.fsync(parts.descriptor)
    except OSError:
        if not parts.entry(name):  # else a twin has published the same answer: it may keep it
            raise


def _now(tmp: Folder) -> float:
    os.utime(tmp.descriptor)
    return os.fstat(tmp.descriptor).st_mtime


def _sweep(tmp: Folder, age_s: float) -> None:
    oldest = _now(tmp) - age_s
    for name in filter(_IN_TMP.fullmatch, tmp.names()):
        found = tmp.entry(name)
        if found is not None and found.st_mtime < oldest:
            remove(tmp, name)
