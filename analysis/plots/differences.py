"""Measured differences between conditions, with their intervals."""

import altair as alt
import polars as pl

from .theme import (
    BLUE,
    GREY,
    ORANGE,
    SHARE,
    in_order,
)

_PLACES = {
    "position 0": BLUE,
    "self": "#7a5ba6",
    "previous": ORANGE,
    "delimiter": "#b98a3c",
    "other": GREY,
}


def attention_moved(rows: pl.DataFrame, title: str, description: str) -> alt.Chart:
    """Where one head looks as it is, and once position 0 is hidden.

    Args:
        rows: Columns `state`, `place` (as in `_PLACES`) and `value`, five rows a state.
        title: The finding.
        description: The caption.

    Returns:
        One stacked bar a state, adding up to 1.
    """
    scale = alt.Scale(domain=list(_PLACES), range=list(_PLACES.values()))
    ranks = {place: rank for rank, place in enumerate(_PLACES)}
    ranked = rows.with_columns(rank=pl.col("place").replace_strict(ranks))
    return (
        alt.Chart(ranked, width=420, height=alt.Step(34), title=title, description=description)
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="share of attention", scale=SHARE),
            y=alt.Y("state:N", title=None, sort=None),
            color=alt.Color("place:N", title="attention to", scale=scale),
            order="rank:Q",
            tooltip=["state:N", "place:N", alt.Tooltip("value:Q", format=".3f")],
        )
    )


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


def condition_effects(
    rows: pl.DataFrame, base: str, title: str, description: str
) -> alt.LayerChart:
    """The mean effect of every condition on predictions.

    Args:
        rows: Columns `condition`, `group`, `value`, `lower`, `upper` and `n`: KL in nats.
        base: What the condition is compared with, such as `target`.
        title: The finding.
        description: The caption.

    Returns:
        A point a condition with its 95 % interval; one below the other where groups share a
        condition.
    """
    unit = f"KL({base} || ablated), nats"
    conditions, groups = in_order(rows, "condition"), in_order(rows, "group")
    color = alt.Scale(domain=groups, range=[BLUE, ORANGE, GREY][: len(groups)])
    every = alt.Chart(rows, height=alt.Step(18)).encode(
        y=alt.Y(
            "condition:N",
            title=None,
            scale=alt.Scale(domain=conditions),
            axis=alt.Axis(labelLimit=260),
        ),
        color=alt.Color("group:N", title=None, scale=color),
    )
    if rows.height > len(conditions):
        every = every.encode(yOffset=alt.YOffset("group:N", scale=alt.Scale(domain=groups)))
    # A wide interval of few sequences may reach below 0, where there is no divergence.
    scale = alt.Scale(domainMin=0, clamp=True)
    rule = every.mark_rule().encode(x=alt.X("lower:Q", title=unit, scale=scale), x2="upper:Q")
    tooltip = [
        *("condition:N", "group:N"),
        *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("value", "lower", "upper")),
        alt.Tooltip("n:Q", title="n"),
    ]
    point = every.mark_circle(size=50).encode(
        x=alt.X("value:Q", title=unit, scale=scale), tooltip=tooltip
    )
    return alt.LayerChart(layer=[rule, point], width=420, title=title, description=description)
