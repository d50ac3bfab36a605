"""What tables, views and columns mean, as `schema.sql` says it."""

from __future__ import annotations

from functools import cache

import duckdb
import polars as pl

from .schema import schema

_DESCRIBED = """
WITH kinds AS (
    SELECT table_oid AS oid, table_name AS name, 'table' AS kind, comment FROM duckdb_tables()
    UNION ALL
    SELECT view_oid, view_name, 'view', comment FROM duckdb_views() WHERE NOT internal
)
SELECT kind, name AS table, NULL AS column, NULL AS type, comment, oid, -1 AS place FROM kinds
UNION ALL
SELECT kind, name, column_name, data_type, columns.comment, oid, column_index
FROM duckdb_columns() AS columns JOIN kinds ON kinds.oid = columns.table_oid
ORDER BY kind, oid, place
"""


@cache
def described() -> pl.DataFrame:
    """Every table and view with its columns.

    Returns:
        Columns `kind` (table or view), `table`, `column` (null for the table itself), `type` (of
        the column) and `comment` (null where there is none), in the order of `schema.sql`.
    """
    with duckdb.connect() as connection:
        connection.execute(schema().create_tables + schema().create_views)
        return connection.sql(_DESCRIBED).pl().drop("oid", "place")
