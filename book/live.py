"""Progress in a live notebook: what `Store.recall` reports, shown under the cell."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import marimo as mo

if TYPE_CHECKING:
    from store import Report

_STEPS = 1000


@contextmanager
def progress_bar(title: str) -> Generator[Report]:
    """A marimo progress bar for `store.recall(experiment, progress_bar)`.

    Args:
        title: What is being computed.

    Yields:
        Moves the bar; reports that go back are ignored.
    """
    shown = 0
    with mo.status.progress_bar(total=_STEPS, title=title, remove_on_exit=True) as bar:

        def report(done: int, total: int, what: str) -> None:
            nonlocal shown
            step = max(0, round(_STEPS * done / max(total, 1)) - shown)
            shown += step
            bar.update(increment=step, subtitle=what)

        yield report
