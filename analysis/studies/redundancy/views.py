"""Answers of `ValueRedundancy` and `QueryOffsets` arranged for a reader."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis.tables import named

_FIGURES = ("value", "lower", "upper", "n")
_CURVE = ("at", "series", "role", *_FIGURES)


def aggregates(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Rows over all sequences."""
    return comparisons.filter(pl.col("sequence").is_null())


def index_rows(
    answers: Mapping[str, pl.DataFrame], head: str, layer: int | None, metric: str
) -> pl.DataFrame:
    """The index of B(all) by offset, of one head and of others.

    Args:
        answers: Rows of `comparisons` by head.
        head: The head that is asked about.
        layer: Whose attention output; None for the predictions.
        metric: `redundancy` or `redundancy_pooled`.

    Returns:
        Rows of a curve for each head; the one asked about comes first.
    """
    ordered = sorted(answers, key=lambda name: name != head)
    frames = [
        _at(aggregates(answers[name]), layer)
        .filter(metric=metric, condition="A+B(all)")
        .with_columns(
            series=pl.lit(name),
            role=pl.lit(name if name == head else "other heads of its layer"),
        )
        for name in ordered
    ]
    return pl.concat(frames).select(pl.col("lag").alias("at"), *_CURVE[1:]).sort("at")


def at_offset(rows: pl.DataFrame, name: str, offset: int) -> dict[str, Any]:
    """One point of one of the curves.

    Args:
        rows: What `index_rows` gives.
        name: The head whose curve it is, as `L1H4`.
        offset: How far back.

    Returns:
        The row by column; there must be exactly one.
    """
    return rows.row(by_predicate=(pl.col("series") == name) & (pl.col("at") == offset), named=True)


def sweep_rows(comparisons: pl.DataFrame, scope: str) -> pl.DataFrame:
    """What removing a value changes in the predictions, alone and after A, by offset.

    Args:
        comparisons: Rows of the table, of one head.
        scope: `all` or `specific`.

    Returns:
        Rows of two curves.
    """
    after = f"values ablated, {comparisons['head'][0]} zeroed at t"
    return removals(comparisons, scope, "values ablated", after)


def removals(comparisons: pl.DataFrame, scope: str, alone: str, after: str) -> pl.DataFrame:
    """The two curves of what removing a value changes in the predictions, so called."""
    rows = _at(aggregates(comparisons), None).filter(metric="kl")
    series = {("base", f"B({scope})"): alone, ("A", f"A+B({scope})"): after}
    frames = [
        rows.filter(reference=reference, condition=condition).with_columns(
            series=pl.lit(words), role=pl.lit(words)
        )
        for (reference, condition), words in series.items()
    ]
    curves = pl.concat(frames).select(pl.col("lag").alias("at"), *_CURVE[1:])
    return curves.sort("at", maintain_order=True)


def comparison_rows(comparisons: pl.DataFrame, metric: str, lag: int) -> pl.DataFrame:
    """The seven comparisons at every layer.

    Args:
        comparisons: Rows of the table, of one head.
        metric: `nip` or `cosine`.
        lag: How far back values are ablated.

    Returns:
        Rows of a curve for each comparison.
    """
    rows = _compared(comparisons, lag).filter(pl.col("layer").is_not_null(), metric=metric)
    return rows.select(pl.col("layer").alias("at"), *_CURVE[1:]).sort("at")


def prediction_rows(comparisons: pl.DataFrame, lag: int) -> pl.DataFrame:
    """KL of the seven comparisons, in nats.

    Args:
        comparisons: Rows of the table, of one head.
        lag: How far back values are ablated.

    Returns:
        Columns `comparison`, `value`, `lower`, `upper` and `n`.
    """
    rows = _compared(comparisons, lag).filter(metric="kl")
    return rows.select(pl.col("series").alias("comparison"), *_FIGURES)


def _compared(comparisons: pl.DataFrame, lag: int) -> pl.DataFrame:
    rows = aggregates(comparisons).filter(pl.col("lag").is_null() | (pl.col("lag") == lag))
    words = pl.format("{} to {}", "reference", "condition")
    return rows.with_columns(series=words, role=words).sort("reference", "condition")


def method_rows(answers: Mapping[str, pl.DataFrame], layer: int) -> pl.DataFrame:
    """The index at offset 1 under every way to ablate values.

    Args:
        answers: Rows of `comparisons` of one head by method.
        layer: The head's.

    Returns:
        Columns `method`, `values_of`, `place`, the figures, and `undefined`, the share of sequences
        on which the index is not defined.
    """
    frames: list[pl.DataFrame] = []
    for method, comparisons in answers.items():
        rows = aggregates(comparisons).filter(pl.col("condition").str.starts_with("A+B"), lag=1)
        for place, at, metric in (
            (f"attention output, layer {layer}", layer, "redundancy"),
            ("predictions", None, "redundancy"),
            ("predictions, all sequences together", None, "redundancy_pooled"),
        ):
            here = _at(rows, at)
            share = here.filter(metric="undefined").select("condition", undefined="value")
            found = here.filter(metric=metric).join(share, on="condition")
            frames.append(
                found.select(
                    pl.lit(method).alias("method"),
                    pl.col("condition").str.extract(r"\((\w+)\)").alias("values_of"),
                    pl.lit(place).alias("place"),
                    *_FIGURES,
                    "undefined",
                )
            )
    return pl.concat(frames)


def looked_at(profiles: pl.DataFrame, profile: str, name: str) -> pl.DataFrame:
    """Attention by offset of one head under each condition.

    Args:
        profiles: Rows of `head_profiles` from `QueryOffsets`.
        profile: `query_offset` or `query_offset_change`.
        name: The head, as `L1H4`.

    Returns:
        Rows of a curve for each condition.
    """
    rows = named(profiles).filter(profile=profile, name=name)
    told = rows.with_columns(series=pl.col("data"), role=pl.col("data"), at=pl.col("lag"))
    return told.select(_CURVE).sort("at", maintain_order=True)


def _at(rows: pl.DataFrame, layer: int | None) -> pl.DataFrame:
    return rows.filter(pl.col("layer").eq_missing(pl.lit(layer, pl.Int16)))
