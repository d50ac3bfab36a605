"""Memory of this machine: what does not fit is refused, and what is freed is reused.

Giving every block of some MiB back as it is freed costs page faults, up to half of the speed of
passes, which free and take such blocks all the time. So freed blocks are kept, which holds memory
flat as long as nothing small is taken between two large ones and kept: it would split their place.
"""

import ctypes
import os
import sys

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
