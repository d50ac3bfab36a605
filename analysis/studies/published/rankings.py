"""Files of scores by head, in the four shapes that published code writes."""

import json
import re
from collections.abc import Sequence
from math import fsum
from typing import Any

import polars as pl

from analysis.errors import UserError

from .values import REMEDY, Value

RANKINGS = pl.Schema(
    {
        **dict.fromkeys(("method", "model_key", "question"), pl.String),
        **dict.fromkeys(("total_tokens", "samples_processed", "successful_retrievals"), pl.Int32),
        **dict.fromkeys(("layer", "head"), pl.Int16),
        "sample": pl.Int32,
        "score": pl.Float64,
        **dict.fromkeys(("num_samples", "rank"), pl.Int32),
        **dict.fromkeys(("remark", "other"), pl.String),
    }
)
"""Columns of `published_rankings` without `run`, `file` and `format`."""

_LONG_NAME = re.compile(r"L([0-9]{1,4})H([0-9]{1,4})")
_SHORT_NAME = re.compile(r"([0-9]{1,4})-([0-9]{1,4})")
_LARGEST_HEAD = 9_999
_TEXTS, _COUNTS = ("model_key", "question"), ("samples_processed", "successful_retrievals")


def other_fields(said: Value, known: Sequence[str]) -> str | None:
    """The fields of a file that hold a single value and are not read otherwise.

    Args:
        said: The whole file.
        known: Names of the fields that are read.

    Returns:
        JSON of an object; None where there are none.
    """
    single = {
        name: value
        for name, value in said.said.items()
        if name not in known and isinstance(value, (str, int, float, bool))
    }
    return json.dumps(single, sort_keys=True) if single else None


def detection_rows(said: Value) -> pl.DataFrame:
    """Rows of a file `{method, head_rankings: [{head, score, num_samples, rank}], ...}`.

    Args:
        said: The whole file.

    Returns:
        Columns `RANKINGS`, none where the file ranks no head; `remark` where a rank contradicts
        the scores.

    Raises:
        UserError: The file lacks something, a number is outside its range, a head stands twice.
    """
    heading: dict[str, Any] = {"method": said.field("method").text()}
    heading |= {name: said.field(name).text() for name in _TEXTS if said.has(name)}
    if said.has("total_tokens"):
        heading["total_tokens"] = said.field("total_tokens").count(1)
    heading |= {name: said.field(name).count() for name in _COUNTS if said.has(name)}
    processed = heading.get(_COUNTS[0])
    if processed is not None and heading.get(_COUNTS[1], 0) > processed:
        said.field(_COUNTS[1]).wrong(f"at most samples_processed, {processed},")
    heading["other"] = other_fields(said, (*heading, "head_rankings"))
    rows: list[dict[str, Any]] = []
    for each in said.field("head_rankings").items():
        rows.append(
            {
                **_place(each.field("head"), _LONG_NAME, "L15H30"),
                "score": each.field("score").score(),
                "num_samples": each.field("num_samples").count(),
                "rank": each.field("rank").count(),
                **heading,
            }
        )
    return _once_each(_with_remarks(pl.DataFrame(rows, schema=RANKINGS)))


def absence(said: Value) -> pl.DataFrame:
    """Why a detection file has no scores.

    Args:
        said: The whole file, whose `head_rankings` are empty.

    Returns:
        A row for `absences`; `model` and `data` as the file calls them, or `unnamed`.
    """
    told = {name: said.field(name).said for name in (*_TEXTS, *_COUNTS) if said.has(name)}
    right, n = (told.get(name, "an unknown number") for name in reversed(_COUNTS))
    return pl.DataFrame(
        {
            "model": told.get("model_key", "unnamed"),
            "score": said.field("method").text(),
            "data": told.get("question", "unnamed"),
            "reason": f"published file: {right} of {n} answered correctly, no scores",
        }
    )


def _with_remarks(rows: pl.DataFrame) -> pl.DataFrame:
    """Say which heads a better rank stands above although its score is lower."""
    best_below = pl.col("score").reverse().cum_max().reverse().shift(-1)
    wrong = (pl.col("score") < best_below).fill_null(value=False)
    said = pl.when(wrong).then(pl.lit("ranks above a head of a larger score"))
    return rows.sort("rank", maintain_order=True).with_columns(remark=said)


def listed_rows(said: Value) -> pl.DataFrame:
    """Rows of a file `{"layer-head": [scores, one a sample]}`.

    Args:
        said: The whole file.

    Returns:
        Columns `RANKINGS`: for each head its mean, `sample` NULL, then its scores.

    Raises:
        UserError: A name is no head, a list is empty, a score no number, or a head stands twice.
    """
    rows: list[dict[str, Any]] = []
    for name in said.said:
        place = _place(Value(name, "a field's name"), _SHORT_NAME, "13-18")
        scores = [score.score() for score in said.field(name).items()]
        if not scores:
            said.field(name).wrong("at least one score")
        mean = fsum(scores) / len(scores)
        rows.append({**place, "score": mean, "num_samples": len(scores)})
        rows += [{**place, "sample": i, "score": score} for i, score in enumerate(scores)]
    return _ranked(pl.DataFrame(rows, schema=RANKINGS))


def pair_rows(said: Value) -> pl.DataFrame:
    """Rows of a file `[["layer-head", score], ...]`.

    Args:
        said: The whole file.

    Returns:
        Columns `RANKINGS`.

    Raises:
        UserError: An item is no such pair, or a head stands twice.
    """
    rows: list[dict[str, Any]] = []
    for pair in said.items():
        parts = pair.items()
        if len(parts) != 2:
            pair.wrong("a head and its score")
        place = _place(parts[0], _SHORT_NAME, "13-18")
        rows.append({**place, "score": parts[1].score()})
    return _ranked(pl.DataFrame(rows, schema=RANKINGS))


def table_rows(said: Sequence[dict[str, Value]]) -> pl.DataFrame:
    """Rows of a table with the columns `scores`, `layer` and `head`.

    Args:
        said: The rows of the table.

    Returns:
        Columns `RANKINGS`.

    Raises:
        UserError: A cell is no such number, or a head stands twice.
    """
    rows = [
        {
            "layer": _head_number(row["layer"]),
            "head": _head_number(row["head"]),
            "score": row["scores"].score(),
        }
        for row in said
    ]
    return _ranked(pl.DataFrame(rows, schema=RANKINGS))


def _head_number(said: Value) -> int:
    if said.count() > _LARGEST_HEAD:
        said.wrong(f"a layer or head up to {_LARGEST_HEAD}")
    return said.count()


def _place(said: Value, form: re.Pattern[str], example: str) -> dict[str, Any]:
    """Layer and head of a name."""
    match = form.fullmatch(said.text())
    if match is None:
        said.wrong(f"a head such as {example}")
    return {"layer": int(match[1]), "head": int(match[2])}


def _ranked(rows: pl.DataFrame) -> pl.DataFrame:
    """Rank what a file leaves unranked: by score, equal scores sharing the smaller rank."""
    whole = pl.col("score").is_not_null() & pl.col("sample").is_null()
    score = pl.when(whole).then("score")
    rank = score.rank("min", descending=True).cast(pl.Int32)
    return _once_each(rows.with_columns(rank=rank))


def _once_each(rows: pl.DataFrame) -> pl.DataFrame:
    """Refuse a ranking that names a head twice."""
    heads = rows.filter(pl.col("sample").is_null()).select("layer", "head")
    twice = heads.filter(heads.is_duplicated())
    if twice.height:
        layer, head = twice.row(0)
        raise UserError(f"expected each head once, got L{layer}H{head} twice; {REMEDY}")
    return rows
