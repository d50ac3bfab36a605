"""The folders that a build writes: marked as ours from the first moment, and locked meanwhile.

A marker says which folder is whose. What is not empty and has none belongs to somebody else; what
a marker names and is not as it was written has been changed by somebody else; and what lies behind
a link is somewhere else. All three are refused, by name, before anything is written.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath

from store import FILE, FOLDER, Folder, StrangeEntryError, kind_of, parsed

from .errors import BookError

BOOK_MARKER = ".headbook-book.json"
WORK_MARKER = ".headbook-work.json"
_ASIDE = re.compile(r"\.(.+)\.[0-9a-f]{32}")
_MOST_MARKER = 16_000_000
_MOST_FILE = 1 << 30
"""Bytes of a file of ours that is read; a book has some 25 million in all."""
_CHOOSE = "choose another --out, or remove it yourself"


@contextmanager
def claimed(path: Path, marker: str) -> Generator[Folder]:
    """Hold a folder of ours, made and marked if it is not there.

    Args:
        path: The folder, resolved.
        marker: Name of the file that says that it is ours.

    Yields:
        The folder, which no other build can claim meanwhile.

    Raises:
        BookError: It is something else, holds something else, or another build holds it.
    """
    refuse_foreign(path, marker)
    path.mkdir(parents=True, exist_ok=True)
    with Folder.open(path) as folder:
        _lock(folder)
        if folder.entry(marker) is None:
            _refuse_content(folder, marker)
            folder.replace(marker, json.dumps({"files": {}}).encode())
        yield folder


def refuse_foreign(path: Path, marker: str) -> None:
    """Refuse a folder that is not ours; nothing is written.

    Args:
        path: The folder, resolved, which need not be there.
        marker: Name of the file that would say that it is ours.

    Raises:
        BookError: It is no folder, or neither empty nor marked.
    """
    try:
        with Folder.open(path) as folder:
            if folder.entry(marker) is None:
                _refuse_content(folder, marker)
    except FileNotFoundError:
        return
    except StrangeEntryError as error:
        expected = f"a new, empty or built folder at {path}"
        raise BookError(expected, error.got, _CHOOSE) from None


def _refuse_content(folder: Folder, marker: str) -> None:
    if strange := [name for name in folder.names() if not name.startswith(f".{marker}.")]:
        raise BookError(
            f"a new, empty or built folder at {folder.path}",
            f"{strange[0]} in it and no {marker}",
            _CHOOSE,
        )


def _lock(folder: Folder) -> None:
    try:
        fcntl.flock(folder.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BookError(
            f"one build at a time into {folder.path}", "another one that is running", "wait for it"
        ) from None
    except OSError:
        return  # a disk that knows no locks


def refuse_strange(folder: Folder, folders: Collection[str] = ()) -> None:
    """Refuse a folder in which, at any depth, something else lies than files and folders of ours.

    Args:
        folder: A folder whose whole content is ours, and is written in place.
        folders: What must be a folder if it is there.

    Raises:
        StrangeEntryError: A link, also a hard one, whose file would be written elsewhere too; a
            pipe, a device, or what belongs to somebody else.
    """
    for name in folders:
        with suppress(FileNotFoundError):
            folder.expect(name, FOLDER)
    for name in folder.names():
        found = folder.entry(name)
        if found is not None and kind_of(found.st_mode) == FOLDER:
            with folder.below(name) as inside:
                refuse_strange(inside)
        elif found is not None:
            folder.expect(name, FILE)
            if found.st_nlink > 1:
                got = "one that has another name too"
                raise StrangeEntryError(f"{folder.place}/{name}", FILE, got)


@dataclass
class Published:
    """The files of a book in its folder, by path, each with the hashes that it may have."""

    folder: Folder
    files: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    @classmethod
    def of(cls, folder: Folder) -> Published:
        """Read what the marker says, and compare it with what is there.

        Raises:
            BookError: Somebody has changed a page, or the marker.
        """
        found = cls(folder)
        try:
            marker = parsed(folder.read(BOOK_MARKER, _MOST_MARKER))
            for name, hashes in marker["files"].items():
                found.files[_inside(name)] = [str(one) for one in hashes]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BookError(
                f"the list of a book's files in {folder.path / BOOK_MARKER}", "another", _CHOOSE
            ) from None
        for name, hashes in found.files.items():
            now = found.sha256(name)
            if now and now not in hashes:
                raise BookError(
                    f"{folder.path / name} as it was built", "a file that was changed", _CHOOSE
                )
        return found

    def is_whole(self) -> bool:
        """Whether every file is there, and no build was killed while it wrote them."""
        whole = all(hashes == [self.sha256(name)] for name, hashes in self.files.items())
        return bool(self.files) and whole

    def sha256(self, name: str) -> str:
        """The hash of a file; empty where there is none.

        Raises:
            StrangeEntryError: It, or a folder on the way, is a link or something else.
        """
        with (
            suppress(FileNotFoundError),
            _parent(self.folder, name, make=False) as (folder, last),
            folder.opened(last) as descriptor,
            os.fdopen(os.dup(descriptor), "rb") as file,
        ):
            if os.fstat(descriptor).st_size > _MOST_FILE:
                return "too large to be ours"
            return file_digest(file, "sha256").hexdigest()
        return ""

    def replace_by(self, made: Mapping[str, Path]) -> None:
        """Bring the folder to a new book; only files of an earlier one are replaced or removed.

        Args:
            made: Where the new files are, by path.

        Raises:
            BookError: A file of somebody else has the place of one of ours.
        """
        new = {name: sha256(path.read_bytes()).hexdigest() for name, path in made.items()}
        for name in new.keys() - self.files.keys():
            if self.sha256(name) not in {"", new[name]}:
                got = "a file that no build wrote"
                raise BookError(f"nothing at {self.folder.path / name}", got, _CHOOSE)
        before = self.files
        self._mark({name: before.get(name, []) for name in before | new}, new)
        for name, path in made.items():
            if self.sha256(name) != new[name]:
                self._put(name, path.read_bytes())
        for name in before.keys() - new.keys():
            self._remove(name)
        self._sweep()
        self._mark({}, new)

    def _mark(self, before: Mapping[str, list[str]], new: Mapping[str, str]) -> None:
        self.files = {
            name: sorted({*before.get(name, []), *([new[name]] if name in new else [])})
            for name in sorted(before.keys() | new.keys())
        }
        content = json.dumps({"files": self.files}, indent=0, sort_keys=True)
        self.folder.replace(BOOK_MARKER, content.encode())

    def _put(self, name: str, content: bytes) -> None:
        with _parent(self.folder, name, make=True) as (folder, last):
            folder.put(last, content)

    def _sweep(self) -> None:
        """Remove what a killed build was writing beside our files."""
        for place in {name.rpartition("/")[0] for name in self.files}:
            with _parent(self.folder, f"{place}/x".lstrip("/"), make=False) as (folder, _):
                for name in folder.names():
                    whole = _ASIDE.fullmatch(name)
                    if whole and f"{place}/{whole[1]}".lstrip("/") in self.files:
                        folder.unlink(name)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError), _parent(self.folder, name, make=False) as (folder, last):
            folder.unlink(last)


def _inside(name: str) -> str:
    """A path of a marker, which somebody may have forged, if it stays in its folder."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise ValueError(f"expected a path inside the book, got {name!r}")
    return name


@contextmanager
def _parent(folder: Folder, name: str, *, make: bool) -> Generator[tuple[Folder, str]]:
    """The folder that a path leads to, opened step by step, and the last name."""
    first, _, rest = name.partition("/")
    if not rest:
        yield folder, first
        return
    with (
        folder.made(first) if make else folder.below(first) as inside,
        _parent(inside, rest, make=make) as found,
    ):
        yield found
