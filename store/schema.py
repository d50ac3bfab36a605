"""The tables, as `schema.sql` defines them, and whether a frame fits one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb
import polars as pl

from .errors import StoreError

SCHEMA_VERSION = 7
"""Raised when `schema.sql` gains or changes a table; an older reader then refuses the store."""

SUBJECTS = ("models", "texts")
"""What runs are about. Many parts repeat such a row; the store shows it once."""

LATER = {"claims": ("p", "n_null", "beyond", "beyond_lower", "beyond_upper")}
"""Columns that a table got after it was first written, by table: in older parts they are NULL."""

_DTYPES: dict[str, pl.DataType] = {
    "VARCHAR": pl.String(),
    "BOOLEAN": pl.Boolean(),
    "SMALLINT": pl.Int16(),
    "INTEGER": pl.Int32(),
    "BIGINT": pl.Int64(),
    "FLOAT": pl.Float32(),
    "DOUBLE": pl.Float64(),
    "TIMESTAMP": pl.Datetime("us"),
}


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    dtype: pl.DataType
    sql: str
    """The type as DuckDB names it."""

    nullable: bool


@dataclass(frozen=True)
class Schema:
    """Everything `schema.sql` says."""

    tables: dict[str, dict[str, Column]]
    """Columns by table, in order."""

    create_tables: str
    """SQL that makes the empty tables, with their comments."""

    create_views: str
    """SQL that makes the views over them, with their comments."""


@cache
def schema() -> Schema:
    """Read `schema.sql`.

    Returns:
        The tables and the SQL that makes them and the views.
    """
    text = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    create_tables, marker, create_views = text.partition("CREATE VIEW")
    tables: dict[str, dict[str, Column]] = {}
    with duckdb.connect() as connection:
        connection.execute(create_tables)
        rows = connection.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() "
            "WHERE NOT internal ORDER BY table_oid, column_index"
        ).fetchall()
    for table, column, dtype, nullable in rows:
        tables.setdefault(table, {})[column] = Column(_DTYPES[dtype], dtype, nullable)
    return Schema(tables, create_tables, marker + create_views)


def empty(table: str) -> pl.DataFrame:
    """A table without rows.

    Args:
        table: Its name.

    Returns:
        A frame with the table's columns and types.
    """
    return pl.DataFrame(schema={name: col.dtype for name, col in schema().tables[table].items()})


def scanned(table: str, paths: Sequence[str], include_file_paths: str | None) -> pl.LazyFrame:
    """Rows of several files of a table, with the columns that came later as NULL where they lack.

    Args:
        table: Its name.
        paths: The files.
        include_file_paths: Name of a column that tells a row's file; None for none.

    Returns:
        At least the columns of the table.
    """
    late = table in LATER
    return pl.scan_parquet(
        list(paths),
        glob=False,
        hive_partitioning=False,
        cache=False,
        include_file_paths=include_file_paths,
        schema=empty(table).schema if late else None,
        missing_columns="insert" if late else "raise",
    )


def _kind(dtype: pl.DataType) -> str:
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return "text"
    if dtype.is_integer():
        return "integer"
    return "float" if dtype.is_float() else str(dtype)


def _lossless(series: pl.Series, dtype: pl.DataType) -> pl.Series | None:
    """The series as `dtype`, or None where the cast would change what it says."""
    if series.dtype in (dtype, pl.Null):
        return series.cast(dtype)
    kinds = (_kind(series.dtype), _kind(dtype))
    if kinds[0] != kinds[1] and kinds != ("integer", "float"):
        return None
    cast = series.cast(dtype, strict=False)
    return cast if cast.cast(series.dtype, strict=False).eq_missing(series).all() else None


def _conformed(where: str, series: pl.Series, column: Column) -> pl.Series:
    cast = _lossless(series, column.dtype)
    if cast is None:
        raise StoreError(
            f"expected {column.dtype} in {where}, got {series.dtype} that does not fit it; cast it"
        )
    if not column.nullable and cast.null_count():
        raise StoreError(f"expected a value in every row of {where}, got NULL; leave the row out")
    if cast.dtype.is_float() and cast.is_nan().any():
        raise StoreError(
            f"expected numbers or NULL in {where}, got NaN: a model whose weights are not all "
            "finite gives such, and what cannot be measured is NULL with a reason in `absences`"
        )
    return cast


def conformed(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Fit a frame to its table: columns in order, types cast where nothing is lost.

    Args:
        table: Name of the table.
        frame: Rows for it, with every column of the table and no other, in any order; those of
            `LATER` may be missing, and are NULL then.

    Returns:
        The frame with exactly the table's columns and types.

    Raises:
        StoreError: No such table; a column is missing, unknown, of a type that does not
            fit, holds NULL where the table forbids it, or NaN.
    """
    tables = schema().tables
    if table not in tables:
        raise StoreError(f"expected one of the tables {', '.join(tables)}, got `{table}`")
    columns = tables[table]
    late = set(LATER.get(table, ())).difference(frame.columns)
    frame = frame.with_columns(pl.lit(None).alias(name) for name in late)
    missing, unknown = columns.keys() - set(frame.columns), set(frame.columns) - columns.keys()
    if missing or unknown:
        raise StoreError(
            f"expected the columns {', '.join(columns)} in `{table}`, got a frame without "
            f"{sorted(missing) or 'none'} and with unknown {sorted(unknown) or 'none'}; "
            "see store/schema.sql"
        )
    return pl.DataFrame(
        [_conformed(f"{table}.{name}", frame[name], column) for name, column in columns.items()]
    )
