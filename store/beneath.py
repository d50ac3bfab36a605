"""What lies in a folder of ours, opened name by name: never through a link, nor a stranger's.

Whoever can write into a folder can put a link, a pipe or a device where a file is expected. So
nothing in a store or a book is reached by a path: a folder is held by its descriptor, and what
lies in it is opened by its name and looked at before it is read, written or removed.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
FOLDER, FILE = _KINDS[stat.S_IFDIR], _KINDS[stat.S_IFREG]
_PIECE = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StrangeEntryError(StoreError):
    """Something else lies where a file or a folder of ours belongs; it is left alone."""

    def __init__(self, place: str, expected: str, got: str) -> None:
        super().__init__(
            f"expected {expected} at {place}, got {got}, which is left alone; move it away, or "
            "choose another place"
        )
        self.got = got


def kind_of(mode: int) -> str:
    """What an entry is, from its `st_mode`."""
    return _KINDS.get(stat.S_IFMT(mode), "something unknown")


class Folder:
    """A folder held by its descriptor, and what lies in it by name."""

    def __init__(self, place: str, descriptor: int, owners: frozenset[int]) -> None:
        """Use `Folder.open`."""
        self.place = place
        self.descriptor = descriptor
        self._owners = owners

    @property
    def path(self) -> Path:
        """Where it is, for what takes nothing but paths."""
        return Path(self.place)

    @classmethod
    def open(cls, path: Path) -> Folder:
        """Open the folder that everything else lies below.

        Args:
            path: Without links: somebody has resolved it. Entries below it must belong to its
                owner, to us, or to the superuser.

        Returns:
            The folder; close it, or use it as a context.

        Raises:
            StrangeEntryError: It is something else by now.
            OSError: It is not there, or closed to us.
        """
        descriptor = _folder(str(path), None, str(path))
        owners = {os.fstat(descriptor).st_uid, os.geteuid(), 0}
        return cls(str(path), descriptor, frozenset(owners))

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self.descriptor)

    def below(self, name: str) -> Folder:
        """Open a folder in this one.

        Raises:
            StrangeEntryError: It is a link, something else, or a stranger's.
            OSError: It is not there, or closed to us.
        """
        place = f"{self.place}/{name}"
        descriptor = _folder(name, self.descriptor, place)
        try:
            self._own(place, os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return Folder(place, descriptor, self._owners)

    def made(self, name: str) -> Folder:
        """Open a folder in this one, made if it is not there.

        Raises:
            StrangeEntryError: It is a link, something else, or a stranger's.
            OSError: The disk refuses.
        """
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=self.descriptor)
        return self.below(name)

    def entry(self, name: str) -> os.stat_result | None:
        """What lies under a name, itself and not what it leads to; None for nothing."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """The names of all entries, sorted."""
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def expect(self, name: str, kind: str) -> os.stat_result:
        """See that an entry is what it should be.

        Args:
            name: Its name.
            kind: `FILE` or `FOLDER`.

        Returns:
            Its `stat`.

        Raises:
            StrangeEntryError: It is something else, or a stranger's.
            FileNotFoundError: There is none.
        """
        found = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        if kind_of(found.st_mode) != kind:
            raise StrangeEntryError(f"{self.place}/{name}", kind, kind_of(found.st_mode))
        self._own(f"{self.place}/{name}", found)
        return found

    def _own(self, place: str, found: os.stat_result) -> None:
        if found.st_uid not in self._owners:
            kind = kind_of(found.st_mode)
            raise StrangeEntryError(
                place, f"{kind} of the folder's owner", f"{kind} of user {found.st_uid}"
            )

    @contextmanager
    def opened(self, name: str) -> Generator[int]:
        """Open a plain file for reading.

        Yields:
            Its descriptor.

        Raises:
            StrangeEntryError: It is something else, or a stranger's.
            OSError: It is not there, or closed to us.
        """
        descriptor = self._descriptor(name)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _descriptor(self, name: str) -> int:
        self.expect(name, FILE)
        descriptor = os.open(name, _READ, dir_fd=self.descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StrangeEntryError(f"{self.place}/{name}", FILE, "something else by now")
        return descriptor

    def read(self, name: str, most: int) -> bytes:
        """Read a file whole.

        Args:
            name: Its name.
            most: Its largest size, in bytes; of a larger one nothing more is read.

        Raises:
            StrangeEntryError: It is something else, a stranger's, or larger.
            OSError: It is not there, or closed to us.
        """
        descriptor = self._descriptor(name)
        try:
            data = whole(descriptor, most)
        finally:
            os.close(descriptor)
        if len(data) > most:
            place = f"{self.place}/{name}"
            raise StrangeEntryError(place, f"{FILE} of at most {most:,} bytes", "a larger one")
        return data

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a new read-only file and wait until the disk has it.

        Raises:
            OSError: There is one, or the disk refuses.
        """
        with os.fdopen(os.open(name, _WRITE, 0o600, dir_fd=self.descriptor), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o444)

    def seal(self, name: str) -> None:
        """Make a file read-only."""
        with self.opened(name) as descriptor:
            os.fchmod(descriptor, 0o444)

    def replace(self, name: str, data: bytes) -> None:
        """Replace a small file at once: readers see the old bytes or the new ones.

        A power cut leaves one of the two; `put` does not wait for the disk.

        Raises:
            StrangeEntryError: What lies there is no plain file of ours.
            OSError: The disk refuses.
        """
        aside = f".{name}.{uuid4().hex}"
        try:
            self.write(aside, data)
            self.move(aside, self, name)
            os.fsync(self.descriptor)
        except BaseException:
            self.unlink(aside)
            raise

    def put(self, name: str, data: bytes) -> None:
        """As `replace`, for one of many files that can be made again; anybody may write it.

        Raises:
            StrangeEntryError: What lies there is no plain file of ours.
            OSError: The disk refuses.
        """
        aside = f".{name}.{uuid4().hex}"
        try:
            with os.fdopen(os.open(aside, _WRITE, 0o666, dir_fd=self.descriptor), "wb") as file:
                file.write(data)
            self.move(aside, self, name)
        except BaseException:
            self.unlink(aside)
            raise

    def move(self, name: str, other: Folder, new: str) -> None:
        """Give an entry another name, in this folder or in another; a file replaces a file.

        Raises:
            StrangeEntryError: Something else than a plain file of ours lies there.
            OSError: The disk refuses, or a folder lies there.
        """
        with suppress(FileNotFoundError):
            other.expect(new, kind_of(os.lstat(name, dir_fd=self.descriptor).st_mode))
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=other.descriptor)

    def unlink(self, name: str) -> None:
        """Remove a plain file of ours; anything else stays."""
        with suppress(FileNotFoundError, StrangeEntryError):
            self.expect(name, FILE)
            os.unlink(name, dir_fd=self.descriptor)


def whole(descriptor: int, most: int) -> bytes:
    """The bytes of a file from where it is read next, and one more than `most` of a larger one."""
    pieces: list[bytes] = []
    left = most + 1
    while left > 0 and (piece := os.read(descriptor, min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _folder(name: str, beside: int | None, place: str) -> int:
    """The descriptor of a folder, not of what a link leads to."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=beside)
    except OSError:
        found = os.stat(name, dir_fd=beside, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise StrangeEntryError(place, FOLDER, kind_of(found.st_mode)) from None
        raise
