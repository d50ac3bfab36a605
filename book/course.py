"""How far all that is asked has come: which of how many, of what kind, and the time left."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from analysis.questions.cost import Rates
    from analysis.questions.experiment import Experiment

    Report = Callable[[int, int, str], None]

SURE_S = 10.0
"""From so much computed on, what is left is told by the pace of that, not of the estimate."""


@dataclass
class Course:
    """Told what is finished; tells what is left."""

    rates: Rates
    n_there: int
    """Units that were stored already."""
    left_s: float
    """Of one core: what is to be computed now and later."""
    n_left: int
    n_workers: int
    """That share it."""
    done_s: float = 0.0
    n_done: int = 0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, rates: Rates, units: Iterable[Experiment], n_there: int, n_workers: int) -> Course:
        """The course of units that are computed now and later."""
        from analysis.questions.cost import cost  # noqa: PLC0415 - imports torch

        every = list(units)
        return cls(rates, n_there, cost(every, rates).seconds, len(every), n_workers)

    def finish(self, unit: Experiment) -> None:
        """Note that a unit is there."""
        from analysis.questions.cost import UNIT_S  # noqa: PLC0415 - imports torch

        seconds = self.rates.seconds(unit.work()) + UNIT_S
        self.done_s, self.left_s = self.done_s + seconds, max(0.0, self.left_s - seconds)
        self.n_done, self.n_left = self.n_done + 1, max(0, self.n_left - 1)

    def where(self, kind: str) -> str:
        """Where it stands while a unit of a kind is computed, for the line of a bar."""
        from analysis.questions.cost import in_words  # noqa: PLC0415 - imports torch

        number = self.n_there + self.n_done + 1
        of = max(number, self.n_there + self.n_done + self.n_left)
        return f"{kind}, {number} of {of}, about {in_words(self.seconds_left)} left"

    @property
    def seconds_left(self) -> float:
        """By the clock, with those who share it."""
        if self.done_s < SURE_S:
            return self.left_s / self.n_workers
        return self.left_s * (time.monotonic() - self.started) / self.done_s

    @contextmanager
    def progress(self, title: str) -> Generator[Report]:
        """A bar of one experiment, whose line tells the whole course too."""
        from store import terminal_bar  # noqa: PLC0415 - imports DuckDB

        with terminal_bar(self.where(title)) as report:
            yield report
