"""A pin: the explicit list of parts that one reader sees, however many writers go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from .schema import SUBJECTS, empty, schema

if TYPE_CHECKING:
    from .parts import Part

Scan = Callable[[Sequence[Path], str], str]
"""Given Parquet files of one table and the table's name: SQL that can stand after FROM."""


@dataclass(frozen=True)
class Pinned:
    """A part and those of its runs that no other pinned part shows."""

    part: Part
    runs: frozenset[str]

    @property
    def whole(self) -> bool:
        """Whether every row of the part is shown."""
        return len(self.runs) == len(self.part.keys)


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
    for part in sorted(parts, key=lambda part: (-len(part.keys), part.name)):
        fresh = part.keys.keys() - shown
        if fresh or not part.keys:
            pins.append(Pinned(part, frozenset(fresh)))
            shown |= fresh
    return sorted(pins, key=lambda pinned: pinned.part.name)


def quoted(text: str) -> str:
    """Text as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def scan_files(paths: Sequence[Path], table: str) -> str:
    """The `Scan` that lets DuckDB read the files itself, by their absolute paths.

    Args:
        paths: Parquet files.
        table: The table they hold; not needed here.

    Returns:
        A call of `read_parquet`.
    """
    del table
    files = ", ".join(quoted(re.sub(r"([*?\[])", r"[\1]", str(path))) for path in paths)
    return f"read_parquet([{files}], hive_partitioning = false)"


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
    union = " UNION ALL ".join(selects)
    if table not in SUBJECTS:
        return union
    own = schema().tables[table]
    return f"SELECT DISTINCT ON ({next(iter(own))}) * FROM ({union}) ORDER BY ALL"


def live_views(pins: Sequence[Pinned], scan: Scan) -> str:
    """SQL for a view per table over exactly these parts, and the views over those.

    Args:
        pins: What to show; the part with the empty tables is among them.
        scan: How to read files.

    Returns:
        Statements for an empty DuckDB, in one transaction.
    """
    views = "".join(
        f"CREATE VIEW {table} AS {_selection(pins, table, scan)};\n" for table in schema().tables
    )
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
        if not wanted or table not in pinned.part.files:
            continue
        file = pl.scan_parquet(pinned.part.path(table), glob=False, hive_partitioning=False)
        if len(pinned.part.keys) == 1:
            rows[wanted.pop()] = file.collect()
            continue
        held = file.filter(pl.col("run").is_in(wanted)).collect()
        for run in held.partition_by("run", maintain_order=True):
            rows[run["run"][0]] = run
    return pl.concat([empty(table), *(rows[run] for run in runs if run in rows)])
