"""What the store asks of an experiment, and how it reports progress meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import polars as pl

Report = Callable[[int, int, str], None]
"""Called as `report(done, total, what)` while work goes on."""

Progress = Callable[[str], AbstractContextManager[Report]]
"""Called with a title when work begins; its context shows a bar and yields the `Report`."""

PATIENCE_S = 2.0
"""Work shorter than this shows no bar."""


class Experiment(Protocol):
    """A frozen question: its fields are everything the answer depends on.

    It may also have a property `device` ("cpu", "cuda:0 H200"): provenance, never in the key.
    """

    version: ClassVar[int]
    """Raised by hand when the meaning of the numbers changes."""

    def units(self) -> Sequence[Experiment]:
        """Itself, or the smaller experiments it is made of; each is stored on its own."""
        ...

    def question(self) -> dict[str, Any]:
        """What the key hashes beside name and version: model, tokens, parameters, dtype, seed."""
        ...

    def subjects(self) -> dict[str, pl.DataFrame]:
        """The rows of `models` and `texts` that the unit's answer refers to."""
        ...

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compute the answer: tidy frames by table name, without the column `run`."""
        ...


@contextmanager
def terminal_bar(title: str) -> Generator[Report]:
    """Show a bar on stderr, once the work has taken more than two seconds.

    Args:
        title: What is being computed, shown in front of the bar.

    Yields:
        The `Report` that moves the bar.
    """
    from tqdm import tqdm  # noqa: PLC0415 (a stored answer needs no bar)

    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
    with tqdm(desc=title, delay=PATIENCE_S, bar_format=layout) as bar:

        def report(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_description_str(f"{title}: {what}" if what else title, refresh=False)
            bar.update(done - bar.n)

        yield report


def no_report(done: int, total: int, what: str) -> None:
    """Tell nobody."""
    del done, total, what


def part_of_whole(report: Report, index: int, count: int) -> Report:
    """Let unit `index` of `count` move its share of a common bar.

    Args:
        report: Moves the common bar.
        index: Units finished before this one.
        count: Units in all; they are taken to be of equal size.

    Returns:
        The `Report` for the one unit.
    """

    def share(done: int, total: int, what: str) -> None:
        report(index * total + done, count * total, what)

    return share
