"""Documents of a user's file: the first ones, as many as a question needs."""

from __future__ import annotations

import codecs
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import polars as pl

from analysis.errors import UserError, reason
from analysis.files import opened

COLUMNS = ("text", "input_ids")
"""What a `.jsonl` or `.parquet` file must have one of."""
LEAST = 2 * 2**20
"""Bytes that are read of a file whatever is asked: smaller files are read whole."""
PER_TOKEN = 16
"""Bytes that are read for each token that is asked for, four times what a token of prose takes."""
PER_ID = 4
"""Bytes that a token id of a table counts for."""
_FIRST_ROWS = 1024
"""Of a table; four times as many until there are enough."""
_LONGEST_LINE = 64 * 2**20
"""Bytes of a line of JSON, which is parsed whole."""
_LARGEST_GROUP = 2**32
"""Bytes of a column in one row group, and values times 16: it is unpacked as one piece."""


@dataclass(frozen=True)
class Part:
    """What is read of a file."""

    documents: Sequence[Any]
    """Text, or lists of token ids where the file holds those."""
    said: str
    """Which part of the file that is; empty for all of it."""


def first_documents(path: Path, n_tokens: int) -> Part:
    """Read a file's documents from its beginning, until there are enough.

    Args:
        path: A `.parquet` or `.jsonl` file, or text.
        n_tokens: How many are wanted: `PER_TOKEN` bytes are read for each, and `LEAST` at least.

    Returns:
        The documents; characters, lines and lists of ids are whole.

    Raises:
        UserError: The file is missing, no regular file, not UTF-8, or has no such column.
    """
    most = max(LEAST, PER_TOKEN * n_tokens)
    readers = {".parquet": _table, ".jsonl": _lines}
    try:
        with opened(path) as file:
            return readers.get(path.suffix, _prose)(file, path, most)
    except UnicodeDecodeError as error:
        raise UserError(
            f"expected UTF-8, {path} has another byte at {error.start}; convert it first"
        ) from None
    except FileNotFoundError:
        raise _no_file(path, "") from None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _no_file(path, f" but {error.strerror}") from None
        raise UserError(
            f"expected a file that can be read, got {error.strerror} for {path}; check it"
        ) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UserError(
            f"expected {path.suffix} with a column text or input_ids, reading {path} failed: "
            f"{reason(error)}; check the file"
        ) from None


def _no_file(path: Path, found: str) -> UserError:
    return UserError(
        f"expected reference, prose, a .txt, .jsonl or .parquet file, or hf:dataset, found no file "
        f"{path}{found}; check the path"
    )


def _beginning(file: BufferedReader, most: int) -> tuple[bytes, str]:
    """The first bytes of a file, and which part of it they are."""
    data = file.read(most + 1)
    if len(data) <= most:
        return data, ""
    size = max(os.fstat(file.fileno()).st_size, len(data))
    return data[:most], f"the first {most:,} of {size:,} bytes"


def _prose(file: BufferedReader, _path: Path, most: int) -> Part:
    """A text is one document, with newlines as Python reads them."""
    data, said = _beginning(file, most)
    text = codecs.getincrementaldecoder("utf-8")().decode(data, final=not said)
    return Part([text.replace("\r\n", "\n").replace("\r", "\n")], said)


def _lines(file: BufferedReader, path: Path, most: int) -> Part:
    """A document a line."""
    data, said = _beginning(file, most)
    if said and b"\n" not in data:
        file.seek(0)
        data, said = file.readline(_LONGEST_LINE), "the beginning of the first line"
        if len(data) == _LONGEST_LINE:
            raise UserError(
                f"expected lines of at most {_LONGEST_LINE // 2**20} MiB in {path}, the first is "
                "longer; split it"
            )
    elif said:
        data = data[: data.rfind(b"\n") + 1]
    frame = pl.read_ndjson(data)
    rows = frame[_column(frame.schema, path)]
    return Part(_values(rows if len(rows) > 1 else _cut(rows, most), path), said)


def _table(file: BufferedReader, path: Path, most: int) -> Part:
    """A document a row."""
    table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    name = _column(table.collect_schema(), path)
    n_rows = _n_rows(file, path, name)
    wanted, enough = _FIRST_ROWS, 0
    while True:
        rows = table.select(name).head(wanted).collect()[name]
        enough = int((_bytes(rows).cum_sum() <= most).sum())
        if enough < len(rows) or len(rows) < wanted or wanted >= most:
            break
        wanted *= 4
    if enough == 0 < len(rows):  # whatever its length, so that there is a document
        first = _values(_cut(rows.head(1), most), path)
        return Part(first, "the beginning of the first row")
    said = "" if enough == n_rows else f"the first {enough:,} of {n_rows:,} rows"
    return Part(_values(rows.head(enough), path), said)


def _cut(rows: pl.Series, most: int) -> pl.Series:
    """Rows of which none is longer than all may be together."""
    return rows.str.head(most) if rows.dtype == pl.String else rows.list.head(most // PER_ID)


def _bytes(rows: pl.Series) -> pl.Series:
    """What each row counts for."""
    sizes = rows.str.len_bytes() if rows.dtype == pl.String else rows.list.len() * PER_ID
    return sizes.cast(pl.Int64).fill_null(0)


def _n_rows(file: BufferedReader, path: Path, name: str) -> int:
    """How many rows a table says that it has; one that cannot be unpacked bit by bit is refused."""
    import pyarrow as pa  # noqa: PLC0415 - slow, and only tables need it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        about = pq.ParquetFile(file).metadata
        for group in map(about.row_group, range(about.num_row_groups)):
            column = next(
                one
                for one in map(group.column, range(group.num_columns))
                if one.path_in_schema.split(".")[0] == name
            )
            if max(column.total_uncompressed_size, 16 * column.num_values) > _LARGEST_GROUP:
                raise UserError(
                    f"expected row groups of at most {_LARGEST_GROUP // 2**30} GiB in {path}, got "
                    f"a larger one; write it with smaller ones"
                )
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise UserError(
            f"expected .parquet with a column text or input_ids, reading {path} failed: "
            f"{reason(error)}; check the file"
        ) from None
    return about.num_rows


def _column(schema: Mapping[str, Any], path: Path) -> str:
    """The column that holds documents."""
    for name in COLUMNS:
        if name in schema:
            kind = schema[name]
            holds_ids = isinstance(kind, pl.List) and kind.inner.is_integer()
            if not (kind == pl.String if name == "text" else holds_ids):
                wanted = "text" if name == "text" else "lists of integers"
                raise UserError(
                    f"expected {wanted} in the column {name} of {path}, found {kind}; convert it"
                )
            return name
    raise UserError(
        f"expected a column text or input_ids in {path}, found {', '.join(schema)}; "
        "rename the column"
    )


def _values(rows: pl.Series, path: Path) -> list[Any]:
    """The documents in a column."""
    values = rows.drop_nulls()
    if rows.dtype == pl.String:
        return values.to_list()
    if values.list.drop_nulls().list.len().sum() < values.list.len().sum():
        raise UserError(f"expected whole lists of ids in {path}, found NULLs; remove them")
    return [tuple(ids) for ids in values.cast(pl.List(pl.Int64)).to_list()]
