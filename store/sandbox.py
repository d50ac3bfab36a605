"""SQL from people: it reads the live views, and nothing else on the machine."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import duckdb
import polars as pl

from .errors import StoreError
from .pins import Pinned, live_comments, live_views

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.MULTI}
"""MULTI is a PIVOT. What hides a write in these is refused by the sandbox itself."""

_AS_TEXT = re.compile(r"INTERVAL|UNION\(|BIT\b|BLOB|BIGNUM|VARIANT|GEOMETRY|TIME WITH TIME ZONE")
"""Types that frames do not hold, or not as what they are: they are answered as text."""

_LOCKS = (
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


@contextmanager
def sandbox(pins: Sequence[Pinned]) -> Generator[duckdb.DuckDBPyConnection]:
    """Open a connection that sees the pinned parts and cannot reach any file.

    The parts are handed over as Arrow data sets, which cannot be written to. Allowing DuckDB
    their paths instead (`allowed_paths`) would let `COPY ... TO` overwrite them, and in
    DuckDB 2 a COPY may stand inside the WITH of a SELECT.

    Args:
        pins: What to show.

    Yields:
        The connection, locked.
    """
    from pyarrow import dataset  # noqa: PLC0415 (slow to import, and only needed here)

    with duckdb.connect() as connection:

        def scan(paths: Sequence[Path], table: str) -> str:
            files = cast("object", dataset.dataset([str(path) for path in paths], format="parquet"))
            name = f"parts_of_{table}"
            connection.register(name, files)
            return name

        connection.execute(live_views(pins, scan) + live_comments())
        for lock in _LOCKS:
            connection.execute(lock)
        yield connection


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
        kinds = [statement.type for statement in connection.extract_statements(query)]
        if len(kinds) != 1 or kinds[0] not in _READING:
            got = " and ".join(kind.name for kind in kinds) or "nothing"
            raise StoreError(
                f"expected one query such as SELECT, got {got}; the store is read-only"
            )
        return _framed(connection.sql(query, params=list(parameters)))
    except (duckdb.Error, pl.exceptions.PolarsError, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
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
    odd = [_AS_TEXT.search(str(kind)) is not None for kind in found.types]
    if not any(odd):
        return found.pl()
    names = ['"' + name.replace('"', '""') + '"' for name in found.columns]
    columns = (
        f"CAST(#{place} AS VARCHAR) AS {name}" if as_text else f"#{place} AS {name}"
        for place, (name, as_text) in enumerate(zip(names, odd, strict=True), start=1)
    )
    return found.project(", ".join(columns)).pl()
