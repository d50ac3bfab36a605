"""Is a Parquet file the one that a manifest promises, and are its rows those of a table?"""

from __future__ import annotations

import io
import os
from functools import cache
from hashlib import file_digest
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any

import polars as pl

from .errors import reason
from .schema import empty, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAGIC = b"PAR1"
_MOST_FOOTER = 64_000_000
"""Bytes; a file of a million rows has some 20,000."""


def wrong_file(handle: IO[bytes], table: str, sha256: str, size: int, rows: int) -> str:
    """What is wrong with a file of a part.

    Args:
        handle: The file, open for reading; every byte of it is read.
        table: The table whose rows it should hold.
        sha256: Its hash, in hexadecimal.
        size: Its bytes.
        rows: Its rows.

    Returns:
        What it has, as the end of a sentence; empty where nothing is wrong.
    """
    name = f"{table}.parquet"
    found = os.fstat(handle.fileno()).st_size
    if found != size:
        return f"{found} bytes in {name} instead of {size}"
    if _sha256(handle) != sha256:
        return f"changed bytes in {name}"
    footer = _footer(handle, size)
    usual = _usual(table)
    if footer.startswith(usual):
        counted = _varint(footer[len(usual) :]) >> 1  # zigzag, and never negative
        return "" if counted == rows else f"{counted} rows in {name} instead of {rows}"
    return _unusual(handle, table, rows)


def _sha256(handle: Any) -> str:
    return file_digest(handle, "sha256").hexdigest()


def _footer(handle: IO[bytes], size: int) -> bytes:
    """What Parquet says of itself at the end of the file; empty where that is no Parquet."""
    if size < 12:
        return b""
    handle.seek(size - 8)
    end = handle.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > min(size - 12, _MOST_FOOTER):
        return b""
    handle.seek(size - 8 - length)
    return handle.read(length)


@cache
def _usual(table: str) -> bytes:
    """How the footer of a table's file begins as we write it: the schema, up to the row count.

    Every file that is written by the same polars begins so, which is a thousand times quicker to
    see than to parse. Others are parsed.
    """
    footers: list[bytes] = []
    for frame in (empty(table), empty(table).clear(1)):
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        footers.append(_footer(buffer, len(buffer.getbuffer())))
    none, one = footers
    length = next(
        place for place, pair in enumerate(zip(none, one, strict=False)) if len({*pair}) > 1
    )
    return none[:length]


def _varint(data: bytes) -> int:
    """The number that stands at the beginning, seven bits a byte."""
    number = 0
    for place, byte in enumerate(data[:10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            break
    return number


def _unusual(handle: IO[bytes], table: str, rows: int) -> str:
    """What is wrong with a file that somebody else wrote."""
    arrow: Any = import_module("pyarrow.parquet")  # slow to import, and rarely needed
    handle.seek(0)
    try:
        file = arrow.ParquetFile(handle)
        found = dict(pl.DataFrame(file.schema_arrow.empty_table()).schema)
        counted = int(file.metadata.num_rows)
    except (pl.exceptions.PolarsError, OSError, ValueError, TypeError) as error:
        return f"no Parquet that can be read in {table}.parquet ({reason(error)})"
    if told := _other_columns(table, found):
        return told
    return "" if counted == rows else f"{counted} rows in {table}.parquet instead of {rows}"


def _other_columns(table: str, found: Mapping[str, pl.DataType]) -> str:
    """How the columns of a file differ from those of its table."""
    wanted = {name: column.dtype for name, column in schema().tables[table].items()}
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            got, expected = found.get(name, "no column"), wanted.get(name, "none")
            return f"{got} as {name} of {table}.parquet instead of {expected}"
    return ""
