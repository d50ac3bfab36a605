"""Result files of published studies: which format a file has shows in what it says."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import polars as pl

from analysis.errors import UserError

from .curves import FAMILIES, curve_rows
from .rankings import absence, detection_rows, listed_rows, pair_rows, table_rows
from .values import REMEDY, Value, decoded, parse_csv, parse_json

LAGS = pl.Schema({"lag": pl.Int32, "p": pl.Float64})
"""Columns of `published_lags` without `run` and `file`."""


class Format(Enum):
    """What a file holds, and in which shape."""

    ABLATION = "ablation"
    """JSON: accuracy after ablating the top heads, and random ones."""

    DETECTION = "detection"
    """JSON: heads with score and rank, and how many samples there were."""

    LISTED = "listed"
    """JSON: `{"layer-head": [scores, one a sample]}`."""

    PAIRS = "pairs"
    """JSON: `[["layer-head", score], ...]`."""

    TABLE = "table"
    """CSV: `scores,layer,head`."""

    LAG = "lag"
    """CSV: `Lag,Mean Probability`."""


_TABLE_OF = {Format.ABLATION: "published_curves", Format.LAG: "published_lags"}


@dataclass(frozen=True)
class Published:
    """What a file says."""

    format: Format
    table: str
    """Of the store, whose rows these are."""
    rows: pl.DataFrame
    """Its columns without `run` and `file`."""
    absences: pl.DataFrame | None = None
    """The row of `absences` of a detection that found nothing; None for everything else."""

    def remarks(self) -> pl.DataFrame:
        """The rows in which the file contradicts itself."""
        if "remark" not in self.rows.columns:
            return self.rows.clear()
        return self.rows.filter(pl.col("remark").is_not_null())


def read_published(data: bytes) -> Published:
    """Read a result file, whatever its format.

    Args:
        data: All bytes of the file.

    Returns:
        Its rows.

    Raises:
        UserError: It has none of the formats, or is malformed.
    """
    text = decoded(data)
    said: Value | None = parse_json(text) if text.lstrip()[0] in "{[" else None
    if said is None:
        found, rows = _from_csv(text)
    else:
        found, rows = _from_object(said) if isinstance(said.said, dict) else _from_list(said)
    if found in _TABLE_OF:
        return Published(found, _TABLE_OF[found], rows)
    absences = None if said is None or rows.height else absence(said)
    rows = rows.with_columns(format=pl.lit(found.value))
    return Published(found, "published_rankings", rows, absences)


def _from_object(said: Value) -> tuple[Format, pl.DataFrame]:
    if said.has("baseline") or any(said.has(name) for name in FAMILIES.values()):
        return Format.ABLATION, curve_rows(said)
    if said.has("head_rankings"):
        return Format.DETECTION, detection_rows(said)
    if said.said and all(isinstance(value, list) for value in said.said.values()):
        return Format.LISTED, listed_rows(said)
    return said.wrong("`top_heads_ablations`, `head_rankings` or lists of scores by head")


def _from_list(said: Value) -> tuple[Format, pl.DataFrame]:
    if not said.said:
        said.wrong("pairs of a head and its score")
    return Format.PAIRS, pair_rows(said)


def _from_csv(text: str) -> tuple[Format, pl.DataFrame]:
    names, rows = parse_csv(text)
    if sorted(names) == ["head", "layer", "scores"]:
        found, table = Format.TABLE, table_rows
    elif sorted(names) == ["Lag", "Mean Probability"]:
        found, table = Format.LAG, lag_rows
    else:
        header = Value(",".join(names), "the first line")
        header.wrong("JSON, or the columns scores,layer,head or Lag,Mean Probability")
    if not rows:
        raise UserError(f"expected rows below the header, got none; {REMEDY}")
    return found, table(rows)


def lag_rows(said: Sequence[dict[str, Value]]) -> pl.DataFrame:
    """Rows of a table with the columns `Lag` and `Mean Probability`.

    Args:
        said: The rows of the table.

    Returns:
        Columns `LAGS`.

    Raises:
        UserError: A lag is no whole number or stands twice, or a probability is none.
    """
    seen: dict[int, float] = {}
    for row in said:
        lag = row["Lag"]
        if type(lag.said) is not int or abs(lag.said) > 1_000_000 or lag.said in seen:
            lag.wrong("a whole number that was not there before")
        seen[lag.said] = row["Mean Probability"].number(0.0, 1.0)
    return pl.DataFrame({"lag": list(seen), "p": list(seen.values())}, schema=LAGS)
