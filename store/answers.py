"""Answers: computed, as they are handed out, and as they are remembered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from .errors import StoreError
from .keys import name_of
from .manifests import Unit
from .provenance import run_row
from .schema import SUBJECTS

if TYPE_CHECKING:
    from .experiment import Experiment, Report


def answered(
    run: str, unit: Experiment, report: Report
) -> tuple[dict[str, pl.DataFrame], dict[str, Unit]]:
    """Compute a unit.

    Args:
        run: Its id.
        unit: The question.
        report: Told the progress.

    Returns:
        Rows by table, with their column `run`, and the unit by its id, to be published.

    Raises:
        StoreError: The answer has tables or columns that an experiment must leave to the store.
    """
    started = datetime.now(UTC)
    found = unit.run(report)
    frames: dict[str, pl.DataFrame] = {"runs": run_row(unit, run, started)}
    for table, frame in found.items():
        if table in (*SUBJECTS, "runs") or "run" in frame.columns:
            raise StoreError(
                f"expected run() of {name_of(unit)} to answer with tables of results without "
                f"the column `run`, got `{table}` with {frame.columns}; see subjects()"
            )
        frames[table] = frame.with_columns(run=pl.lit(run))
    subjects = unit.subjects()
    if wrong := sorted(subjects.keys() - set(SUBJECTS)):
        raise StoreError(f"expected subjects() to name only {SUBJECTS}, got {wrong}")
    return frames | subjects, {run: Unit(name_of(unit), sorted(found))}


class Answer(dict[str, pl.DataFrame]):
    """An experiment's tidy frames by table name, each with the column `run`."""

    def __init__(
        self, frames: dict[str, pl.DataFrame], experiment: str, runs: tuple[str, ...]
    ) -> None:
        super().__init__(frames)
        self.experiment = experiment
        self.runs = runs

    def __missing__(self, table: str) -> pl.DataFrame:
        """An answer lacks a table only if somebody has changed what was stored."""
        runs = ", ".join(self.runs)
        raise StoreError(
            f"expected rows of {table} in the answer of {self.experiment}, got a damaged one; "
            f"remove its part with `headbook store prune`, then run {runs} again"
        )


@dataclass(frozen=True)
class Recalled:
    """One thing that was asked of a store: what a page of the book depends on."""

    experiment: str
    """Name of the experiment, or "sql" for a query, whose answer depends on every run."""

    question: dict[str, Any]
    runs: tuple[str, ...]
    computed: tuple[str, ...]
    """Those of the runs that had to be computed."""

    rows: int | None
    """How many rows the answer has; None for a query."""
