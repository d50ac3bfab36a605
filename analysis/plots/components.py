"""Parameter components: how good they are, what they are by head, and how pairs of them act."""

from typing import Literal

import altair as alt
import polars as pl

from .theme import BLUE, GREY, INTERVAL, ORANGE

_DIVERGING = ["#c0653a", "#f7f7f7", "#3b6ea8"]
_FIGURES = tuple(tooltip for tooltip in INTERVAL if tooltip.shorthand != "chance:Q")
_SMALLEST = 0.001
"""Nats below which a divergence is drawn on a linear axis."""
_DECADES = alt.Axis(values=[10.0**place for place in range(-6, 1)], format="~g")
"""Of mean importances on a logarithmic axis."""


def divergence_intervals(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """How far predictions lie from the target's under every kind of mask.

    Args:
        rows: Columns `masks`, `role` (measured or control), `value`, `lower`, `upper`, `n` and
            `of_zero`.
        title: The finding.
        description: The caption.

    Returns:
        A point for each with its 95 % interval, on a logarithmic axis.
    """
    name = "KL(target || masked), nats per token"
    scale = alt.Scale(type="symlog", constant=_SMALLEST, domainMin=0)
    roles = alt.Scale(domain=["measured", "control"], range=[BLUE, ORANGE])
    base = alt.Chart(rows, width=420, height=alt.Step(26)).encode(
        y=alt.Y("masks:N", title=None, sort=None, axis=alt.Axis(labelLimit=420)),
        color=alt.Color("role:N", title=None, scale=roles),
    )
    rule = base.mark_rule().encode(x=alt.X("lower:Q", title=name, scale=scale), x2="upper:Q")
    share = alt.Tooltip("of_zero:Q", title="of nothing at all", format=".1%")
    point = base.mark_circle(size=60).encode(
        x=alt.X("value:Q", title=name, scale=scale), tooltip=["masks:N", *_FIGURES, share]
    )
    return alt.LayerChart(layer=[rule, point], title=title, description=description)


def training_losses(rows: pl.DataFrame, title: str, description: str) -> alt.FacetChart:
    """Losses of a decomposition while it was trained.

    Args:
        rows: Rows of `decomposition_losses`.
        title: The finding.
        description: The caption.

    Returns:
        A panel for each loss, each on a logarithmic axis of its own.
    """
    value = alt.Y("value:Q", title=None, scale=alt.Scale(type="log"))
    tooltip = ["loss:N", "step:Q", alt.Tooltip("value:Q", format=".4g")]
    line = alt.Chart(rows, width=220, height=110).mark_line(color=BLUE, point=rows.height < 100)
    panels = line.encode(x=alt.X("step:Q", title="step"), y=value, tooltip=tooltip)
    return (
        panels.facet(alt.Facet("loss:N", title=None), columns=2)
        .resolve_scale(y="independent")
        .properties(title=title, description=description)
    )


def importance_curves(
    rows: pl.DataFrame, scale: Literal["linear", "log"], title: str, description: str
) -> alt.FacetChart:
    """Mean importance of the components of every weight, sorted.

    Args:
        rows: Columns `name`, `weight`, `layer`, `projection`, `rank` and `mean_importance`.
        scale: Of the importances.
        title: The finding.
        description: The caption.

    Returns:
        A panel for q, k, v and o each, a line for each layer.
    """
    axis = _DECADES if scale == "log" else alt.Axis()
    kind = alt.Scale(type=scale)
    y = alt.Y("mean_importance:Q", title="mean importance", scale=kind, axis=axis)
    color = alt.Color("layer:O", title="layer", scale=alt.Scale(scheme="viridis"))
    tooltip = ["weight:N", "name:N", "rank:Q", alt.Tooltip("mean_importance:Q", format=".3g")]
    line = alt.Chart(rows, width=240, height=150).mark_line(point=alt.OverlayMarkDef(size=10))
    panels = line.encode(x=alt.X("rank:Q", title="rank"), y=y, color=color, tooltip=tooltip)
    columns = alt.Facet("projection:N", title=None, sort=["q", "k", "v", "o"])
    return panels.facet(columns, columns=2).properties(title=title, description=description)


def component_heads(rows: pl.DataFrame, unit: str, title: str, description: str) -> alt.Chart:
    """One number of each component, or whole weight, in each head.

    Args:
        rows: Columns `name`, `head`, `value`, `lower`, `upper` and `n`.
        unit: What a value is.
        title: The finding.
        description: The caption.

    Returns:
        Components downward in the given order, heads to the right between dashed boundaries.
    """
    scale = alt.Scale(scheme="blues", domainMin=0)
    n_heads, n_names = rows["head"].n_unique(), rows["name"].n_unique()
    cells = alt.Chart(rows, width=max(240, 44 * n_heads), height=14 * n_names).mark_rect(
        stroke=GREY, strokeDash=[3, 3], strokeWidth=0.6
    )
    return cells.encode(
        x=alt.X("head:N", title=None, sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("name:N", title=None, sort=None),
        color=alt.Color("value:Q", title=unit, scale=scale),
        tooltip=["name:N", "head:N", *_FIGURES],
    ).properties(title=title, description=description)


def spread_points(rows: pl.DataFrame, title: str, description: str) -> alt.FacetChart:
    """Over how many heads each component is spread.

    Args:
        rows: Columns `name`, `projection`, `mean_importance`, `spread`, `norm` and `even`.
        title: The finding.
        description: The caption.

    Returns:
        A panel for q, k, v and o each; dashed: alike in all heads.
    """
    scale = alt.Scale(type="log")
    x = alt.X("mean_importance:Q", title="mean importance", scale=scale, axis=_DECADES)
    tooltip = [
        "name:N",
        *(alt.Tooltip(f"{name}:Q", format=".3g") for name in ("spread", "norm")),
        alt.Tooltip("mean_importance:Q", format=".3g"),
    ]
    base = alt.Chart(rows, width=240, height=150)
    points = base.mark_circle(size=30, opacity=0.8).encode(
        x=x,
        y=alt.Y("spread:Q", title="entropy over heads, nats", scale=alt.Scale(domainMin=0)),
        color=alt.Color("norm:Q", title="norm", scale=alt.Scale(scheme="viridis")),
        tooltip=tooltip,
    )
    even = base.mark_rule(color=GREY, strokeDash=[4, 4]).encode(y="max(even):Q")
    columns = alt.Facet("projection:N", title=None, sort=["q", "k", "v", "o"])
    layers = alt.LayerChart(layer=[even, points], data=rows)
    return layers.facet(columns, columns=2).properties(title=title, description=description)


def pair_grids(rows: pl.DataFrame, unit: str, title: str, description: str) -> alt.ConcatChart:
    """One number of pairs of components, a grid for each panel.

    Args:
        rows: Columns `first`, `second` (names, in the order to show), `panel` and `value`.
        unit: What a value is.
        title: The finding.
        description: The caption.

    Returns:
        First components downward, second ones to the right, all on one scale around 0.
    """
    farthest = max(float(rows["value"].abs().max() or 0), 1e-9)  # pyright: ignore[reportArgumentType]
    scale = alt.Scale(domain=[-farthest, 0, farthest], range=_DIVERGING)
    panels = rows["panel"].unique(maintain_order=True).to_list()
    names = {end: rows[end].unique(maintain_order=True).to_list() for end in ("first", "second")}

    def grid(panel: str) -> alt.Chart:
        return (
            alt.Chart(rows.filter(panel=panel).select("first", "second", "value"), title=panel)
            .mark_rect()
            .encode(
                x=alt.X("second:N", title=None, sort=names["second"]),
                y=alt.Y("first:N", title=None, sort=names["first"]),
                color=alt.Color("value:Q", title=unit, scale=scale),
                tooltip=["first:N", "second:N", alt.Tooltip("value:Q", format=".3g")],
            )
            .properties(width=15 * len(names["second"]), height=15 * len(names["first"]))
        )

    grids = [grid(panel) for panel in panels]
    return alt.ConcatChart(concat=grids, columns=3, title=title, description=description)


def contribution_lines(
    rows: pl.DataFrame, control: pl.DataFrame, title: str, description: str
) -> alt.LayerChart:
    """What pairs of components add to a score along offsets.

    Args:
        rows: Columns `pair`, `lag` and `value`, the strongest pair first.
        control: Columns `lag`, `lower`, `upper` and `n`, of random pairs.
        title: The finding.
        description: The caption.

    Returns:
        A line for each pair; grey: random pairs. A click in the legend keeps one pair.
    """
    name = "added to the score"
    x = alt.X("lag:Q", title="offset", axis=alt.Axis(tickMinStep=1))
    band = alt.Chart(control).mark_area(color=GREY, opacity=0.3)
    band = band.encode(x=x, y=alt.Y("lower:Q", title=name), y2="upper:Q")
    pairs = rows["pair"].unique(maintain_order=True).to_list()
    chosen = alt.selection_point(fields=["pair"], bind="legend")
    lines = alt.Chart(rows).mark_line(point=alt.OverlayMarkDef(size=20))
    lines = lines.encode(
        x=x,
        y=alt.Y("value:Q", title=name),
        color=alt.Color("pair:N", title=None, sort=pairs, scale=alt.Scale(scheme="tableau10")),
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.1)),
        tooltip=["pair:N", "lag:Q", alt.Tooltip("value:Q", format=".3f")],
    ).add_params(chosen)
    return alt.LayerChart(
        layer=[band, lines], width=480, height=260, title=title, description=description
    )


def heads_against_sum(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """What pairs add to single heads, against what they add to all heads together.

    Args:
        rows: Columns `pair`, `head`, `value` and `total`.
        title: The finding.
        description: The caption.

    Returns:
        A point for each pair and head; on the dashed line one head has all of it.
    """
    x = alt.X("total:Q", title="added to all heads together")
    y = alt.Y("value:Q", title="added to one head")
    ends = pl.DataFrame({"total": [rows["total"].min(), rows["total"].max()]})
    line = alt.Chart(ends.with_columns(value="total")).mark_line(color=GREY, strokeDash=[4, 4])
    color = alt.Color("head:N", title=None, scale=alt.Scale(scheme="tableau20"))
    tooltip = [
        "pair:N",
        "head:N",
        *(alt.Tooltip(f"{n}:Q", format=".3f") for n in ("value", "total")),
    ]
    points = alt.Chart(rows).mark_circle(size=40).encode(x=x, y=y, color=color, tooltip=tooltip)
    return alt.LayerChart(
        layer=[line.encode(x=x, y=y), points],
        width=380,
        height=300,
        title=title,
        description=description,
    )
