"""Memory of this machine: what does not fit is refused, and what is freed is reused or given back.

By default glibc moves the size from which blocks are mapped apart up to 32 MiB as they are freed.
Blocks as large as patterns then stay on its heap and, being aligned, are not reused: memory grows
by a layer's patterns each layer. Mapping every block of 1 MiB apart keeps memory flat, but page
faults cost a sweep, which frees and takes such blocks all the time, half of its speed.
"""

import ctypes
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from analysis.errors import UserError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MIB = 2**20
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _set(option: int, size: int) -> None:
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(option, size)


def _keep_freed_memory() -> None:
    """Reuse freed blocks of up to 32 MiB, and give the end of the heap back above 512 MiB."""
    _set(_MMAP_THRESHOLD, 32 * _MIB)
    _set(_TRIM_THRESHOLD, 512 * _MIB)


def give_back() -> None:
    """Give what was freed so far back to the machine, where the C library knows how."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def freed_memory_returned() -> Generator[None]:
    """Have freed blocks of 1 MiB and more given back at once, and those that were kept before."""
    _set(_MMAP_THRESHOLD, _MIB)
    _set(_TRIM_THRESHOLD, _MIB)
    give_back()
    try:
        yield
    finally:
        _keep_freed_memory()


def memory_bytes() -> int:
    """Main memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(option: str, asked: int, each: int) -> None:
    """Refuse what does not fit the memory of this machine.

    Args:
        option: How it is asked for, such as `--sequences`.
        asked: How many.
        each: Bytes that one of them takes.

    Raises:
        UserError: They do not fit.
    """
    most = memory_bytes() // max(1, each)
    if asked > most:
        raise UserError(
            f"expected {option} up to {most:,}, as many as fit the "
            f"{memory_bytes() / 2**30:.0f} GiB of memory of this machine, got {asked:,}; "
            "choose fewer"
        )


_keep_freed_memory()
