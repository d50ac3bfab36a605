"""Rows of the store arranged for a reader: heads by name, scores beside their controls."""

from collections.abc import Mapping
from typing import Any

import polars as pl


def named(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the column `name`, as `L1H4`, to rows with `layer` and `head`."""
    return rows.with_columns(name=pl.format("L{}H{}", "layer", "head"))


def beside(head_scores: pl.DataFrame, score: str, data: str, control_data: str) -> pl.DataFrame:
    """Every head's aggregate score with the same score on a control.

    Args:
        head_scores: Rows of the table, of one model.
        score: Which score.
        data: What it is measured on.
        control_data: What the control is measured on.

    Returns:
        Columns `name`, `layer`, `head`, `value`, `lower`, `upper`, `n`, `chance`, `control`,
        `control_lower`, `control_upper`; heads without a control have none.
    """
    every = head_scores.filter(pl.col("sequence").is_null(), score=score)
    control = every.filter(data=control_data).select(
        "layer", "head", control="value", control_lower="lower", control_upper="upper"
    )
    kept = ("name", "layer", "head", "value", "lower", "upper", "n", "chance")
    rows = named(every.filter(data=data)).select(kept)
    return rows.join(control, on=("layer", "head"), how="left").sort("layer", "head")


def sink_rows(head_scores: pl.DataFrame) -> pl.DataFrame:
    """Aggregate attention to position 0, `data` saying what it holds: BOS or an ordinary token."""
    rows = named(head_scores.filter(pl.col("sequence").is_null()))
    place = pl.when(pl.col("score") == "bos").then(pl.lit("after")).otherwise(pl.lit("without"))
    return rows.filter(pl.col("score").is_in(("bos", "position_0"))).with_columns(
        data=pl.format("{} {} BOS", "data", place)
    )


def strongest(rows: pl.DataFrame) -> dict[str, Any]:
    """The row with the largest `value`."""
    return rows.sort("value", "layer", "head").row(-1, named=True)


def single_effects(answers: Mapping[str, Mapping[str, pl.DataFrame]], metric: str) -> pl.DataFrame:
    """Aggregate effects of single heads under several kinds.

    Args:
        answers: Tables `ablations` and `ablation_means` by kind.
        metric: Which effect.

    Returns:
        Columns `name`, `kind`, `value`, `lower`, `upper` and `n`, over all positions.
    """
    frames = [
        answer["ablation_means"]
        .filter(scope="all", metric=metric)
        .join(answer["ablations"].select("condition", name="heads"), on="condition")
        .select("name", "value", "lower", "upper", "n", kind=pl.lit(kind))
        for kind, answer in answers.items()
    ]
    return pl.concat(frames)


def effects_beside(effects: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Every head's effect with another effect of the same head.

    Args:
        effects: Rows of `single_effects` of one kind.
        others: The same of another.

    Returns:
        Columns `name`, `value`, `lower`, `upper`, `other`, `other_lower` and `other_upper`.
    """
    other = others.select("name", other="value", other_lower="lower", other_upper="upper")
    return effects.select("name", "value", "lower", "upper").join(other, on="name")


def judged_claims(claims: pl.DataFrame) -> pl.DataFrame:
    """Claims as a reader sees them: numbers rounded, each with its interval and its run.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        Columns `statement`, `verdict`, `estimate`, `control`, `95 %`, `threshold` and `run`, which
        links to the run that weighed the evidence.
    """
    return claims.select(
        "statement",
        "verdict",
        pl.col("estimate", "control").round(3),
        pl.format("{} to {}", pl.col("lower").round(3), pl.col("upper").round(3)).alias("95 %"),
        "threshold",
        run=pl.lit("run"),
        run_link=pl.format("run:{}", "run"),
    )


def left_out(answer: Mapping[str, pl.DataFrame]) -> str:
    """What an answer lacks and why, as the end of a caption; empty if it lacks nothing."""
    if "absences" not in answer:
        return ""
    gaps = answer["absences"].group_by("reason", maintain_order=True).agg("score", "data")
    groups = (
        (row["reason"], zip(row["score"], row["data"], strict=True)) for row in gaps.to_dicts()
    )
    said = (f"{', '.join(map(' on '.join, pairs))}: {reason}" for reason, pairs in groups)
    return f" Left out: {'; '.join(said)}."
