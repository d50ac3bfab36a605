"""The numbers that a published study printed, to stand beside those its result files give."""

import json
from pathlib import Path
from typing import Any

import polars as pl

PRINTED = Path(__file__).with_name("printed_tables.json")
"""The one place where numbers of others are typed, with their source."""

NO_FILES = pl.DataFrame(
    schema={
        "method": pl.String,
        "size": pl.Int32,
        "top": pl.Float64,
        "random": pl.Float64,
        "files": pl.Int64,
    }
)
"""The view `published_drops` of a store without imported files."""

_KINDS = ("printed", "recomputed")


def printed_tables() -> pl.DataFrame:
    """The tables as printed, and as others recomputed them from the study's result files.

    Returns:
        Columns `method`, `ranking` (the score of ours that it ranks heads by), `kind` (printed or
        recomputed), `family` (top or random), `size` (heads ablated together), `points` (mean drop
        of accuracy, base minus ablated, in points) and `source`.
    """
    said: dict[str, Any] = json.loads(PRINTED.read_text(encoding="utf-8"))
    rows = [
        (method, ranking, kind, family, size, points, said[kind]["source"])
        for kind in _KINDS
        for method, ranking in said["rankings"].items()
        for family, drops in said[kind][method].items()
        for size, points in zip(said["sizes"], drops, strict=True)
    ]
    names = ("method", "ranking", "kind", "family", "size", "points", "source")
    return pl.DataFrame(rows, schema=names, orient="row").cast({"size": pl.Int32})


def beside_printed(published_drops: pl.DataFrame) -> pl.DataFrame:
    """The printed numbers beside those that imported files give.

    Args:
        published_drops: Rows of the view.

    Returns:
        Columns `method`, `ranking`, `family`, `size`, `printed`, `recomputed` (by others),
        `imported` (from the files in the store; NULL without any) and `files`, in points. Methods
        are compared by name, capital or small.
    """
    index = ("method", "ranking", "family", "size")
    tables = printed_tables().pivot("kind", index=index, values="points")
    imported = published_drops.unpivot(
        ("top", "random"),
        index=("method", "size", "files"),
        variable_name="family",
        value_name="imported",
    ).with_columns(name=pl.col("method").str.to_lowercase())
    return (
        tables.with_columns(name=pl.col("method").str.to_lowercase())
        .join(imported.drop("method"), on=("name", "family", "size"), how="left")
        .select(*index, *_KINDS, "imported", "files")
    )
