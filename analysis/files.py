"""Files of users: regular ones alone, and no more of them than is needed.

Nothing here waits: a fifo, a device or a socket is refused before it is opened. Links are followed,
since a user may name one and hubs keep models behind them; what they lead to is held to the same.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from analysis.errors import UserError

LARGE = 256 * 2**20
"""Bytes of a vocabulary, or of a corpus' file."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISREG, "a file"),
)


def kind(mode: int) -> str:
    """What lies at a path.

    Args:
        mode: As `stat` tells it.

    Returns:
        Such as `a fifo`.
    """
    return next((name for is_so, name in _KINDS if is_so(mode)), "a device")


def opened(path: Path) -> io.BufferedReader:
    """Open a regular file to read it.

    Args:
        path: The file, or a link to it.

    Returns:
        The file.

    Raises:
        OSError: There is none, or what is there is no regular file.
    """
    try:
        _require_regular(path, path.stat().st_mode)
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:  # no name that a file can have
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    file = os.fdopen(handle, "rb")
    try:
        _require_regular(path, os.fstat(handle).st_mode)
    except OSError:
        file.close()
        raise
    return file


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, kind(mode), str(path))


@contextmanager
def reading(path: Path) -> Generator[io.BufferedReader]:
    """Open a regular file, and say in one line what is wrong with it.

    Args:
        path: The file, or a link to it.

    Yields:
        The file.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with opened(path) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"expected a file, found none at {path}; check its name") from None
    except OSError as error:
        raise UserError(
            f"expected a file that can be read, got {error.strerror} at {path}; check it"
        ) from None


def regular_bytes(path: Path, most: int) -> bytes:
    """All bytes of a file that is not too large.

    Args:
        path: The file.
        most: Bytes that it may have.

    Returns:
        Its bytes.

    Raises:
        UserError: It is missing, no regular file, larger, or cannot be read.
    """
    with reading(path) as file:
        data = file.read(most + 1)
        if len(data) > most:
            size = max(os.fstat(file.fileno()).st_size, len(data))
            raise UserError(
                f"expected at most {most / 2**20:g} MiB in {path}, got {size / 2**20:,.1f}; "
                "give a smaller file"
            )
    return data


def check_regular(paths: Iterable[Path], most: int) -> None:
    """Refuse files before a library reads them that would wait for ever, or read them whole.

    Args:
        paths: Of files that may be there.
        most: Bytes that each may have.

    Raises:
        UserError: One is there, and is no regular file or too large.
    """
    for path in paths:
        if os.path.lexists(path):
            with reading(path) as file:
                size = os.fstat(file.fileno()).st_size
                if size > most:
                    raise UserError(
                        f"expected at most {most // 2**20} MiB in {path}, got {size // 2**20}; "
                        "copy it again"
                    )
