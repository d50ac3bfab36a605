"""Parts: immutable folders of Parquet, each published whole by one rename."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from .disk import disk_errors, sync_folder, write_synced
from .errors import DamagedPartError, StoreError
from .keys import key_of
from .schema import SCHEMA_VERSION, conformed, empty, schema

if TYPE_CHECKING:
    import polars as pl

MANIFEST = "part.json"
DAY_S = 24 * 3600.0
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class File:
    """One Parquet file of a part, as its manifest promises it."""

    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Unit:
    """One unit of work in a part."""

    experiment: str
    tables: list[str]
    """The tables that its experiment answered with, be it without a row."""


@dataclass(frozen=True)
class Part:
    """A published part: at least one complete unit of work, never changed again."""

    folder: Path
    schema: int
    keys: Mapping[str, Unit]
    """Units it holds by run id; none in the part of the empty tables."""

    files: Mapping[str, File]
    """By table."""

    @property
    def name(self) -> str:
        """Hash of its keys."""
        return self.folder.name

    def path(self, table: str) -> Path:
        """Where the rows of a table are."""
        return self.folder / f"{table}.parquet"


def part_name(keys: Iterable[str], schema_version: int = SCHEMA_VERSION) -> str:
    """Name of the part that holds these units, whoever computes them.

    Args:
        keys: Run ids; none names the part that holds the empty tables.
        schema_version: Which tables those are.

    Returns:
        32 hexadecimal characters.
    """
    return key_of(sorted(keys) or {"schema": schema_version})


def damaged(folder: Path, got: str, keys: Mapping[str, Unit]) -> DamagedPartError:
    """The error for a part that is not what was published.

    Args:
        folder: The part.
        got: What is wrong with it.
        keys: Runs it holds by run id, as far as known.

    Returns:
        The error, naming the runs to repeat.
    """
    runs = ", ".join(f"{run} ({keys[run].experiment})" for run in sorted(keys))
    return DamagedPartError(
        f"expected the part {folder} as it was published, got {got}; "
        f"remove it with `headbook store prune`, then repeat the run {runs or 'it held'}"
    )


def read_part(folder: Path) -> Part:
    """Read a part's manifest.

    Args:
        folder: The part.

    Returns:
        The part; its files are not opened.

    Raises:
        StoreError: There is no manifest, or it is not this part's.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        keys = {str(run): Unit(**unit) for run, unit in manifest["keys"].items()}
        files = {str(table): File(**file) for table, file in manifest["files"].items()}
        part = Part(folder, int(manifest["schema"]), keys, files)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(folder, f"no readable {MANIFEST}", {}) from error
    if part.schema > SCHEMA_VERSION:
        raise StoreError(
            f"expected parts of schema {SCHEMA_VERSION} or older, got schema {part.schema} "
            f"in {folder}; update headbook"
        )
    if part_name(keys, part.schema) != part.name or not files.keys() <= schema().tables.keys():
        raise damaged(folder, f"a {MANIFEST} of something else", keys)
    return part


def check_part(part: Part) -> None:
    """Compare a part's files with the sizes and hashes in its manifest.

    Args:
        part: The part; every byte of it is read.

    Raises:
        StoreError: A file is missing, not a plain file, truncated or changed.
    """
    for table, file in part.files.items():
        path = part.path(table)
        if path.is_symlink() or not path.is_file():
            raise damaged(part.folder, f"no {path.name}", part.keys)
        with path.open("rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            if size != file.bytes:
                got = f"{size} bytes in {path.name} instead of {file.bytes}"
                raise damaged(part.folder, got, part.keys)
            if file_digest(handle, "sha256").hexdigest() != file.sha256:
                raise damaged(part.folder, f"changed bytes in {path.name}", part.keys)


def _write_table(path: Path, frame: pl.DataFrame) -> File:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    data = buffer.getbuffer()
    write_synced(path, data)
    return File(sha256(data).hexdigest(), len(data), frame.height)


class Parts:
    """The folder `parts/` of a store, and `tmp/`, where parts grow until they are renamed."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "parts"
        self.tmp = root / "tmp"
        self._known: dict[tuple[str, int], Part] = {}
        self._sound: dict[str, Part] = {}

    def create(self) -> None:
        """Make the folder, and the part that holds every table without rows."""
        self.folder.mkdir(exist_ok=True)
        if not (self.folder / part_name({})).is_dir():
            self.publish({table: empty(table) for table in schema().tables}, {})

    def _published(self) -> list[tuple[str, int]]:
        """Name and inode: a part that was dropped and computed anew is another one."""
        return sorted(
            (entry.name, entry.inode())
            for entry in os.scandir(self.folder)
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        )

    def names(self) -> list[str]:
        """Names of the parts published so far, in order, damaged ones too."""
        return [name for name, _ in self._published()]

    def current(self) -> list[Part]:
        """The parts published so far, in order of name.

        Raises:
            StoreError: A manifest is damaged.
        """
        self._known = {
            known: self._known.get(known) or read_part(self.folder / known[0])
            for known in self._published()
        }
        return list(self._known.values())

    def check(self, part: Part) -> None:
        """Check a part's bytes, once for each process.

        Raises:
            StoreError: The part is damaged.
        """
        if self._sound.get(part.name) is not part:
            check_part(part)
            self._sound[part.name] = part

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
        if (self.folder / name).is_dir():
            return name
        with disk_errors(self.folder):
            aside = self.aside(name)
            self.sweep(DAY_S)
            try:
                self._write(aside, fitted, keys)
                self._rename(aside, self.folder / name)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        return name

    def _write(
        self, aside: Path, frames: Mapping[str, pl.DataFrame], keys: Mapping[str, Unit]
    ) -> None:
        aside.mkdir()
        files = {
            table: asdict(_write_table(aside / f"{table}.parquet", frame))
            for table, frame in frames.items()
        }
        units = {run: asdict(unit) for run, unit in keys.items()}
        manifest = {"schema": SCHEMA_VERSION, "keys": units, "files": files}
        write_synced(aside / MANIFEST, json.dumps(manifest, indent=1).encode())
        sync_folder(aside)

    def adopt(self, folder: Path) -> None:
        """Publish a whole part that lies elsewhere on this disk; it is gone from there.

        Args:
            folder: The part, checked, named by its keys or aside for that name.

        Raises:
            StoreError: The disk refuses.
        """
        name = folder.name.rpartition("-")[2]
        with disk_errors(self.folder):
            if (self.folder / name).is_dir():
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._rename(folder, self.folder / name)

    def _rename(self, aside: Path, final: Path) -> None:
        try:
            aside.rename(final)
        except OSError:
            if not final.is_dir():  # else a twin has published the same answer: it may keep it
                raise
        sync_folder(self.folder)

    def aside(self, name: str) -> Path:
        """A place in `tmp/` that nobody else uses, for something that is to get this name."""
        self.tmp.mkdir(exist_ok=True)
        return self.tmp / f"{uuid4().hex}-{name}"

    def now(self) -> float:
        """Seconds by the clock of the disk, which stamps what lies here; ours may be wrong."""
        with disk_errors(self.tmp):
            self.tmp.mkdir(exist_ok=True)
            os.utime(self.tmp)
            return self.tmp.stat().st_mtime

    def drop(self, name: str) -> None:
        """Take a part away at once; its bytes stay in `tmp/` for a day."""
        with disk_errors(self.folder), suppress(FileNotFoundError):  # someone else prunes, too
            aside = self.aside(name)
            (self.folder / name).rename(aside)
            os.utime(aside)

    def sweep(self, age_s: float) -> None:
        """Delete what has been lying in `tmp/` for longer than `age_s` seconds."""
        oldest = self.now() - age_s
        for path in self.tmp.iterdir():
            with suppress(FileNotFoundError):  # someone else sweeps, too
                if path.lstat().st_mtime >= oldest:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
