"""Is a Parquet file the one that a manifest promises, and are its rows those of a table?"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest, sha256
from importlib import import_module
from typing import TYPE_CHECKING, Any

import polars as pl

from .errors import reason
from .schema import LATER, empty, schema

if TYPE_CHECKING:
    from collections.abc import Mapping

_SMALL = 1 << 20
_MAGIC = b"PAR1"
_MOST_FOOTER = 64_000_000
"""Bytes; a file of a million rows has some 20,000."""


@dataclass(frozen=True, slots=True)
class File:
    """One Parquet file of a part, as its manifest promises it."""

    sha256: str
    bytes: int
    rows: int


def wrong_file(descriptor: int, table: str, promised: File) -> str:
    """What is wrong with a file of a part.

    Args:
        descriptor: The file, open for reading; every byte of it is read.
        table: The table whose rows it should hold.
        promised: What its manifest says of it.

    Returns:
        What it has, as the end of a sentence; empty where nothing is wrong.
    """
    name, size = f"{table}.parquet", os.fstat(descriptor).st_size
    if size != promised.bytes:
        return f"{size} bytes in {name} instead of {promised.bytes}"
    if _sha256(descriptor, size) != promised.sha256:
        return f"changed bytes in {name}"
    footer, usual = _footer(descriptor, size), _usual(table)
    if footer.startswith(usual):
        counted = _varint(footer[len(usual) :]) >> 1  # zigzag, and never negative
        return _other_rows(name, counted, promised.rows)
    return _unusual(descriptor, table, promised.rows)


def _sha256(descriptor: int, size: int) -> str:
    if size <= _SMALL:
        return sha256(os.read(descriptor, size)).hexdigest()
    with os.fdopen(os.dup(descriptor), "rb") as handle:
        return file_digest(handle, "sha256").hexdigest()


def _footer(descriptor: int, size: int) -> bytes:
    """What Parquet says of itself at the end of the file; empty where that is no Parquet."""
    if size < 12:
        return b""
    end = os.pread(descriptor, 8, size - 8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > min(size - 12, _MOST_FOOTER):
        return b""
    return os.pread(descriptor, length, size - 8 - length)


@cache
def _usual(table: str) -> bytes:
    """How the footer of a table's file begins as we write it: the schema, up to the row count.

    Every file that is written by the same polars begins so, which is a thousand times quicker to
    see than to parse. Others are parsed.
    """
    none, one = (_written_footer(empty(table).clear(n)) for n in (0, 1))
    length = next(
        place for place, pair in enumerate(zip(none, one, strict=False)) if len({*pair}) > 1
    )
    return none[:length]


def _written_footer(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="uncompressed")
    data = buffer.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


def _varint(data: bytes) -> int:
    """The number that stands at the beginning, seven bits a byte."""
    number = 0
    for place, byte in enumerate(data[:10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            break
    return number


def _unusual(descriptor: int, table: str, rows: int) -> str:
    """What is wrong with a file that somebody else wrote."""
    arrow: Any = import_module("pyarrow.parquet")  # slow to import, and rarely needed
    try:
        with os.fdopen(os.dup(descriptor), "rb") as handle:
            file = arrow.ParquetFile(handle)
            found = dict(pl.DataFrame(file.schema_arrow.empty_table()).schema)
            counted = int(file.metadata.num_rows)
    except (pl.exceptions.PolarsError, OSError, ValueError, TypeError) as error:
        return f"no Parquet that can be read in {table}.parquet ({reason(error)})"
    return _other_columns(table, found) or _other_rows(f"{table}.parquet", counted, rows)


def _other_rows(name: str, counted: int, promised: int) -> str:
    return "" if counted == promised else f"{counted} rows in {name} instead of {promised}"


def _other_columns(table: str, found: Mapping[str, pl.DataType]) -> str:
    """How the columns of a file differ from those of its table."""
    wanted = {name: column.dtype for name, column in schema().tables[table].items()}
    late = set(LATER.get(table, ())).difference(found)
    for name in sorted({*wanted, *found}.difference(late)):
        if wanted.get(name) != found.get(name):
            got, expected = found.get(name, "no column"), wanted.get(name, "none")
            return f"{got} as {name} of {table}.parquet instead of {expected}"
    return ""
