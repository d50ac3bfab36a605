"""The store: ask an experiment's question, and get the stored answer or a fresh one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from .answers import Answer, Recalled, answered
from .catalog import Catalog
from .errors import StoreError
from .experiment import part_of_whole, terminal_bar
from .folder import check_root, default_root, is_new, resolved
from .keys import name_of, run_key
from .manifests import part_name
from .notes import Notes
from .parts import Parts
from .pins import Pinned, live_views, read_runs, scan_files, sound_pins
from .refusals import Refusals
from .sandbox import answered_by
from .schema import schema

if TYPE_CHECKING:
    from .experiment import Experiment, Progress, Report

_PROVENANCE = r"""
FROM runs
LEFT JOIN (SELECT model, COLUMNS(* EXCLUDE (model)) AS 'model_\0' FROM models) USING (model)
LEFT JOIN (SELECT text, COLUMNS(* EXCLUDE (text)) AS 'text_\0' FROM texts) USING (text)
"""

_FEW_PARTS = 64
"""Of fewer, a query checks the values too; of 10,000 that takes a second, as long as the query."""


class Store(Refusals, Notes):
    """Answers by question. Any number of processes may read and write one folder."""

    def __init__(self, root: Path, *, planned: bool = False) -> None:
        """Use `Store.open`, `Store.planned` or `Store.existing`, which check the folder."""
        self.root = root
        self.parts = Parts(root, planned=planned)
        self.log: list[Recalled] = []
        self.catalog = Catalog(root, self.parts)

    @classmethod
    def open(cls, path: str | Path | None = None) -> Store:
        """Open a store, creating it where there is none; one that is there is not touched.

        Args:
            path: Its folder; None for `default_root()`.

        Returns:
            The store.

        Raises:
            StoreError: The folder is something else, or of a newer headbook, or the disk
                refuses. An existing store on a read-only disk opens, but only for reading.
        """
        store = cls.planned(path)
        store.make()
        return store

    @classmethod
    def planned(cls, path: str | Path | None = None) -> Store:
        """As `open`, but where there is none, the first answer makes it: until then it is empty.

        Args:
            path: Its folder; None for `default_root()`.

        Returns:
            The store; what is asked of it may still turn out to be refused, and leaves nothing.

        Raises:
            StoreError: The folder is something else, or of a newer headbook.
        """
        root = resolved(path or default_root())
        return cls(root, planned=True) if is_new(root) else cls.existing(root)

    def make(self) -> None:
        """Make the store, where it is only planned.

        Raises:
            StoreError: The disk refuses.
        """
        if self.parts.begin():
            self.catalog.refresh()

    @classmethod
    def existing(cls, path: str | Path | None = None) -> Store:
        """Open a store that is there: nothing is written.

        Args:
            path: Its folder; None for `default_root()`.

        Returns:
            The store.

        Raises:
            StoreError: There is none, or it is of a newer headbook, or something lies in it
                under a name of ours that is not what headbook puts there.
        """
        root = resolved(path or default_root())
        check_root(root)
        return cls(root)

    def recall(self, experiment: Experiment, progress: Progress | None = None) -> Answer:
        """Answer from disk, or compute what is missing, publish it, and answer.

        Units are published as they are finished: after an interruption, the same call goes on
        where it stopped. A unit that fails publishes nothing.

        Args:
            experiment: The question.
            progress: Shows a bar while computing; None for one on stderr after two seconds.

        Returns:
            The rows of all units, in the order of the units, as they were computed.

        Raises:
            StoreError: A frame does not fit its table, a part is damaged, or the disk refuses.
        """
        units = {run_key(unit): unit for unit in experiment.units()}
        present = self.present(units)
        missing = {run: unit for run, unit in units.items() if run not in present}
        name = name_of(experiment)
        self._refuse_damaged(missing)
        if missing:
            with (progress or terminal_bar)(name) as report:
                self._compute(missing, report)
        frames = self._rows(tuple(units))
        rows = sum(frame.height for frame in frames.values())
        self.log.append(Recalled(name, experiment.question(), tuple(units), tuple(missing), rows))
        return Answer(frames, name, tuple(units))

    def _refuse_damaged(self, runs: Iterable[str]) -> None:
        """Refuse to compute what could not be published, since something unsound has its place."""
        for run in runs:
            for name, error in self.parts.unfit.items():
                if run in error.runs or name == part_name([run]):
                    raise error

    def missing(self, experiment: Experiment) -> list[Experiment]:
        """The units that a recall would have to compute.

        Args:
            experiment: The question.

        Returns:
            Its units without an answer.
        """
        units = {run_key(unit): unit for unit in experiment.units()}
        present = self.present(units)
        return [unit for run, unit in units.items() if run not in present]

    def _compute(self, units: dict[str, Experiment], report: Report) -> None:
        try:
            for index, (run, unit) in enumerate(units.items()):
                self._publish(run, unit, part_of_whole(report, index, len(units)))
                self.catalog.refresh_now_and_then()
            report(len(units), len(units), "")
        finally:
            self.catalog.refresh()

    def _publish(self, run: str, unit: Experiment, report: Report) -> None:
        self.parts.publish(*answered(run, unit, report))

    def pins(
        self, runs: Collection[str] | None = None, tables: Collection[str] | None = None
    ) -> list[Pinned]:
        """Pin what a reader sees from now on, its bytes checked.

        Parts that do not fit are set aside: `parts.unfit` names them.

        Args:
            runs: Run ids; None for all.
            tables: The tables that are going to be read; None for all.

        Returns:
            The parts that hold them.

        Raises:
            StoreError: One of the runs lies in a part that does not fit.
        """
        return self._holding(sound_pins(self.parts, runs, tables), runs)

    def true_pins(self, runs: Collection[str] | None = None) -> list[Pinned]:
        """As `pins`, their values checked too: for who copies every row into tables with keys.

        Args:
            runs: Run ids; None for all.

        Returns:
            The parts that hold them.

        Raises:
            StoreError: One of the runs lies in a part that does not fit.
        """
        return self._holding(sound_pins(self.parts, runs, values=True), runs)

    def _holding(self, pins: list[Pinned], runs: Collection[str] | None) -> list[Pinned]:
        if runs is not None:
            shown = {run for pinned in pins for run in pinned.runs}
            self._refuse_damaged(set(runs) - shown)
        return pins

    def _rows(self, runs: tuple[str, ...]) -> dict[str, pl.DataFrame]:
        pins = self.pins(runs)
        units = {run: unit for pinned in pins for run, unit in pinned.part.keys.items()}
        tables = sorted({table for run in runs for table in units[run].tables})
        return {table: read_runs(pins, runs, table) for table in tables}

    def runs(self) -> tuple[str, ...]:
        """Ids of all runs in the store, sorted."""
        return tuple(sorted({run for part in self.parts.current() for run in part.keys}))

    def present(self, runs: Iterable[str]) -> set[str]:
        """Which of some runs the store holds.

        Args:
            runs: Run ids.

        Returns:
            Those whose rows are stored.
        """
        return set(runs) & set(self.runs())

    def run_rows(self, runs: Iterable[str]) -> pl.DataFrame:
        """Where numbers come from: one row per run, with its model and its text.

        Args:
            runs: Run ids.

        Returns:
            The columns of `runs`, those of `models` as `model_...`, those of `texts` as
            `text_...`; in the order asked for.

        Raises:
            StoreError: The store does not hold one of the runs.
        """
        wanted = tuple(dict.fromkeys(runs))
        if absent := sorted(set(wanted) - self.present(wanted)):
            raise StoreError(
                f"expected runs of the store {self.root}, got {absent}; run them again"
            )
        pins = self.pins(wanted)
        with duckdb.connect() as connection:
            connection.execute(live_views(pins, scan_files))
            rows = connection.sql(_PROVENANCE).pl()
        order = pl.DataFrame({"run": wanted}, schema={"run": pl.String})
        return order.join(rows, on="run", how="left", maintain_order="left")

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open DuckDB on the store as it is now: later runs do not change what it sees.

        Returns:
            A connection of the caller's own, with a view per table. Trusted code only: it can
            reach every file that the process can; people's queries belong in `sql`.

        Raises:
            StoreError: A part is damaged.
        """
        views = live_views(self._pins_of_query("connect()", schema().tables), scan_files)
        connection = duckdb.connect(config={"temp_directory": str(self.parts.tmp / "spill")})
        return connection.execute(views)

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        """Answer one query over the live tables, and let it touch nothing else.

        Args:
            query: One SELECT, or DESCRIBE, SHOW, SUMMARIZE, PIVOT or EXPLAIN.
            parameters: Values for its `?`.

        Returns:
            The result.

        Raises:
            StoreError: The query writes, reaches beyond the tables, or is wrong; or a part is
                damaged.
        """
        return answered_by(lambda tables: self._pins_of_query(query, tables), query, parameters)

    def _pins_of_query(self, query: str, tables: Collection[str]) -> list[Pinned]:
        pins = self.pins(None, tables)
        if len(pins) < _FEW_PARTS:
            pins = sound_pins(self.parts, None, tables, values=True)
        runs = sorted({run for pinned in pins for run in pinned.runs})
        self.log.append(Recalled("sql", {"sql": query}, tuple(runs), (), None))
        return pins
