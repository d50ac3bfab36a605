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
    """A number of B(all) after A by offset, of one head and of others.

    Args:
        answers: Rows of `comparisons` by head.
        head: The head that is asked about.
        layer: Whose attention output; None for the predictions.
        metric: `redundancy` of attention outputs, `log_ratio` of predictions, or
            `redundancy_pooled`.

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


def of_sums(comparisons: pl.DataFrame, offset: int) -> dict[str, Any]:
    """R of the predictions from sums over all sequences, and what a log-ratio lacks.

    Args:
        comparisons: Rows of the table, of one head.
        offset: How far back.

    Returns:
        `value`, `lower`, `upper`, `n` and `effective_n` of that R; and shares of sequences:
        `undefined`, without a log-ratio, and `at_floor`, with one KL that counts as the floor, 0
        where none has a log-ratio.
    """
    rows = _at(_weighed(aggregates(comparisons)), None).filter(condition="A+B(all)", lag=offset)
    shares = {"undefined": 0.0, "at_floor": 0.0}
    shares |= dict(rows.filter(pl.col("metric").is_in(list(shares)))["metric", "value"].iter_rows())
    return rows.filter(metric="redundancy_pooled").row(0, named=True) | shares


def share_said(comparisons: pl.DataFrame, layer: int) -> str:
    """The head's share of what its layer reads one token back, in words, with its n."""
    rows = _at(aggregates(comparisons), layer)
    found = rows.filter(metric="redundancy", condition="A+B(all)", lag=1)
    if found.is_empty():
        return "unknown size, since it is too little on every sequence"
    row = found.row(0, named=True)
    ends = "" if row["lower"] is None else f" ({row['lower']:.4f} to {row['upper']:.4f})"
    return f"{row['value']:.4f}{ends}, the median of {row['n']} sequences"


def sweep_rows(comparisons: pl.DataFrame, scope: str) -> pl.DataFrame:
    """What removing a value changes in the predictions, alone and after A, by offset.

    Args:
        comparisons: Rows of the table, of one head.
        scope: `all` or `specific`.

    Returns:
        Rows of two curves: medians.
    """
    after = f"values ablated, {comparisons['head'][0]} zeroed at t"
    return removals(comparisons, scope, "values ablated", after)


def removals(comparisons: pl.DataFrame, scope: str, alone: str, after: str) -> pl.DataFrame:
    """The two curves of what removing a value changes in the predictions, so called."""
    rows = _at(aggregates(comparisons), None).filter(metric="kl_median")
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
        Columns `comparison`, `median`, the figures of the mean, and its `effective_n`.
    """
    rows = _compared(comparisons, lag)
    key = ("reference", "condition")
    medians = rows.filter(metric="kl_median").select(*key, median="value")
    means = _weighed(rows).filter(metric="kl").join(medians, on=key, maintain_order="left")
    shown = means.rename({"series": "comparison", "value": "mean"})
    return shown.select("comparison", "median", "mean", "lower", "upper", "n", "effective_n")


def _compared(comparisons: pl.DataFrame, lag: int) -> pl.DataFrame:
    rows = aggregates(comparisons).filter(pl.col("lag").is_null() | (pl.col("lag") == lag))
    words = pl.format("{} to {}", "reference", "condition")
    return rows.with_columns(series=words, role=words).sort("reference", "condition")


def method_rows(answers: Mapping[str, pl.DataFrame], layer: int) -> pl.DataFrame:
    """Every number at offset 1 under every way to ablate values.

    Args:
        answers: Rows of `comparisons` of one head by method.
        layer: The head's.

    Returns:
        Columns `method`, `values_of`, `number` in words, the figures, `effective_n`, and
        `undefined`, the share of sequences without it.
    """
    frames: list[pl.DataFrame] = []
    for method, comparisons in answers.items():
        rows = _weighed(aggregates(comparisons))
        after = rows.filter(pl.col("condition").str.starts_with("A+B"), lag=1)
        for words, at, metric in (
            (f"share, layer {layer}", layer, "redundancy"),
            ("log-ratio", None, "log_ratio"),
            ("R from sums", None, "redundancy_pooled"),
        ):
            here = _at(after, at)
            lacking = here.filter(metric="undefined").select("condition", undefined="value")
            found = here.filter(metric=metric).join(lacking, on="condition")
            frames.append(
                found.select(
                    pl.lit(method).alias("method"),
                    pl.col("condition").str.extract(r"\((\w+)\)").alias("values_of"),
                    pl.lit(words).alias("number"),
                    *_FIGURES,
                    "effective_n",
                    pl.when(metric != "redundancy_pooled").then("undefined").alias("undefined"),
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


def _weighed(rows: pl.DataFrame) -> pl.DataFrame:
    """Aggregates with their `effective_n`: n where each sequence counts as one.

    That of a ratio of sums is of its denominators: what B does alone.
    """
    key = ("lag", "reference", "condition", "layer")
    kish = rows.filter(metric="effective_n").select(*key, kish="value")
    ratio = pl.col("metric") == "redundancy_pooled"
    alone = pl.col("condition").str.replace("A+", "", literal=True)
    looked_up = rows.with_columns(
        reference=pl.when(ratio).then(pl.lit("base")).otherwise("reference"),
        condition=pl.when(ratio).then(alone).otherwise("condition"),
    )
    found = looked_up.select(*key).join(
        kish, on=key, how="left", nulls_equal=True, maintain_order="left"
    )
    ruled = pl.col("metric").is_in(["kl", "distance2", "redundancy_pooled"])
    return rows.with_columns(found["kish"]).with_columns(
        effective_n=pl.when(ruled).then("kish").otherwise(pl.col("n").cast(pl.Float64))
    )
