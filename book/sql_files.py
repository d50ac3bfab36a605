"""What the console needs beside the pages: the engine, the results, and what they hold."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from .inputs import BOOK, CHECKOUT, digest, file_digest, kept_json, write_aside
from .sql_console import CONTENTS, FOLDER

if TYPE_CHECKING:
    from store import CopiedTable, LeftOut, Store

MOST_BYTES = 7_000_000
"""Largest copy of the results that is shipped, before it is packed to about a third."""

RESULTS = "results.duckdb"
PACKED = f"{RESULTS}.gz"
ENGINE = (
    *("duckdb-bundle.js", "duckdb-worker.js", "duckdb-eh.wasm.gz"),
    *("LICENSE.duckdb", "LICENSE.arrow"),
)


def ship_results(work: Path, source: Path, runs: Iterable[str], store: Store) -> None:
    """Put engine and results into the work folder and say on the page what they hold.

    A book without a console gets neither. Results are copied anew when other runs are shown.

    Args:
        work: The work folder; `sql` in it is published as it is.
        source: The pages' source, whose fragments are completed.
        runs: The runs that the book shows.
        store: Where they are.

    Raises:
        StoreError: The results cannot be copied.
    """
    folder = work / FOLDER
    pages = [path for path in sorted(source.glob("*.fragments.json")) if _has_console(path)]
    if not pages:
        shutil.rmtree(folder, ignore_errors=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in {*ENGINE, PACKED}:
            path.unlink()
    for name in ENGINE:
        write_aside(folder / name, (BOOK / "vendor" / name).read_bytes())
    contents = _contents(work, sorted(set(runs)), store)
    for path in pages:
        pieces = json.loads(path.read_text(encoding="utf-8"))
        filled = [
            piece.replace(CONTENTS, contents) if isinstance(piece, str) else piece
            for piece in pieces
        ]
        write_aside(path, json.dumps(filled).encode())


def _has_console(fragments: Path) -> bool:
    return CONTENTS in fragments.read_text(encoding="utf-8")


def _contents(work: Path, runs: Sequence[str], store: Store) -> str:
    """HTML of what the copy holds; the copy is written if it is not that of these runs."""
    from store import copied_tables, write_copy  # noqa: PLC0415 - imports DuckDB

    results, packed, stamp = work / RESULTS, work / FOLDER / PACKED, work / "sql.json"
    ours = [*sorted((CHECKOUT / "store").glob("*.py")), CHECKOUT / "store" / "schema.sql"]
    code = [file_digest(path) for path in (*ours, Path(__file__))]
    key = digest([json.dumps([str(store.root), runs, code]).encode()])
    try:
        kept = kept_json(stamp)
        if kept["key"] == key and kept["packed"] == file_digest(packed):
            return str(kept["contents"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    left_out = write_copy(store, results, runs, MOST_BYTES)
    contents = contents_html(copied_tables(results), left_out, results.stat().st_size)
    write_aside(packed, gzip.compress(results.read_bytes(), 9, mtime=0))
    results.unlink()
    made = {"key": key, "packed": file_digest(packed), "contents": contents}
    write_aside(stamp, json.dumps(made).encode())
    return contents


def contents_html(tables: Sequence[CopiedTable], left_out: Sequence[LeftOut], size: int) -> str:
    """What a reader can ask about.

    Args:
        tables: Tables and views of the copy.
        left_out: What it lacks.
        size: Its bytes.

    Returns:
        HTML: every table with its columns, folded; those without rows last.
    """
    full = [table for table in tables if table.rows]
    counts = {view: sum(table.view is view for table in full) for view in (False, True)}
    runs = next((table.rows for table in tables if table.name == "runs"), 0)
    bare = [table for table in tables if not table.rows]
    empty = (
        f'<details class="hb-sql-empty"><summary>{len(bare)} without rows in this book</summary>'
        f"{''.join(map(_table, bare))}</details>"
        if bare
        else ""
    )
    lacking = (
        '<p class="hb-note">To stay small it leaves out rows of '
        + ", ".join(f"<code>{item.table}</code>" for item in left_out)
        + ", as their notes say; <code>headbook export</code> writes all.</p>"
        if left_out
        else ""
    )
    return (
        '<p class="hb-sql-head">Tables and columns</p>'
        f'<p class="hb-note">{counts[False]} tables and {counts[True]} views of the {runs} runs '
        f"that this book shows, in one file of {size / 1e6:.1f} MB, packed: "
        f'<a href="{FOLDER}/{PACKED}" download>{PACKED}</a>, for any DuckDB from 1.0 on.</p>'
        f"{lacking}"
        '<label class="hb-sql-find"><span class="hb-label">find</span><input type="search" '
        'placeholder="a table, a column, a word"></label>'
        f'<div class="hb-sql-tables">{"".join(map(_table, full))}{empty}</div>'
    )


def _table(table: CopiedTable) -> str:
    kind = "view, " if table.view else ""
    rows = "".join(
        f'<tr><td><button type="button" class="hb-sql-name" title="write into the query">'
        f"{escape(column.name)}</button></td><td><code>{escape(column.type.lower())}</code></td>"
        f"<td>{escape(column.comment)}</td></tr>"
        for column in table.columns
    )
    return (
        f'<details class="hb-sql-table"><summary><code>{escape(table.name)}</code> '
        f"<small>{kind}{table.rows:,} rows</small> <span>{escape(table.comment)}</span></summary>"
        f'<table><thead class="hb-sql-hidden"><tr><th>column</th><th>type</th><th>meaning</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></details>"
    )
