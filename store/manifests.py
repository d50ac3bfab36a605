"""What a part says of itself, and whether it is so: `part.json`, and the files that it promises."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import Any

from .beneath import Folder, StrangeEntryError
from .errors import DamagedPartError, StoreError, reason
from .files import File, wrong_file
from .keys import MOST_JSON, key_of, parsed
from .schema import SCHEMA_VERSION, schema

MANIFEST = "part.json"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of work in a part."""

    experiment: str
    tables: Sequence[str]
    """The tables that its experiment answered with, be it without a row."""


@dataclass(frozen=True, slots=True)
class Part:
    """A published part: at least one complete unit of work, never changed again."""

    parent: str
    name: str
    """Hash of its keys."""

    schema: int
    keys: Mapping[str, Unit]
    """Units it holds by run id; none in the part of the empty tables."""

    files: Mapping[str, File]
    """By table."""

    @property
    def folder(self) -> Path:
        """Where it is."""
        return Path(self.parent, self.name)

    def path(self, table: str) -> str:
        """Where the rows of a table are."""
        return f"{self.parent}/{self.name}/{table}.parquet"


def part_name(keys: Iterable[str], schema_version: int = SCHEMA_VERSION) -> str:
    """Name of the part that holds these units, whoever computes them.

    Args:
        keys: Run ids; none names the part that holds the empty tables.
        schema_version: Which tables those are.

    Returns:
        32 hexadecimal characters.
    """
    return key_of(sorted(keys) or {"schema": schema_version})


def damaged(folder: str | Path, got: str, keys: Mapping[str, Unit]) -> DamagedPartError:
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
        f"remove it with `headbook store prune`, then repeat the run {runs or 'it held'}",
        frozenset(keys),
    )


def read_part(parts: Folder, name: str) -> Part:
    """Read a part's manifest.

    Args:
        parts: The folder of parts.
        name: The part's.

    Returns:
        The part; its files are not opened.

    Raises:
        StoreError: There is no manifest, or it is not this part's.
    """
    path = f"{parts.place}/{name}"
    try:
        folder = parts.below(name)
    except StrangeEntryError as error:
        raise DamagedPartError(str(error), frozenset()) from error
    except OSError as error:
        line = f"expected a part that can be read at {path}, got {error.strerror}; see to it"
        raise DamagedPartError(line, frozenset()) from error
    try:
        with folder:
            text = folder.read(MANIFEST, MOST_JSON)
        part = _part(parts.place, name, parsed(text))
    except (StrangeEntryError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(path, f"no readable {MANIFEST} ({_why(error)})", {}) from error
    if part.schema > SCHEMA_VERSION:
        raise StoreError(
            f"expected parts of schema {SCHEMA_VERSION} or older, got schema {part.schema} "
            f"in {path}; update headbook"
        )
    tables = {table for unit in part.keys.values() for table in unit.tables}
    if part_name(part.keys, part.schema) != name or not (
        tables <= part.files.keys() <= schema().tables.keys()
    ):
        raise damaged(path, f"a {MANIFEST} of something else", part.keys)
    return part


def _why(error: Exception) -> str:
    if isinstance(error, StrangeEntryError):
        return error.got
    return str(error.strerror) if isinstance(error, OSError) else reason(error)


def _part(parent: str, name: str, manifest: Any) -> Part:
    keys = {str(run): _unit(unit) for run, unit in manifest["keys"].items()}
    files = {intern(str(table)): File(**file) for table, file in manifest["files"].items()}
    numbers = [("schema", "", manifest["schema"])]
    for table, file in files.items():
        numbers += [("bytes of ", table, file.bytes), ("rows of ", table, file.rows)]
        if type(file.sha256) is not str:
            raise TypeError("expected hashes as text")
    for size, of, number in numbers:
        if type(number) is not int or not 0 <= number < 2**63:
            raise TypeError(f"expected sizes as integers, got {number!r:.40} as {size}{of:.40}")
    return Part(parent, name, manifest["schema"], keys, files)


def _unit(unit: Any) -> Unit:
    if not isinstance(unit["tables"], list) or type(unit["experiment"]) is not str:
        raise TypeError("expected the name of an experiment and a list of tables")
    return _shared(unit["experiment"], tuple(map(str, unit["tables"])))


@lru_cache(maxsize=10_000)
def _shared(experiment: str, tables: tuple[str, ...]) -> Unit:
    """One object for all alike: a large store has many."""
    return Unit(experiment, tuple(map(intern, tables)))


def check_part(part: Part, tables: Collection[str] | None = None) -> None:
    """Compare a part's files with its manifest, and with the tables they are to be rows of.

    Args:
        part: The part; every byte of the files is read.
        tables: The tables whose files are looked at; None for all.

    Raises:
        DamagedPartError: A file is missing, not a plain file, changed, or no such table.
    """
    try:
        with Folder.open(Path(part.parent)) as parts, parts.below(part.name) as folder:
            for table, file in part.files.items():
                if tables is None or table in tables:
                    got = _wrong(folder, table, file)
                    if got:
                        raise damaged(part.folder, got, part.keys)
    except (OSError, StrangeEntryError) as error:
        raise damaged(part.folder, str(error), part.keys) from error


def _wrong(folder: Folder, table: str, file: File) -> str:
    name = f"{table}.parquet"
    try:
        with folder.opened(name) as descriptor:
            return wrong_file(descriptor, table, file)
    except (OSError, StrangeEntryError) as error:
        return f"no {name} ({_why(error)})"
