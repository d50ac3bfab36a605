"""SQL on a terminal: one query's table, or an interactive shell."""

from __future__ import annotations

import readline
from typing import TYPE_CHECKING

import click
import polars as pl

from analysis.errors import reason
from store import StoreError

if TYPE_CHECKING:
    from store import Store

_TABLES = "SELECT view_name AS name FROM duckdb_views() WHERE NOT temporary AND NOT internal"

WIDTH = 60
"""Longest text in a cell of a table on the terminal."""


def ask(store: Store, query: str, form: str | None) -> str:
    """Answer a query as text.

    Args:
        store: The store.
        query: One read-only statement.
        form: `csv`, `json`, or None for a table.

    Returns:
        The answer, ending in a newline.

    Raises:
        StoreError: The query is wrong, would do more than read, or its answer has no such form.
    """
    frame = store.sql(query)
    try:
        return _written(frame, form)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StoreError(
            f"expected values that can be written as {form or 'a table'}, got others "
            f"({reason(error)}); cast them, such as x::VARCHAR"
        ) from None


def _written(frame: pl.DataFrame, form: str | None) -> str:
    if form == "csv":
        return frame.write_csv()
    if form == "json":
        return frame.write_ndjson()
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=WIDTH,
        tbl_hide_column_data_types=True,
        tbl_formatting="UTF8_FULL_CONDENSED",
    ):
        return f"{frame}\n"


def shell(store: Store) -> None:
    """Read queries that end in `;` until the end of input; mistakes do not end the shell.

    Args:
        store: The store; every query sees its live tables.
    """
    readline.parse_and_bind("tab: complete")
    click.echo("SQL over the store, read-only. End a query with ; and the shell with Ctrl-D.")
    tables = ", ".join(store.sql(_TABLES)["name"])
    click.echo(f"Tables: {tables}. DESCRIBE head_scores; shows a table's columns.")
    lines: list[str] = []
    while True:
        try:
            lines.append(input("  ... " if lines else "sql> "))
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if lines[-1].rstrip().endswith(";"):
            query, lines = "\n".join(lines), []
            try:
                click.echo(ask(store, query, None), nl=False)
            except StoreError as error:
                click.echo(error, err=True)
