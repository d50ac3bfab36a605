"""The copy of results that a book ships and others open: small, commented, the same every time.

DuckDB 1.0 can read it, and so can the browser's build. From the same parts, runs and versions come
the same bytes: one thread, no FSST (duckdb/duckdb#23382), and memory that is zero before it is
used. DuckDB writes unused memory into its files, and what was in it; its own allocator and glibc
clear it if told to when a process starts, so one of its own writes the file. On a system without
the two the content is the same, and unused bytes may differ.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import duckdb

from .disk import disk_errors, sync_folder
from .errors import StoreError
from .pins import Pinned, live_views, scan_files
from .provenance import CHECKOUT
from .schema import SUBJECTS, schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .results import Store

STORAGE = "v1.0.0"
"""The browser's build is DuckDB 1.4, which opens no later one."""

_SMALL_BYTES = 10_000_000
_SMALL_BLOCKS = ", BLOCK_SIZE 16384"
_ZEROED = {"DUCKDB_JE_MALLOC_CONF": "zero:true", "MALLOC_PERTURB_": "255"}  # 255: all bits of 0
_REPEATABLE = (
    "SET enable_progress_bar = false; SET threads = 1; SET disabled_compression_methods = 'fsst'"
)
_COMMENT = re.compile(r"^COMMENT ON TABLE (\w+) IS '((?:[^']|'')*)';$", re.MULTILINE)
_NO_HOST = """json_merge_patch(packages, '{"host": null}')"""
"""Others need no name of the machine."""

Keep = tuple[str, str]
"""Which rows of a table a copy keeps, as a SQL condition, and what the others are."""

_AGGREGATES: Keep = ("sequence IS NULL", "rows of single sequences")
_NOTHING: Keep = ("false", "rows")
_MEANS = {"ablation_effects": "ablation_means", "retrieval_outcomes": "retrieval_curves"}
"""Tables of single sequences only, and where their aggregates are."""

_BULKY = ("component_pairs", "patterns")
"""Left out before others: every pair, and every query and key, that nothing was asked about."""


@dataclass(frozen=True)
class LeftOut:
    """What a copy leaves out of one table, to stay small."""

    table: str
    rows: int
    what: str


def write_copy(
    store: Store,
    path: Path,
    runs: Iterable[str] | None = None,
    most_bytes: int | None = None,
) -> tuple[LeftOut, ...]:
    """Write tables, views and comments of a store into one DuckDB file for others.

    Where that becomes too large, rows of single sequences are left out first (their aggregates
    stay), then whole tables, bulky and large ones first; the comment of such a table says so.

    Args:
        store: The store.
        path: Where; replaced at once if it exists.
        runs: The runs whose rows are copied; None for all.
        most_bytes: How large the file may be; None for any size.

    Returns:
        What was left out, in the order of the tables.

    Raises:
        StoreError: A run is not there, a part is damaged, the disk refuses, or nothing that
            could be left out makes the copy small enough.
    """
    pins = _chosen(store, runs)
    sizes = _sizes(pins)
    single, whole = _candidates(sizes)
    kept: dict[str, Keep] = {}
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    with disk_errors(path):
        try:
            left_out = _write(aside, pins, kept)
            while most_bytes is not None and (size := aside.stat().st_size) > most_bytes:
                if not (single or whole):
                    raise StoreError(
                        f"expected to copy the results into {most_bytes} bytes, got {size} with "
                        "empty tables; allow more"
                    )
                excess = (1 - most_bytes / size) * sum(sizes.values())
                kept.update(_next(single, excess, sizes) or [whole.pop(0)])
                aside.unlink()
                left_out = _write(aside, pins, kept)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)
    return left_out


def _chosen(store: Store, runs: Iterable[str] | None) -> list[Pinned]:
    """Pins that show the wanted runs only."""
    if runs is None:
        return store.true_pins()
    wanted = frozenset(runs)
    if absent := sorted(wanted - store.present(wanted)):
        raise StoreError(f"expected runs of the store {store.root}, got {absent}; run them again")
    return [Pinned(pinned.part, pinned.runs & wanted) for pinned in store.true_pins(wanted)]


def _sizes(pins: Sequence[Pinned]) -> dict[str, int]:
    """Bytes of the parts by table."""
    sizes: dict[str, int] = {}
    for pinned in pins:
        for table, file in pinned.part.files.items():
            sizes[table] = sizes.get(table, 0) + file.bytes
    return sizes


Candidates = list[tuple[str, Keep]]


def _candidates(sizes: Mapping[str, int]) -> tuple[Candidates, Candidates]:
    """What can be left out, in the order in which it is: single sequences, then whole tables."""
    tables = schema().tables
    largest = sorted(sizes.keys() - {*SUBJECTS, "runs"}, key=lambda table: (-sizes[table], table))
    single: dict[str, Keep] = {}
    for table in largest:
        if table in _MEANS:
            single[table] = ("false", f"rows, whose means are in {_MEANS[table]}")
        elif "sequence" in tables[table] and tables[table]["sequence"].nullable:
            single[table] = _AGGREGATES
    others = [table for table in (*_BULKY, *largest) if table in sizes and table not in single]
    aggregates = [table for table in single if table not in _MEANS]
    return list(single.items()), [(table, _NOTHING) for table in dict.fromkeys(others + aggregates)]


def _next(single: Candidates, excess: float, sizes: Mapping[str, int]) -> Candidates:
    """Take as many tables of single sequences as make up for the excess, in bytes of parts."""
    taken: Candidates = []
    while single and excess > 0:
        taken.append(single.pop(0))
        excess -= sizes[taken[-1][0]]
    return taken


def _write(path: Path, pins: Sequence[Pinned], kept: dict[str, Keep]) -> tuple[LeftOut, ...]:
    live = live_views(pins, scan_files)
    left_out = _counted(live, kept)
    small = _SMALL_BLOCKS if kept or sum(_sizes(pins).values()) < _SMALL_BYTES else ""
    job = {
        "path": str(path),
        "options": f"STORAGE_VERSION '{STORAGE}'{small}",
        "statements": [
            _REPEATABLE,
            f"USE memory; {live} USE made",
            f"BEGIN; {schema().create_tables}",
            *(_insertion(table, kept.get(table)) for table in schema().tables),
            *_notes(left_out),
            f"COMMIT; BEGIN; {schema().create_views} COMMIT",
        ],
    }
    _work(job)
    return left_out


def _counted(live: str, kept: dict[str, Keep]) -> tuple[LeftOut, ...]:
    """How many rows the conditions leave out."""
    with duckdb.connect() as connection:
        connection.execute(live)
        counts = {
            table: connection.sql(f"SELECT count(*) FROM {table} WHERE NOT ({keep})").fetchall()
            for table, (keep, _) in kept.items()
        }
    return tuple(
        LeftOut(table, int(counts[table][0][0]), kept[table][1])
        for table in schema().tables
        if table in counts and counts[table][0][0]
    )


def _insertion(table: str, keep: Keep | None) -> str:
    if table == "runs":
        return f"INSERT INTO runs SELECT * REPLACE ({_NO_HOST} AS packages) FROM memory.runs"
    condition = keep[0] if keep else "true"
    if table in SUBJECTS:
        key = next(iter(schema().tables[table]))
        tables = schema().tables
        users = [name for name, own in tables.items() if key in own and name != table]
        used = " UNION ".join(f"SELECT {key} FROM memory.{name}" for name in users)
        condition = f"{key} IN ({used})"
    return f"INSERT INTO {table} FROM memory.{table} WHERE {condition}"


def _notes(left_out: Iterable[LeftOut]) -> list[str]:
    """What the comments of tables say of what is not there."""
    comments = dict(_COMMENT.findall(schema().create_tables))
    return [
        f"COMMENT ON TABLE {item.table} IS '{comments[item.table]}. "
        f"This copy leaves out {item.rows:,} {item.what}'"
        for item in left_out
    ]


def _work(job: Mapping[str, object]) -> None:
    """Let a process of its own write the file."""
    entries = [str(CHECKOUT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    search = os.pathsep.join(entry for entry in entries if Path(entry) != Path())
    done = subprocess.run(  # it never imports from the current folder, which "" in a path is
        [sys.executable, "-P", "-m", "store.copy_worker"],
        input=json.dumps(job),
        env={**os.environ, **_ZEROED, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
        process_group=0,  # a terminal's Ctrl-C is for us alone, who kill it then
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        expected = f"expected to write {job['path']}, got {reason}; see that memory suffices"
        raise StoreError(reason if reason.startswith("expected ") else expected)
