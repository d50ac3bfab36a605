"""May the rows of a part be in its tables? Whoever wrote a file may have forged them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from polars.selectors import by_name

from .errors import DamagedPartError, StoreError, reason
from .manifests import damaged
from .schema import conformed, scanned, schema

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .manifests import Part

_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_FILE, _ROWS = "file of the row", "rows"


def rows_of(part: Part, runs: Collection[str], table: str) -> pl.DataFrame:
    """Rows of a part, as they may be in its table.

    Args:
        part: The part, checked.
        runs: Some of its runs; a table of subjects has no runs, and is read whole.
        table: One of its tables.

    Returns:
        The rows of these runs, as they are stored.

    Raises:
        DamagedPartError: NULL or NaN where a value must be, rows of runs that it does not hold,
            or a second row of `runs` about one.
    """
    path, name = part.path(table), f"{table}.parquet"
    try:
        file = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        own = by_name(*schema().tables[table], require_all=False)
        fitted = conformed(table, file.select(own).collect())
    except (*_FAILURES, StoreError) as error:
        raise damaged(part.folder, f"{reason(error)} in {name}", part.keys) from None
    if "run" not in fitted.columns:
        return fitted
    if strange := set(fitted["run"].unique()) - part.keys.keys():
        raise damaged(part.folder, f"rows of {min(strange)} in {name}", part.keys)
    if table == "runs" and fitted["run"].is_duplicated().any():
        raise damaged(part.folder, f"two rows of one run in {name}", part.keys)
    return fitted if part.keys.keys() <= set(runs) else fitted.filter(pl.col("run").is_in(runs))


def untrue(parts: Sequence[Part], table: str) -> dict[str, DamagedPartError]:
    """What is wrong with the rows of many parts: a second for 10,000, or for 20 million rows.

    Args:
        parts: Parts that have the table, their bytes checked.
        table: Its name.

    Returns:
        What `rows_of` would raise, by name of the part; empty where nothing is wrong.
    """
    found: dict[str, DamagedPartError] = {}
    for part in _suspects(parts, table):
        try:
            rows_of(part, part.keys, table)
        except DamagedPartError as error:
            found[part.name] = error
    return found


def _suspects(parts: Sequence[Part], table: str) -> Sequence[Part]:
    """Parts whose rows have to be looked at one by one; none, as a rule.

    One pass over all files, which decodes every column: text that is no UTF-8 ends it.
    """
    columns = schema().tables[table]
    keys = [_FILE, "run"] if "run" in columns else [_FILE]
    floats = [name for name, column in columns.items() if column.dtype.is_float()]
    files = {part.path(table): part for part in parts}
    if not files:
        return ()
    rows = scanned(table, list(files), _FILE)
    counts = (
        rows.group_by(keys)
        .agg(
            pl.len().alias(_ROWS),
            pl.col([name for name in columns if name not in keys]).null_count(),
            pl.col(floats).is_nan().any().name.suffix(" is NaN"),
        )
        .with_columns(
            wrong=pl.any_horizontal(
                *(pl.col(n) > 0 for n, own in columns.items() if not (own.nullable or n in keys)),
                *(pl.col(f"{name} is NaN") for name in floats),
                pl.lit(table == "runs") & (pl.col(_ROWS) > 1),
            )
        )
    )
    try:
        found = counts.collect(engine="streaming").select(*keys, "wrong").rows(named=True)
    except _FAILURES:
        return parts
    strange = {
        row[_FILE]
        for row in found
        if row["wrong"] or ("run" in row and row["run"] not in files[row[_FILE]].keys)
    }
    return [part for path, part in files.items() if path in strange]
