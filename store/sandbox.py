"""SQL from people: it reads the live views, and nothing else on the machine."""

from __future__ import annotations

import re
from contextlib import contextmanager, suppress
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import duckdb
import polars as pl

from .errors import StoreError
from .pins import UNREAD, Pinned, live_comments, live_views
from .schema import LATER, empty, scanned, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
"""MULTI is a PIVOT. What hides a write in these is refused by the sandbox itself."""

_AS_TEXT = re.compile(
    r"INTERVAL|UNION\(|BIT\b|BLOB|BIGNUM|UHUGEINT|VARIANT|GEOMETRY|"
    r"\bTIME\b(?! ZONE)|TIME_NS|TIMESTAMP_S\b"
)
"""Types that frames do not hold, or not as what they are: they are answered as text."""

_UNITS = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_LAST = 2**63 - 2
"""The greatest number of a moment; the next is an infinity."""

_EPOCH = date(1970, 1, 1).toordinal()

_LOCKS = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


_MANY_FILES = 64
"""From so many files on polars reads them: a data set of Arrow opens each for 200 us."""

_ANYTHING = {"query", "query_table", "try"}
"""Functions that can name a table without writing it, or hide what it said."""


@cache
def _views() -> dict[str, frozenset[str]]:
    """The words of each view's definition."""
    statements = re.findall(r"CREATE VIEW (\w+) AS(.*?);$", schema().create_views, re.S | re.M)
    return {name: frozenset(re.findall(r"\w+", text.lower())) for name, text in statements}


def tables_named(query: str) -> frozenset[str]:
    """The tables whose names occur in a query, or in a view that it names.

    Args:
        query: SQL.

    Returns:
        Names of tables; more than it reads, perhaps. A query that reads another one fails.
    """
    words = set(re.findall(r"\w+", query.lower()))
    if words & _ANYTHING:
        return frozenset(schema().tables)
    while new := {w for view in words & _views().keys() for w in _views()[view]} - words:
        words |= new
    return frozenset(words & schema().tables.keys())


@contextmanager
def sandbox(
    pins: Sequence[Pinned], tables: Collection[str]
) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a connection that sees the pinned parts and cannot reach any file.

    The parts are handed over as scans of polars and of Arrow, which cannot be written to. Allowing
    DuckDB their paths instead (`allowed_paths`) would let `COPY ... TO` overwrite them, and in
    DuckDB 2 a COPY may stand inside the WITH of a SELECT.

    Args:
        pins: What to show.
        tables: The tables whose bytes were checked; a query that reads another one fails.

    Yields:
        The connection, locked.
    """
    with duckdb.connect() as connection:

        def scan(paths: Sequence[str], table: str) -> str:
            name = f"parts_of_{table}"
            connection.register(name, _rows(paths, table))
            return name

        connection.execute(live_views(pins, scan, tables) + live_comments())
        for lock in _LOCKS:
            connection.execute(lock)
        yield connection


def _rows(paths: Sequence[str], table: str) -> object:
    """Rows of files, which DuckDB reads column by column as it needs them, and cannot change."""
    if len(paths) < _MANY_FILES:
        from pyarrow import dataset  # noqa: PLC0415 - slow to import, and only needed here

        own = cast("Any", empty(table)).to_arrow().schema if table in LATER else None
        return cast("object", dataset.dataset(list(paths), schema=own, format="parquet"))
    columns = schema().tables[table]
    narrow_first = sorted(columns, key=lambda name: columns[name].dtype == pl.String)
    return scanned(table, paths, None).select(narrow_first)  # counting reads the first


def answered_by(
    pins_of: Callable[[Collection[str]], Sequence[Pinned]], query: str, parameters: Sequence[Any]
) -> pl.DataFrame:
    """Run one query over the tables that it reads.

    Args:
        pins_of: Given tables, pins the parts with their bytes of these tables checked.
        query: As for `answer`.
        parameters: As for `answer`.

    Returns:
        The result.

    Raises:
        StoreError: It is not one query, it reaches beyond the tables, or it is wrong.
    """
    for tables in (tables_named(query), frozenset(schema().tables)):
        with suppress(_UnreadError), sandbox(pins_of(tables), tables) as connection:
            return answer(connection, query, parameters)
    raise AssertionError("a query cannot read more than every table")


class _UnreadError(Exception):
    """A query reads a table that it does not name."""


def answer(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any]
) -> pl.DataFrame:
    """Run one query.

    Args:
        connection: A sandbox.
        query: One SELECT, or DESCRIBE, SHOW, SUMMARIZE, PIVOT or EXPLAIN.
        parameters: Values for its `?`.

    Returns:
        The result.

    Raises:
        StoreError: It is not one query, it reaches beyond the tables, or it is wrong.
    """
    try:
        query.encode()
    except UnicodeEncodeError:
        raise StoreError("expected a query in UTF-8, got other bytes; convert it") from None
    try:
        kinds = [statement.type for statement in connection.extract_statements(query)]
        if len(kinds) != 1 or kinds[0] not in _READING:
            got = " and ".join(kind.name for kind in kinds) or "nothing"
            raise StoreError(
                f"expected one query such as SELECT, got {got}; the store is read-only"
            )
        return _framed(connection.sql(query, params=list(parameters)))
    except (duckdb.Error, pl.exceptions.PolarsError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        if UNREAD in reason:
            raise _UnreadError from None
        if isinstance(error, duckdb.PermissionException) or "has been locked" in reason:
            raise StoreError(
                f"expected a query over the store's tables, got one that reaches beyond them "
                f"({reason}); open catalog.duckdb in a duckdb shell of your own for that"
            ) from error
        raise StoreError(
            f"expected a query that DuckDB can answer, got: {reason}; SHOW TABLES and DESCRIBE say "
            "what can be asked"
        ) from error


def _framed(found: duckdb.DuckDBPyRelation) -> pl.DataFrame:
    """An answer as a frame; what frames do not hold as DuckDB writes it."""
    texts = {place for place, kind in enumerate(found.types) if _AS_TEXT.search(str(kind))}
    while True:  # a query may draw at random: it is asked anew until its dates fit
        frame = _with_texts(found, texts).pl()
        beyond = {place for place, held in enumerate(frame.get_columns()) if _beyond_dates(held)}
        if not beyond:
            return frame
        texts |= beyond


def _with_texts(found: duckdb.DuckDBPyRelation, texts: Collection[int]) -> duckdb.DuckDBPyRelation:
    """An answer whose columns at these places are text."""
    if not texts:
        return found
    names = ['"' + name.replace('"', '""') + '"' for name in found.columns]
    columns = (
        f"CAST(#{place + 1} AS VARCHAR) AS {name}" if place in texts else f"#{place + 1} AS {name}"
        for place, name in enumerate(names)
    )
    return found.project(", ".join(columns))


def _beyond_dates(column: pl.Series) -> bool:
    """Whether a date or a moment in it is infinite, or of a year that Python has not."""
    dtype = column.dtype
    if isinstance(dtype, pl.Struct):
        return any(map(_beyond_dates, column.struct.unnest().get_columns()))
    if isinstance(dtype, pl.Map):
        return _beyond_dates(column.map.entries())
    if isinstance(dtype, (pl.List, pl.Array)):
        return "Date" in str(dtype) and _beyond_dates(column.explode())
    if not isinstance(dtype, (pl.Date, pl.Datetime)):
        return False
    first, end, unit = 1 - _EPOCH, date.max.toordinal() + 1 - _EPOCH, 1
    if isinstance(dtype, pl.Datetime):
        unit = 86_400 * _UNITS[dtype.time_unit]
        if dtype.time_zone is not None:  # it may be the day before or after there
            first, end = first + 1, end - 1
    low, high = max(first * unit, -_LAST), min(end * unit - 1, _LAST)
    return not column.to_physical().is_between(low, high).all()
