"""How far something has come that runs for long."""

from collections.abc import Callable

Report = Callable[[int, int, str], None]
"""Told (done, total, what) while something runs."""


def silent(_done: int, _total: int, _what: str) -> None:
    """A report to nobody: of parts whose progress is shown as a whole."""


def stage(report: Report, what: str, index: int, count: int) -> Report:
    """Report stage `index` of `count` as its share of the whole.

    Args:
        report: Told of the whole.
        what: What the stage does, shown beside the bar.
        index: Stages before this one.
        count: All stages, taken to be of equal length.

    Returns:
        What the stage is to call.
    """

    def part(done: int, total: int, _what: str) -> None:
        report(index * total + done, count * total, what)

    return part
