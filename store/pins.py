"""A pin: the explicit list of parts that one reader sees, however many writers go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from .schema import LATER, SUBJECTS, empty, schema
from .values import rows_of

if TYPE_CHECKING:
    from .manifests import Part
    from .parts import Parts

Scan = Callable[[Sequence[str], str], str]
"""Given Parquet files of one table and the table's name: SQL that can stand after FROM."""


UNREAD = "headbook has not read this table"
"""Error of a query that reads a table that it does not name."""


@dataclass(frozen=True)
class Pinned:
    """A part and those of its runs that no other pinned part shows."""

    part: Part
    runs: frozenset[str]

    @property
    def whole(self) -> bool:
        """Whether every row of the part is shown."""
        return len(self.runs) == len(self.part.keys)


def rank(part: Part) -> tuple[int, str]:
    """Sorts parts: of those that hold a run, the first shows it."""
    return -len(part.keys), part.name


def pin(parts: Iterable[Part]) -> list[Pinned]:
    """Choose parts so that every run is shown exactly once.

    A part whose runs all lie in a larger one (compaction has merged it) is left out; where two
    parts overlap, the larger shows the common runs.

    Args:
        parts: Any parts.

    Returns:
        The parts to read, in order of name.
    """
    shown: set[str] = set()
    pins: list[Pinned] = []
    for part in sorted(parts, key=rank):
        fresh = part.keys.keys() - shown
        if fresh or not part.keys:
            pins.append(Pinned(part, frozenset(fresh)))
            shown |= fresh
    return sorted(pins, key=lambda pinned: pinned.part.name)


def sound_pins(
    parts: Parts,
    runs: Collection[str] | None = None,
    tables: Collection[str] | None = None,
    *,
    values: bool = False,
) -> list[Pinned]:
    """Pin what a reader sees, its bytes checked; parts that do not fit are set aside.

    Args:
        parts: The parts of a store.
        runs: Run ids; None for all.
        tables: The tables that are going to be read; None for all.
        values: Check values too: then nothing in them stops who copies every row.

    Returns:
        The parts that hold those runs; `parts.unfit` says what was set aside.

    Raises:
        StoreError: A part is of a newer headbook.
    """
    while True:
        pins = [
            pinned
            for pinned in pin(parts.current())
            if runs is None or not pinned.runs.isdisjoint(runs)
        ]
        held = [pinned.part for pinned in pins]
        sound = all([parts.check(part, tables) for part in held])  # noqa: C419 - every one
        if sound and (not values or parts.check_values(held, tables)):
            return pins


def quoted(text: str) -> str:
    """Text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def scan_files(paths: Sequence[str], table: str) -> str:
    """The `Scan` that lets DuckDB read the files itself, by their absolute paths.

    Args:
        paths: Parquet files.
        table: The table they hold.

    Returns:
        A call of `read_parquet`.
    """
    files = ", ".join(quoted(re.sub(r"([*?\[])", r"[\1]", path)) for path in paths)
    named = f"read_parquet([{files}], hive_partitioning = false, union_by_name = {table in LATER})"
    if table not in LATER:
        return named
    return f"({_no_rows(table, 'false')} UNION ALL BY NAME FROM {named})"


def _no_rows(table: str, condition: str) -> str:
    types = ", ".join(
        f'NULL::{column.sql} AS "{name}"' for name, column in schema().tables[table].items()
    )
    return f"SELECT {types} WHERE {condition}"


def _selection(pins: Sequence[Pinned], table: str, scan: Scan) -> str:
    columns = ", ".join(f'"{column}"' for column in schema().tables[table])
    holding = [pinned for pinned in pins if table in pinned.part.files]
    whole = [pinned.part.path(table) for pinned in holding if pinned.whole or table in SUBJECTS]
    selects = [f"SELECT {columns} FROM {scan(whole, table)}"] if whole else []
    for pinned in holding:
        if not pinned.whole and table not in SUBJECTS:
            runs = ", ".join(map(quoted, sorted(pinned.runs)))
            rows = scan([pinned.part.path(table)], f"{table}_{pinned.part.name}")
            selects.append(f"SELECT {columns} FROM {rows} WHERE run IN ({runs})")
    union = " UNION ALL ".join(selects) or _no_rows(table, "false")
    if table not in SUBJECTS:
        return union
    own = schema().tables[table]
    return f"SELECT DISTINCT ON ({next(iter(own))}) * FROM ({union}) ORDER BY ALL"


def live_views(pins: Sequence[Pinned], scan: Scan, tables: Collection[str] | None = None) -> str:
    """SQL for a view per table over exactly these parts, and the views over those.

    Args:
        pins: What to show.
        scan: How to read files.
        tables: The tables that can be read: a query that reads another one fails with `UNREAD`.
            None for all.

    Returns:
        Statements for an empty DuckDB, in one transaction.
    """
    unread = f"error({quoted(UNREAD)}) IS NULL"
    read = schema().tables if tables is None else tables
    selections = {
        table: _selection(pins, table, scan) if table in read else _no_rows(table, unread)
        for table in schema().tables
    }
    views = "".join(f"CREATE VIEW {table} AS {sql};\n" for table, sql in selections.items())
    return f"BEGIN; {views} {schema().create_views} COMMIT;"


def live_comments() -> str:
    """SQL for the comments of the tables' views: for people, as it takes as long as the views.

    Returns:
        Statements to run after those of `live_views`, in one transaction.
    """
    comments = re.findall(r"^COMMENT ON .*;$", schema().create_tables, re.MULTILINE)
    return "\n".join(["BEGIN;", *comments, "COMMIT;"])


def read_runs(pins: Iterable[Pinned], runs: Sequence[str], table: str) -> pl.DataFrame:
    """Read one table's rows of some runs: in the order of the runs, within each as stored.

    Args:
        pins: Parts that hold the runs.
        runs: Run ids.
        table: Name of a table with a column `run`.

    Returns:
        The rows, none where no run has any.
    """
    rows: dict[str, pl.DataFrame] = {}
    for pinned in pins:
        wanted = set(pinned.runs.intersection(runs))
        if wanted and table in pinned.part.files:
            held = rows_of(pinned.part, wanted, table)
            rows |= {run["run"][0]: run for run in held.partition_by("run", maintain_order=True)}
    return pl.concat([empty(table), *(rows[run] for run in runs if run in rows)])
