"""What changes over the steps of a training."""

import altair as alt
import polars as pl

from .theme import GREY, MEASURED, MODEL_COLORS, SHARE, in_order

_STEPS = alt.Scale(type="symlog", constant=32, nice=False)
"""Logarithmic, but for the first steps, so that it can begin at 0."""
_SHOWN = (0, 32, 128, 512, 2_048, 8_192)


def formation(
    rows: pl.DataFrame, brackets: pl.DataFrame, title: str, description: str
) -> alt.ConcatChart:
    """What a training has learnt by the steps that it kept, for several seeds.

    Args:
        rows: Columns `panel` (what a value is), `is_share`, `bar`, `seed`, `step`, `value`,
            `lower`, `upper`, `n` and `head`.
        brackets: Columns `panel`, `seed`, `bar`, `before` and `at`: between which two kept steps a
            curve rises above the bar for good.
        title: The finding.
        description: The caption.

    Returns:
        A panel for each kind of value with 95 % intervals, its bar dashed, brackets along it. Steps
        are on a logarithmic axis that begins at 0.
    """
    names = in_order(rows, "seed")
    color = alt.Color(
        "seed:N",
        title=None,
        scale=alt.Scale(domain=names, range=MODEL_COLORS[: len(names)]),
        legend=alt.Legend(symbolOpacity=1),
    )
    ticks = alt.Axis(values=_SHOWN, format=",d", grid=False)
    panels: list[alt.LayerChart] = []
    for panel in in_order(rows, "panel"):
        own, among = rows.filter(panel=panel), brackets.filter(panel=panel)
        kind = SHARE if own["is_share"][0] else alt.Scale()
        base = alt.Chart(own).encode(
            x=alt.X("step:Q", title="steps trained", scale=_STEPS, axis=ticks), color=color
        )
        bar = alt.Chart(own.head(1)).mark_rule(color=GREY, strokeDash=[4, 4]).encode(y="bar:Q")
        rule = base.mark_rule().encode(y=alt.Y("lower:Q", title=panel, scale=kind), y2="upper:Q")
        line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
            y=alt.Y("value:Q", title=panel, scale=kind),
            tooltip=["seed:N", alt.Tooltip("step:Q", format=",d"), "head:N", *MEASURED],
        )
        drawn = [] if among.is_empty() else [_brackets(among, color)]
        panels.append(alt.LayerChart(layer=[bar, *drawn, rule, line], width=260, height=180))
    return alt.ConcatChart(concat=panels, columns=2, title=title, description=description)


def _brackets(rows: pl.DataFrame, color: alt.Color) -> alt.Chart:
    """Between which steps curves pass their bar, along it."""
    return (
        alt.Chart(rows)
        .mark_rule(strokeWidth=5, opacity=0.45)
        .encode(
            x=alt.X("before:Q", title="steps trained", scale=_STEPS),
            x2="at:Q",
            y="bar:Q",
            color=color,
            tooltip=[
                "seed:N",
                alt.Tooltip("before:Q", title="after step"),
                alt.Tooltip("at:Q", title="by step"),
            ],
        )
    )
