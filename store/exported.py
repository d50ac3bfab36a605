"""Results as files for others: Parquet and CSV of every table, and one DuckDB file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import duckdb
import polars as pl

from .comments import described
from .disk import disk_errors, sync_folder
from .errors import StoreError
from .experiment import terminal_bar
from .folder import check_apart, resolved
from .pins import quoted
from .results_copy import write_copy
from .schema import SCHEMA_VERSION, schema

if TYPE_CHECKING:
    from collections.abc import Collection

    from .experiment import Progress
    from .results import Store

FORMS = ("parquet", "csv", "duckdb")
"""What tables can be written as."""

DATABASE = "results.duckdb"

_README = """# Results of headbook

Every table of the store, schema version {version}. A row of `runs` says where numbers come from:
the whole question, the model, the text, the versions; all other tables refer to it by `run`.

{forms}

| table | rows | what it holds |
|---|---|---|
{tables}

`schema.sql` defines the tables, and says what every column means, with its unit and its sign.
"""
_FORMS = {
    "parquet": "- `parquet/<table>.parquet`, the comments in the files' metadata as `comment` and "
    "`columns`:\n  `SELECT * FROM 'parquet/head_scores.parquet'`",
    "csv": "- `csv/<table>.csv`, with a header, empty where a value is absent; cells are exactly "
    "as in the data,\n  so a spreadsheet may take one that begins with =, +, - or @ for a formula",
    "duckdb": f"- `{DATABASE}`: the tables with comments, and views over them, for DuckDB 1.0 and "
    f"later:\n  `duckdb {DATABASE}`",
}


def export_tables(
    store: Store, folder: Path, forms: Collection[str], progress: Progress | None = None
) -> dict[str, int]:
    """Write the tables of a store for others. All forms hold the same rows in the same order.

    Args:
        store: The store.
        folder: New or empty; it appears with all files or not at all.
        forms: Some of `FORMS`.
        progress: Shows a bar; None for one on stderr after two seconds.

    Returns:
        Rows by table.

    Raises:
        StoreError: The folder holds something or lies in a store, a form is unknown, or the disk
            refuses.
    """
    if not forms or not set(forms) <= set(FORMS):
        raise StoreError(
            f"expected some of {', '.join(FORMS)}, got {', '.join(forms) or 'none'}; name one"
        )
    folder = resolved(folder)
    check_apart(folder, store.root)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"expected a new or empty folder, got {folder} with files; choose another")
    aside = folder.with_name(f".{folder.name}.{uuid4().hex}")
    with disk_errors(folder):
        aside.mkdir(parents=True)
        try:
            write_copy(store, aside / DATABASE)
            rows = _write_tables(aside, forms, progress)
            _write_texts(aside, forms, rows)
            if "duckdb" not in forms:
                (aside / DATABASE).unlink()
            aside.replace(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        sync_folder(folder.parent)
    return rows


def _write_tables(
    folder: Path, forms: Collection[str], progress: Progress | None
) -> dict[str, int]:
    rows: dict[str, int] = {}
    written = [form for form in FORMS if form in forms and form != "duckdb"]
    for form in written:
        (folder / form).mkdir()
    tables = list(schema().tables)
    with (
        duckdb.connect(folder / DATABASE, read_only=True) as connection,
        (progress or terminal_bar)("Writing tables") as report,
    ):
        for index, table in enumerate(tables):
            report(index, len(tables), table)
            counted = connection.sql(f"SELECT count(*) FROM {table}").fetchall()
            rows[table] = int(counted[0][0])
            for form in written:
                path = quoted(str(folder / form / f"{table}.{form}"))
                connection.execute(f"COPY {table} TO {path} ({_options(form, table)})")
        report(len(tables), len(tables), "")
    return rows


def _options(form: str, table: str) -> str:
    """How COPY writes a table: Parquet carries its comments."""
    if form == "csv":
        return "FORMAT csv, HEADER"
    about = dict(described().filter(table=table).select("column", "comment").iter_rows())
    comment = quoted(about.pop(None))
    columns = quoted(json.dumps(about, ensure_ascii=False))
    kept = f"KV_METADATA {{comment: {comment}, columns: {columns}}}"
    return f"FORMAT parquet, COMPRESSION zstd, {kept}"


def _write_texts(folder: Path, forms: Collection[str], rows: dict[str, int]) -> None:
    about = described().filter(pl.col("column").is_null(), kind="table")
    comments = dict(about.select("table", "comment").iter_rows())
    text = _README.format(
        version=SCHEMA_VERSION,
        forms="\n".join(_FORMS[form] for form in FORMS if form in forms),
        tables="\n".join(
            f"| `{table}` | {count:,} | {comments[table].replace('|', chr(92) + '|')} |"
            for table, count in rows.items()
        ),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    made = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    (folder / "schema.sql").write_text(made, encoding="utf-8")
