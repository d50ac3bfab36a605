"""One design of the data against another, and what lies at its positions."""

import altair as alt
import polars as pl

from .theme import (
    BLUE,
    COLUMN,
    GREY,
    INTERVAL,
    ORANGE,
    SHARE,
    TALL,
    in_order,
    labelled,
    layered,
    step,
)

_LINES = 10
"""Layers that lines can tell apart."""


def two_by_two(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Attention of one head to position 0 and to the middle, with BOS or a word at either.

    Args:
        rows: Columns `design`, `key`, `holds` (`BOS` or `word`), `value`, `lower`, `upper`,
            `chance` and `n`.
        title: The finding.
        description: The caption.

    Returns:
        Two points a design with 95 % intervals, in [0, 1]; uniform attention as a grey tick.
    """
    holds = alt.Scale(domain=["BOS", "word"], range=[BLUE, ORANGE])
    keys = alt.Scale(domain=["position 0", "the middle"])
    base = alt.Chart(rows, height=alt.Step(26)).encode(
        y=alt.Y("design:N", title=None, scale=alt.Scale(domain=in_order(rows, "design"))),
        yOffset=alt.YOffset("key:N", scale=keys),
        color=alt.Color("holds:N", title="the position holds", scale=holds),
    )
    name = "mean attention"
    tooltip = ["design:N", "key:N", "holds:N", *INTERVAL]
    shape = alt.Shape("key:N", title="attention to", scale=keys)
    rule = base.mark_rule().encode(x=alt.X("lower:Q", title=name, scale=SHARE), x2="upper:Q")
    chance = base.mark_tick(thickness=2, size=12).encode(
        x=alt.X("chance:Q", title=name), color=alt.value(GREY)
    )
    point = base.mark_point(size=60, filled=True).encode(
        x=alt.X("value:Q", title=name, scale=SHARE), shape=shape, tooltip=tooltip
    )
    return alt.LayerChart(
        layer=[chance, rule, point], width=420, title=title, description=description
    )


def value_norms(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Every head's value at position 0, against how much of its attention goes there.

    Args:
        rows: Columns `name`, `mass`, `value`, `lower` and `upper`: the ratio of norms.
        title: The finding.
        description: The caption.

    Returns:
        A point a head with its interval; at the dashed line the value is as large as others.
    """
    name = "norm of the value at position 0, over the others"
    x = alt.X("mass:Q", title="attention to position 0", scale=SHARE)
    base = alt.Chart(labelled(rows, pl.max_horizontal("mass", pl.col("value") / 2))).encode(x=x)
    rule = base.mark_rule(color=BLUE).encode(y=alt.Y("lower:Q", title=name), y2="upper:Q")
    tooltip = ["name:N", alt.Tooltip("mass:Q", format=".3f"), *INTERVAL[:3]]
    point = base.mark_circle(size=50, color=BLUE).encode(
        y=alt.Y("value:Q", title=name, scale=alt.Scale(domainMin=0)), tooltip=tooltip
    )
    named = base.transform_filter("datum.labelled")
    label = named.mark_text(align="left", dx=6, fontSize=10).encode(
        y=alt.Y("value:Q", title=name), text="name:N"
    )
    ends = pl.DataFrame({"mass": [0.0, 1.0], "value": [1.0, 1.0]})
    equal = alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 4]).encode(x=x, y="value:Q")
    return layered([equal, rule, point, label], (420, 280), title, description)


def residual_norms(
    rows: pl.DataFrame, title: str, description: str
) -> alt.LayerChart | alt.HConcatChart:
    """Norm of the residual stream entering each layer, by position.

    Args:
        rows: Rows of `layer_profiles`, `data` saying what position 0 holds.
        title: The finding.
        description: The caption.

    Returns:
        A line a layer and text on a logarithmic axis, with 95 % bands; of many layers, a cell each
        in a panel for each text.
    """
    kinds = in_order(rows, "data")
    if rows["layer"].n_unique() > _LINES:
        return _norm_map(rows, kinds).properties(title=title, description=description)
    # A wide interval of few sequences may reach below 0, where there is no logarithm.
    rows = rows.with_columns(pl.col("lower").clip(pl.col("value").min() / 10))
    y = alt.Y("value:Q", title="norm of the residual stream", scale=alt.Scale(type="log"))
    base = alt.Chart(rows).encode(
        x=alt.X("position:Q", title="position", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color(
            "layer:O",
            title="entering layer",
            scale=alt.Scale(scheme="viridis", domain=rows["layer"].unique().sort().to_list()),
            legend=alt.Legend(symbolOpacity=1),
        ),
        tooltip=["layer:O", "position:Q", "data:N", *INTERVAL[:3]],
    )
    band = base.mark_area(opacity=0.15).encode(
        y=alt.Y("lower:Q", title=""), y2="upper:Q", detail="data:N"
    )
    dash = alt.StrokeDash(
        "data:N",
        title=None,
        scale=alt.Scale(domain=kinds),
        legend=alt.Legend(symbolType="stroke", symbolOpacity=1),
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=14)).encode(y=y, strokeDash=dash)
    return layered([band, line], (480, 260), title, description)


def _norm_map(rows: pl.DataFrame, kinds: list[str]) -> alt.HConcatChart:
    """Norms by layer, upward, and position, on one logarithmic scale of colours."""
    layers = rows["layer"].unique().sort().to_list()
    height = step(len(layers), 16, TALL // 2) * len(layers)
    color = alt.Color(
        "value:Q",
        title="norm of the residual stream",
        scale=alt.Scale(type="log", scheme="viridis"),
        legend=alt.Legend(orient="bottom", gradientLength=240, format="~g"),
    )
    cells = [
        alt.Chart(rows.filter(data=kind), title=kind, width=COLUMN / 2.4, height=height)
        .mark_rect()
        .encode(
            x=alt.X("position:O", title="position", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "layer:O",
                title="entering layer",
                scale=alt.Scale(domain=layers[::-1]),
                axis=alt.Axis(labelOverlap=True),
            ),
            color=color,
            tooltip=["layer:O", "position:Q", "data:N", *INTERVAL[:3]],
        )
        for kind in kinds
    ]
    return alt.HConcatChart(hconcat=cells)


def resting_place(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Attention of one head to position 0 from the first and from the second block.

    Args:
        rows: Columns `data` (what the second block is), `block`, `value`, `lower`, `upper`,
            `chance` and `n`.
        title: The finding.
        description: The caption.

    Returns:
        Points with 95 % intervals in [0, 1]; uniform attention as a grey tick.
    """
    name = "mean attention to position 0"
    blocks = alt.Scale(domain=["first block", "second block"], range=[BLUE, ORANGE])
    base = alt.Chart(rows, height=alt.Step(24)).encode(
        y=alt.Y("data:N", title=None, scale=alt.Scale(domain=in_order(rows, "data"))),
        yOffset=alt.YOffset("block:N", scale=alt.Scale(domain=["first block", "second block"])),
        color=alt.Color("block:N", title="queries in", scale=blocks),
    )
    chance = base.mark_tick(thickness=2, size=10).encode(
        x=alt.X("chance:Q", title=name), color=alt.value(GREY)
    )
    rule = base.mark_rule().encode(x=alt.X("lower:Q", title=name, scale=SHARE), x2="upper:Q")
    point = base.mark_circle(size=60).encode(
        x=alt.X("value:Q", title=name, scale=SHARE), tooltip=["data:N", "block:N", *INTERVAL]
    )
    return alt.LayerChart(
        layer=[chance, rule, point], width=420, title=title, description=description
    )
