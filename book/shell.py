"""SQL on the command line: one query's answer, or those of a shell or a pipe."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import click
import polars as pl

from analysis.errors import printable, reason
from book.terminal import hand_over, say
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

_PIECE = re.compile(
    r"[eE]'(?:[^'\\]|\\.)*'?|'[^']*'?|\"[^\"]*\"?|\$((?:[^\W\d]\w*)?)\$.*?(?:\$\1\$|\Z)"
    r"|(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z)|\s+)|[^\W\d][\w$]*|.",
    re.DOTALL,
)
"""Of a query: a text, a quoted name, what says nothing, a word, or any character else."""


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
        return _json(frame)
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=WIDEST,
        fmt_str_lengths=WIDTH,
        tbl_hide_column_data_types=True,
        tbl_formatting=_borders(),
    ):
        return f"{_visible(frame)}\n"


def _json(frame: pl.DataFrame) -> str:
    """One object a line; what JSON has no number for is a text."""
    written = frame.write_ndjson()
    if all(map(_finite, frame.get_columns())):
        return written
    rows = zip(written.split("\n"), frame.iter_rows(named=True), strict=False)
    named = (_named(json.loads(line), row) for line, row in rows)
    objects = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in named)
    return "".join(f"{line}\n" for line in objects)


def _finite(column: pl.Series) -> bool:
    """Whether all its numbers are; False, too, where only a look at each would tell."""
    if "Float" not in str(column.dtype):
        return True
    return not column.dtype.is_nested() and column.is_finite().all()


def _named(written: Any, value: Any) -> Any:
    """JSON with the names of numbers that it was given null for."""
    if written is None and isinstance(value, float):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(written, dict):
        cells = cast("dict[str, Any]", written)
        pairs = zip(cells.items(), value.values(), strict=True)
        return {key: _named(cell, of) for (key, cell), of in pairs}
    if isinstance(written, list):
        pairs = zip(cast("list[Any]", written), value, strict=True)
        return [_named(cell, of) for cell, of in pairs]
    return written


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


def answer(store: Store, query: str, form: str | None) -> None:
    """Print the answer to a query.

    Args:
        store: The store.
        query: As for `ask`.
        form: As for `ask`; a table is for a terminal, all others are for programs.

    Raises:
        StoreError: As for `ask`.
    """
    if form is None:
        say(ask(store, query, form).removesuffix("\n"))
    else:
        hand_over(ask(store, query, form))


def shell(store: Store, form: str | None) -> bool:
    """Answer queries that end in `;` until the end of input; mistakes do not end the shell.

    Args:
        store: The store; every query sees its live tables.
        form: As for `ask`.

    Returns:
        Whether all that a pipe or a file asked could be answered; who types sees what cannot.
    """
    typed, answered = sys.stdin.isatty(), True
    if typed:
        _greet(store)
    for query in _queries(_typed if typed else _piped):
        try:
            answer(store, query, form)
        except StoreError as error:
            answered = typed
            say(error, err=True)
    return answered


def _greet(store: Store) -> None:
    import readline  # noqa: PLC0415 - some versions write to the terminal at once

    readline.parse_and_bind("tab: complete")
    say("SQL over the store, read-only. End a query with ; and the shell with Ctrl-D.", err=True)
    tables = ", ".join(store.sql(_TABLES)["name"])
    say(f"Tables: {tables}. DESCRIBE head_scores; shows a table's columns.", err=True)


def _typed(waiting: str) -> str:
    """The next line of a terminal; none after the last."""
    prompt = "  ... " if _asks(waiting) else "sql> "
    if not sys.stdout.isatty():  # what is written there is an answer
        click.echo(prompt, nl=False, err=True)
        prompt = ""
    try:
        return input(prompt) + "\n"
    except EOFError:
        click.echo(err=True)
        return ""


def _piped(_waiting: str) -> str:
    return sys.stdin.readline()


def _queries(read: Callable[[str], str]) -> Iterator[str]:
    """Queries, each as soon as its `;` is read; the last needs none.

    Args:
        read: Given what waits for its `;`, returns the next line, and none after the last.
    """
    waiting = ""
    while line := read(waiting):
        waiting += line
        if ";" in line:
            *whole, waiting = _cut(waiting)
            yield from filter(_asks, whole)
    if _asks(waiting):
        yield waiting


def _cut(text: str) -> list[str]:
    """Text between all `;` that stand in no text, no name and no comment."""
    ends = [piece.start() for piece in _PIECE.finditer(text) if piece[0] == ";"]
    return [text[a:b] for a, b in zip([0, *(end + 1 for end in ends)], [*ends, None], strict=True)]


def _asks(text: str) -> bool:
    """Whether it is more than blanks and comments."""
    return any(piece["comment"] is None for piece in _PIECE.finditer(text))
