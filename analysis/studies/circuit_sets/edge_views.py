"""Answers of `CircuitEdges` arranged for a reader."""

from __future__ import annotations

import polars as pl

from analysis.questions.verdicts.judgement import Evidence

from .edges import BESIDE, EDGE
from .views import SHARES

_INPUTS = {"q": "queries", "k": "keys", "v": "values"}


def edge_rows(edges: Evidence | None) -> pl.DataFrame:
    """What each direct path between two heads of the circuit is worth to copying.

    Args:
        edges: Answer of `CircuitEdges`; none where nothing was asked.

    Returns:
        Columns of `pair_grids` (`first` sends, `second` receives, `panel` is the input) with
        `lower`, `upper` and `n`; rises of the loss on the second copy, nats per token. No rows
        where there are no paths.
    """
    if edges is None or "ablations" not in edges:
        ends = dict.fromkeys(("first", "second", "panel"), pl.String)
        return pl.DataFrame(schema=ends | SHARES)
    found = _paths(edges, EDGE).with_columns(panel=pl.col("site").replace_strict(_INPUTS))
    order = pl.col("panel").replace_strict({name: i for i, name in enumerate(_INPUTS.values())})
    return found.sort("first", "second", order).select("first", "second", "panel", *SHARES)


def _paths(edges: Evidence, family: str) -> pl.DataFrame:
    means = edges["ablation_means"].filter(scope="second copy", metric="loss_change")
    asked = (
        edges["ablations"].filter(family=family).select("condition", "site", "heads", "receiver")
    )
    return asked.join(means, on="condition").with_columns(
        first="heads", second=pl.col("receiver").str.split(".").list.first()
    )


def beside_edges(edges: Evidence) -> float:
    """The most that a path from a head outside the circuit is worth, into all three inputs."""
    values = _paths(edges, BESIDE)["value"] if "ablations" in edges else pl.Series([0.0])
    return float(values.max() or 0.0)  # pyright: ignore[reportArgumentType]


def edges_said(edges: Evidence) -> str:
    """The paths that matter most, such as `L0H7 into the keys of L2H3 (1.20)`; or why none."""
    rows = edge_rows(edges).sort("value", descending=True)
    if rows.is_empty():
        return f"none, since {edges['absences']['reason'].item()}"
    told = rows.head(3).select("first", "panel", "second", "value").iter_rows()
    return ", ".join(f"{one} into the {what} of {other} ({x:.2f})" for one, what, other, x in told)
