"""Seconds of contenders side by side."""

import altair as alt
import polars as pl

from .theme import BLUE, ORANGE


def race_seconds(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Every lap of every contender of one race.

    Args:
        rows: Rows of the table `timings` of one run.
        title: The finding.
        description: The caption.

    Returns:
        A point a lap, a line from the fastest to the slowest, a tick at the median; seconds from 0,
        the fastest contender first.
    """
    shown = rows.drop_nulls("lap").with_columns(
        whose=pl.when(pl.col("contender").str.starts_with("ours"))
        .then(pl.lit("ours"))
        .otherwise(pl.lit("others"))
    )
    order = shown.group_by("contender").agg(pl.col("seconds").median()).sort("seconds")
    scale = alt.Scale(domain=["ours", "others"], range=[BLUE, ORANGE])
    base = alt.Chart(shown, width=460, height=alt.Step(30)).encode(
        y=alt.Y(
            "contender:N",
            title=None,
            sort=order["contender"].to_list(),
            axis=alt.Axis(labelLimit=200),
        ),
        color=alt.Color("whose:N", title=None, scale=scale),
    )
    x = alt.X("seconds:Q", title="seconds", scale=alt.Scale(domainMin=0))
    rule = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("min(seconds):Q", title="seconds"), x2="max(seconds):Q"
    )
    middle = base.mark_tick(thickness=3, size=18).encode(x="median(seconds):Q")
    tooltip = ["contender:N", "package:N", "lap:Q", alt.Tooltip("seconds:Q", format=".4g")]
    laps = base.mark_circle(size=45, opacity=0.8).encode(x=x, tooltip=tooltip)
    return alt.LayerChart(layer=[rule, middle, laps], title=title, description=description)
