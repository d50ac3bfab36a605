"""SQL on a terminal: one query's table, or an interactive shell."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
import polars as pl

from analysis.errors import printable, reason
from book.terminal import say
from store import StoreError

if TYPE_CHECKING:
    from store import Store

_TABLES = "SELECT view_name AS name FROM duckdb_views() WHERE NOT temporary AND NOT internal"

WIDTH = 60
"""Longest text in a cell of a table on the terminal."""

WIDEST = 65_535
"""Longest line of a table that Polars can draw."""

_TEXTS = re.compile(r"String|Categorical|Enum|Struct")
"""Types that hold text, or names, of whoever made the data."""

_COMMENT = re.compile(r"--(\s|[^=\n]*\n)")
"""How a query starts that starts with a comment, as no option does."""


class Query(click.Command):
    """A command with one argument that may start as SQL does: with a comment."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what starts with a comment for the argument; all other dashes are options."""
        end = args.index("--") if "--" in args else len(args)
        queries = [word for word in args[:end] if _COMMENT.match(word)]
        if queries:
            options = [word for word in args[:end] if word not in queries]
            args = [*options, "--", *queries, *args[end + 1 :]]
        return super().parse_args(ctx, args)


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
        tbl_width_chars=WIDEST,
        fmt_str_lengths=WIDTH,
        tbl_hide_column_data_types=True,
        tbl_formatting=_borders(),
    ):
        return f"{_visible(frame)}\n"


def _borders() -> Any:
    """Lines that the terminal can show."""
    try:
        "╞╡".encode(sys.stdout.encoding or "utf-8")
    except UnicodeError:
        return "ASCII_FULL_CONDENSED"
    return "UTF8_FULL_CONDENSED"


def _visible(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame in whose names and texts all that could steer a terminal is an escape."""
    names = _distinct(printable(name) for name in frame.columns)
    columns = zip(names, frame.get_columns(), strict=True)
    return pl.DataFrame([_shown(column).alias(name) for name, column in columns])


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, each that was met before with a blank more."""
    found: list[str] = []
    for name in names:
        blanks = next(n for n in range(len(found) + 1) if name + n * " " not in found)
        found.append(name + blanks * " ")
    return found


def _shown(column: pl.Series) -> pl.Series:
    """A column as it is printed; a text in full only as far as a cell shows it."""
    if _TEXTS.search(str(column.dtype)) is None:
        return column
    if column.dtype.is_nested():
        cells = [None if cell is None else str(cell) for cell in column.to_list()]
    else:
        cells = column.cast(pl.String).to_list()
    return pl.Series([None if cell is None else printable(cell[: WIDTH + 1]) for cell in cells])


def shell(store: Store) -> None:
    """Read queries that end in `;` until the end of input; mistakes do not end the shell.

    Args:
        store: The store; every query sees its live tables.
    """
    import readline  # noqa: PLC0415 - some versions write to the terminal at once

    readline.parse_and_bind("tab: complete")
    click.echo("SQL over the store, read-only. End a query with ; and the shell with Ctrl-D.")
    tables = ", ".join(store.sql(_TABLES)["name"])
    say(f"Tables: {tables}. DESCRIBE head_scores; shows a table's columns.")
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
                say(ask(store, query, None).removesuffix("\n"))
            except StoreError as error:
                say(error, err=True)
