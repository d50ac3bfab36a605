"""Answers of `ComponentEffects` arranged for a reader."""

from collections.abc import Mapping

import polars as pl

from analysis.statistics.resampling import band_columns
from analysis.tables import named

from .measures import MATCHED, SUM, TOP

_FIGURES = ("value", "lower", "upper", "n")
_CURVES = {
    TOP: "chosen, together",
    SUM: "chosen, one by one, summed",
    MATCHED: "other components, as large, together",
}
N_LISTED = 12
"""Components that are shown one by one."""


def joint_rows(answer: Mapping[str, pl.DataFrame], copier: str) -> pl.DataFrame:
    """What the induction head loses without several components, by how many.

    Args:
        answer: Of `ComponentEffects`.
        copier: Name of the induction head.

    Returns:
        Rows of three curves; of the random sets the mean and the central 95 % of the draws.
    """
    about = answer["ablations"].select("condition", "family", "draw")
    rows = named(answer["head_effects"].filter(pl.col("sequence").is_null()))
    known = (
        rows.filter(name=copier)
        .join(about, on="condition")
        .select(
            "family",
            pl.col("condition").str.extract(r" (\d+)").cast(pl.Int64).alias("at"),
            value=-pl.col("value"),
            lower=-pl.col("upper"),
            upper=-pl.col("lower"),
            n=pl.col("n").cast(pl.Int64),
        )
    )
    value = pl.col("value")
    drawn = (
        known.filter(family=MATCHED)
        .group_by("family", "at")
        .agg(value.mean(), pl.len().cast(pl.Int64).alias("n"), **band_columns("value"))
    )
    shown = pl.concat(
        [known.filter(family=TOP), known.filter(family=SUM), drawn.sort("at")], how="diagonal"
    )
    words = pl.col("family").replace_strict(_CURVES)
    return shown.select("at", words.alias("series"), words.alias("role"), *_FIGURES)


def single_rows(component_scores: pl.DataFrame, copier: str) -> pl.DataFrame:
    """What the most harmful components do alone, to the induction head and its neighbours.

    Args:
        component_scores: Of `ComponentEffects`.
        copier: Name of the induction head.

    Returns:
        Columns `group` (the component), `name` (the head), `role`, `value`, `lower`, `upper`, `n`.
    """
    shown = _ranked(component_scores).head(N_LISTED)
    rows = shown.join(component_scores.filter(score="effect_induction"), on=_KEYS)
    ours = pl.when(pl.col("head") == copier).then(pl.lit("the induction head"))
    role = ours.otherwise(pl.lit("other heads of its layer"))
    return rows.sort("rank", "head").select(
        pl.col("name").alias("group"), pl.col("head").alias("name"), role.alias("role"), *_FIGURES
    )


def component_table(component_scores: pl.DataFrame, copier: str, previous: str) -> pl.DataFrame:
    """The components that take most from the induction head alone, chosen on other blocks.

    Args:
        component_scores: Of `ComponentEffects`.
        copier: Name of the induction head.
        previous: Name of the previous-token head.

    Returns:
        A row each: norm, importance, and what ablating it changes, with the interval for the
        induction head.
    """
    found = _ranked(component_scores)
    for score, head, column in (
        ("norm", None, "norm"),
        ("importance", None, "importance"),
        ("effect_induction", copier, copier),
        ("effect_previous_token", previous, previous),
        ("effect_loss", None, "loss, second copy"),
    ):
        one = component_scores.filter(pl.col("head").eq_missing(pl.lit(head)), score=score)
        ends = pl.format("{} to {}", pl.col("lower").round(3), pl.col("upper").round(3))
        extra = [ends.alias("95 %")] if column == copier else []
        values = one.select(*_KEYS, pl.col("value").round(4).alias(column), *extra)
        found = found.join(values, on=_KEYS, how="left", maintain_order="left")
    return found.head(2 * N_LISTED).drop(*_KEYS, "rank").rename({"name": "component"})


def concentration_table(head_scores: pl.DataFrame) -> pl.DataFrame:
    """How few components carry the effects on each head.

    Args:
        head_scores: Of `ComponentEffects`.

    Returns:
        A row a head: shares of the summed squared effects with intervals, the share of the summed
        squared norms, and the entropy, also as a number of equal components.
    """
    rows = named(head_scores.filter(pl.col("sequence").is_null()))
    found = rows.select("name").unique(maintain_order=True).sort("name")
    for score, column in (
        ("component_share_one", "the largest"),
        ("component_share_few", "the few largest"),
        ("component_norm_share", "the few by norm"),
        ("component_entropy", "entropy, nats"),
    ):
        ends = pl.format("{} to {}", pl.col("lower").round(2), pl.col("upper").round(2))
        interval = [] if column == "the few by norm" else [ends.alias(f"{column}, 95 %")]
        one = rows.filter(score=score)
        values = one.select("name", pl.col("value").round(3).alias(column), *interval)
        found = found.join(values, on="name", how="left", maintain_order="left")
    return found.with_columns(
        pl.col("entropy, nats").exp().round(1).alias("as many as equal components")
    )


def leakage(component_scores: pl.DataFrame) -> float:
    """The largest effect of any component on the pattern of a head that it cannot feed.

    Components of a layer above the head's, and of v and o of its own layer, cannot.
    """
    place = pl.col("head").str.extract(r"L(\d+)").cast(pl.Int64)
    behind = pl.col("projection").is_in(["v", "o"]) & (pl.col("layer") == place)
    unfed = component_scores.filter((pl.col("layer") > place) | behind)
    found = unfed.select(pl.col("value").abs().max()).item()
    return found or 0.0


_KEYS = ("layer", "projection", "component")


def _ranked(component_scores: pl.DataFrame) -> pl.DataFrame:
    """Components by their rank on the even blocks, named."""
    rows = component_scores.filter(score="rank").sort("value")
    name = pl.format("L{} {} {}", *_KEYS)
    return rows.select(*_KEYS, pl.col("value").alias("rank"), name.alias("name"))
