"""What a copy of results holds, in its own words: tables, views, columns and their comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from .pins import quoted

if TYPE_CHECKING:
    from pathlib import Path

_RELATIONS = """
SELECT table_name, false AS view, comment, NULL AS sql, table_oid AS oid
FROM duckdb_tables() WHERE database_name = 'copy'
UNION ALL
SELECT view_name, true, comment, sql, view_oid
FROM duckdb_views() WHERE database_name = 'copy' AND NOT internal
ORDER BY view, oid
"""
_COLUMNS = """
SELECT table_name, column_name, data_type, comment
FROM duckdb_columns() WHERE database_name = 'copy' AND NOT internal
ORDER BY table_oid, column_index
"""


@dataclass(frozen=True)
class CopiedColumn:
    """One column, its type in SQL, and what it means; empty where nothing is said."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class CopiedTable:
    """A table, or a view over tables."""

    name: str
    view: bool
    comment: str
    rows: int
    columns: tuple[CopiedColumn, ...]


def copied_tables(path: Path) -> tuple[CopiedTable, ...]:
    """Read what a copy holds.

    Args:
        path: A file of `write_copy` that nothing else in this process has open.

    Returns:
        Tables, then views. A column of a view has the comment of the column of that name in the
        first table that the view reads it from.
    """
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH {quoted(str(path))} AS copy (READ_ONLY); USE copy")
        relations = connection.execute(_RELATIONS).fetchall()
        columns: dict[str, list[CopiedColumn]] = {}
        for table, name, kind, comment in connection.execute(_COLUMNS).fetchall():
            columns.setdefault(table, []).append(CopiedColumn(name, kind, comment or ""))
        counts = {
            name: int(connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0])
            for name, *_ in relations
        }
    return tuple(
        CopiedTable(
            name=name,
            view=view,
            comment=comment or "",
            rows=counts[name],
            columns=tuple(_inherited(column, sql or "", columns) for column in columns[name]),
        )
        for name, view, comment, sql, _ in relations
    )


def _inherited(
    column: CopiedColumn, sql: str, columns: dict[str, list[CopiedColumn]]
) -> CopiedColumn:
    if column.comment:
        return column
    read = [word for word in re.findall(r"\w+", sql) if word in columns]
    for table in read:
        for other in columns[table]:
            if other.name == column.name and other.comment:
                return CopiedColumn(column.name, column.type, other.comment)
    return column
