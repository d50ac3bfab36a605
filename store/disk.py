"""Files that survive a power cut, and the disk's refusals as errors of the store."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_REFUSALS = {
    errno.ENOSPC: ("room on the disk", "a full disk", "free some space and run again"),
    errno.EDQUOT: ("room on the disk", "a full quota", "free some space and run again"),
    errno.ENOTDIR: ("a folder", "a file on the way to it", "choose another with --store"),
    errno.ENOENT: ("a folder that stays", "one removed meanwhile", "restore it and run again"),
    errno.EROFS: ("a folder to write to", "a read-only disk", "choose another with --store"),
    errno.EACCES: ("a folder to write to", "permission denied", "choose another with --store"),
    errno.EPERM: ("a folder to write to", "permission denied", "choose another with --store"),
}


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turn the disk's refusals inside the block into a `StoreError` that names `path`.

    Args:
        path: The folder or file that the block writes.

    Raises:
        StoreError: The disk is full, read-only or closed to us. Finished units are safe.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        expected, got, remedy = _REFUSALS[error.errno]
        raise StoreError(
            f"expected {expected} at {path}, got {got}; {remedy}: finished units are kept"
        ) from error


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn refusals to read inside the block into a `StoreError` that names `path`.

    Args:
        path: The folder or file that the block reads.

    Raises:
        StoreError: It is not there, or cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            f"expected a store at {path}, got nothing there; make one with `headbook run`, or "
            "choose another with --store"
        ) from error
    except OSError as error:
        raise StoreError(
            f"expected a store that can be read at {path}, got {error.strerror}; choose another "
            "with --store"
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut.

    Args:
        folder: Any folder.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes | memoryview) -> None:
    """Write a new read-only file and wait until the disk has it.

    Args:
        path: Where; must not exist.
        data: Its bytes.
    """
    with path.open("xb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    path.chmod(0o444)


def replace_file(path: Path, data: bytes) -> None:
    """Replace a small file at once: readers see the old bytes or the new ones.

    Args:
        path: The file, which may exist.
        data: Its new bytes.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        write_synced(aside, data)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
