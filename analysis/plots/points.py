"""One value against another, a point each."""

import altair as alt
import polars as pl

from .theme import (
    BLUE,
    DECADES,
    GREY,
    INTERVAL,
    MEASURED,
    ORANGE,
    SHARE,
    labelled,
    layered,
    model_color,
)


def one_against_other(
    rows: pl.DataFrame, names: tuple[str, str], title: str, description: str, other: str = "other"
) -> alt.LayerChart:
    """One number of every head against another of the same head.

    Args:
        rows: Columns `name`, `value`, `lower`, `upper`, `other`, `other_lower`, `other_upper`.
        names: What `value` (upward) and `other` (to the right) are, with their unit.
        title: The finding.
        description: The caption.
        other: What the column `other` is called here, such as `control`.

    Returns:
        A point a head with both intervals; on the dashed line both are equal.
    """
    up, across = names
    x, y = alt.X(f"{other}:Q", title=across), alt.Y("value:Q", title=up)
    size = pl.max_horizontal(pl.col("value").abs(), pl.col(other).abs())
    base = alt.Chart(labelled(rows, size))
    columns = ("value", "lower", "upper", other, f"{other}_lower", f"{other}_upper")
    tooltip = ["name:N", *(alt.Tooltip(f"{column}:Q", format=".4f") for column in columns)]
    upright = base.mark_rule(color=BLUE, opacity=0.5).encode(
        x=x, y=alt.Y("lower:Q", title=up), y2="upper:Q"
    )
    level = base.mark_rule(color=ORANGE, opacity=0.5).encode(
        y=y, x=alt.X(f"{other}_lower:Q", title=across), x2=f"{other}_upper:Q"
    )
    points = base.mark_circle(color=BLUE, size=40).encode(x=x, y=y, tooltip=tooltip)
    values = [*rows["value"].to_list(), *rows[other].to_list()]
    ends = pl.DataFrame({axis: [min(0.0, *values), max(0.0, *values)] for axis in (other, "value")})
    large = 0.3 * max(map(abs, values))
    labels = (
        base.transform_filter(
            f"datum.labelled && max(abs(datum.value), abs(datum.{other})) > {large}"
        )
        .mark_text(align="left", dx=6, fontSize=10)
        .encode(x=x, y=y, text="name:N")
    )
    diagonal = alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 4]).encode(x=x, y=y)
    return layered([diagonal, upright, level, points, labels], (380, 340), title, description)


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
        tooltip=["name:N", "head:N", *MEASURED],
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
    x = alt.X("mean_importance:Q", title="mean importance", scale=scale, axis=DECADES)
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
    return layered([line.encode(x=x, y=y), points], (380, 300), title, description)


def best_by_label(best: pl.DataFrame, title: str, description: str) -> alt.VConcatChart:
    """The strongest head of every model by each label's score.

    Args:
        best: Columns `label`, `model`, `head`, `value`, `lower`, `upper`, `n`, `chance`,
            `threshold` and `neutral` (null for a share of attention).
        title: The finding.
        description: The caption.

    Returns:
        A panel for each label, a row for each model: the score with its 95 % interval and the
        head's name, the bar that a label asks for as a tick. Shares are drawn on [0, 1], ratios
        from 0, differences symmetrically.
    """
    names = best["model"].unique(maintain_order=True).to_list()
    panels: list[alt.LayerChart] = []
    for (label,), rows in best.partition_by("label", as_dict=True, maintain_order=True).items():
        x = alt.X("value:Q", title=None, scale=_scale(rows), axis=alt.Axis(tickCount=5))
        base = alt.Chart(
            rows, width=420, height=alt.Step(20), title=alt.TitleParams(str(label), anchor="start")
        ).encode(
            y=alt.Y("model:N", title=None, sort=None, axis=alt.Axis(labelLimit=200, minExtent=110)),
            color=model_color(names),
        )
        rule = base.mark_rule(strokeWidth=2).encode(
            x=alt.X("lower:Q", title=None, scale=_scale(rows)), x2="upper:Q"
        )
        tooltip = ["label:N", "model:N", "head:N", *INTERVAL]
        point = base.mark_circle(size=70).encode(x=x, tooltip=tooltip)
        bar = base.mark_tick(thickness=2, size=18).encode(x="threshold:Q", color=alt.value(GREY))
        panels.append(alt.LayerChart(layer=[bar, rule, point, *_names(base, _scale(rows))]))
    return alt.VConcatChart(vconcat=panels, spacing=8, title=title, description=description)


def _names(base: alt.Chart, scale: alt.Scale) -> list[alt.Chart]:
    """The names of heads, on that side of their intervals where there is more room."""
    first, last = scale.to_dict()["domain"]
    middle = (first + last) / 2
    right = base.transform_filter(f"datum.value <= {middle}").mark_text(align="left", dx=9)
    left = base.transform_filter(f"datum.value > {middle}").mark_text(align="right", dx=-9)
    return [
        right.encode(x=alt.X("upper:Q", scale=scale), text="head:N"),
        left.encode(x=alt.X("lower:Q", scale=scale), text="head:N"),
    ]


def _scale(rows: pl.DataFrame) -> alt.Scale:
    """[0, 1] for a share, from 0 for a ratio, and symmetric around 0 for a difference."""
    neutral = rows["neutral"][0]
    if neutral is None:
        return SHARE
    ends = [rows[name].drop_nulls().abs() for name in ("lower", "upper", "value", "threshold")]
    farthest = 1.05 * max(*pl.concat(ends), 1e-9)
    return alt.Scale(domain=[0 if neutral else -farthest, farthest], nice=False)
