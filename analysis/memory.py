"""How much memory this machine has: what does not fit is refused before it begins."""

import os

from analysis.errors import UserError


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
