"""Published ablation curves beside ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from analysis.studies.retrieval.views import at_size, widest

from . import beside_printed, printed_tables

_SAID = {"printed": "as printed", "recomputed": "result files", "imported": "imported files"}
"""Who says how much a published study's models lose."""


def published_drops(drops: pl.DataFrame) -> pl.DataFrame:
    """How much accuracy a published study's models lose: as printed, and by its result files.

    Args:
        drops: Rows of the view `published_drops`, of files in a store; `NO_FILES` for none.

    Returns:
        Columns `ranking` (the score of ours that the study's method ranks by), `of` (who says so),
        `heads`, `top` and `random`, mean drops in points.
    """
    tables = beside_printed(drops).unpivot(
        tuple(_SAID), index=("ranking", "family", "size"), variable_name="kind", value_name="points"
    )
    rows = tables.drop_nulls("points").pivot(
        "family", index=("ranking", "kind", "size"), values="points", maintain_order=True
    )
    rankings = pl.Enum(tables["ranking"].unique(maintain_order=True))
    ordered = rows.sort(
        pl.col("ranking").cast(rankings), pl.col("kind").cast(pl.Enum(list(_SAID))), "size"
    )
    return ordered.select(
        "ranking",
        pl.col("kind").replace_strict(_SAID).alias("of"),
        pl.col("size").alias("heads"),
        pl.col("top", "random").round(2),
    )


def our_drops(curves: pl.DataFrame, rankings: Iterable[str]) -> pl.DataFrame:
    """How much accuracy our model loses.

    Args:
        curves: Rows of `retrieval_curves`.
        rankings: Scores that heads were ranked by.

    Returns:
        As `published_drops`, of `ours`.
    """
    rows: list[dict[str, Any]] = []
    for ranking in rankings:
        base = at_size(curves, ranking, "top", 0)["accuracy"]
        ours = curves.filter(method="zero", fact=widest(curves), ranking=ranking)
        for size in ours.filter(pl.col("size") > 0)["size"].unique().sort():
            top, random = (
                round(100 * (base - at_size(curves, ranking, family, size)["accuracy"]), 1)
                for family in ("top", "random")
            )
            row = {"ranking": ranking, "of": "ours", "heads": size, "top": top, "random": random}
            rows.append(row)
    return pl.DataFrame(rows, schema_overrides={"heads": pl.Int32})


def published_beside(drops: pl.DataFrame, ours: pl.DataFrame | None) -> pl.DataFrame:
    """Published drops of accuracy above ours.

    Args:
        drops: Of `published_drops`.
        ours: Of `our_drops`; None where nothing could be replaced.

    Returns:
        Their rows, rankings in words.
    """
    rows = drops if ours is None else pl.concat([drops, ours])
    return rows.with_columns(pl.col("ranking").str.replace_all("_", " "))


def side_by_side(drops: pl.DataFrame) -> pl.DataFrame:
    """Who says what, in columns.

    Args:
        drops: Of `published_drops`.

    Returns:
        Columns `ranking`, `heads`, and for top and random heads one for each that says so.
    """
    rows = published_beside(drops, None).unpivot(
        ("top", "random"), index=("ranking", "of", "heads"), variable_name="sets"
    )
    named = rows.with_columns(said=pl.format("{}, {}", "sets", "of"))
    return named.pivot("said", index=("ranking", "heads"), values="value", maintain_order=True)


def published_source() -> str:
    """Where the published numbers come from."""
    return "; ".join(printed_tables()["source"].unique(maintain_order=True))
