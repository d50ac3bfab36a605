"""How glibc keeps freed memory: reused at once for speed, or given back for a small footprint.

By default it moves the size from which blocks are mapped apart up to 32 MiB as they are freed.
Blocks as large as patterns then stay on its heap and, being aligned, are not reused: memory grows
by a layer's patterns each layer. Mapping every block of 1 MiB apart keeps memory flat, but page
faults cost a sweep, which frees and takes such blocks all the time, half of its speed.
"""

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager

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


@contextmanager
def freed_memory_returned() -> Generator[None]:
    """Have freed blocks of 1 MiB and more given back at once, and those that were kept before."""
    _set(_MMAP_THRESHOLD, _MIB)
    _set(_TRIM_THRESHOLD, _MIB)
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
    try:
        yield
    finally:
        _keep_freed_memory()


_keep_freed_memory()
