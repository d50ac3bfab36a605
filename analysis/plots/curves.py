"""Lines over offsets, lags, sizes and steps."""

from typing import Literal

import altair as alt
import polars as pl

from .theme import (
    BLUE,
    DECADES,
    GREY,
    INTERVAL,
    MEASURED,
    MODEL_COLORS,
    ORANGE,
    SHARE,
    data_color,
    layered,
)

_TOP = (ORANGE, "#b34757", "#7a5ba6", "#3f8f6b", "#b98a3c")
_AXES = {
    "p": ("mean probability", alt.Scale(type="sqrt", domain=[0, 1])),
    "log_odds": ("mean log odds, nats", alt.Scale(zero=False)),
}
"""What is drawn, and on which scale: probabilities share [0, 1], its lower end stretched."""


def lag_profile(rows: pl.DataFrame, what: str, title: str, description: str) -> alt.LayerChart:
    """How probable items of a list are, by their lag from the one that is shown again.

    Args:
        rows: Columns `lag`, `series`, `value`, `lower`, `upper` and `n`; a series is a condition,
            the first one the model as it is, and those of random heads are grey.
        what: `p` or `log_odds`.
        title: The finding.
        description: The caption.

    Returns:
        A line with its 95 % band for each condition, a dashed line at lag 0; a click in the legend
        keeps one.
    """
    unit, scale = _AXES[what]
    color = _color(rows["series"].unique(maintain_order=True).to_list())
    chosen = alt.selection_point(fields=["series"], bind="legend")
    x = alt.X("lag:Q", title="lag", axis=alt.Axis(tickMinStep=1))
    base = alt.Chart(rows).encode(
        x=x,
        color=color,
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.12)),
        tooltip=["series:N", "lag:Q", *INTERVAL[:3], alt.Tooltip("n:Q", title="n")],
    )
    band = base.mark_area().encode(
        y=alt.Y("lower:Q", title="", scale=scale),
        y2="upper:Q",
        opacity=alt.condition(chosen, alt.value(0.2), alt.value(0.03)),
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=18)).encode(
        y=alt.Y("value:Q", title=unit, scale=scale)
    )
    zero = alt.Chart(pl.DataFrame({"lag": [0]})).mark_rule(color=GREY, strokeDash=[4, 4])
    return layered(
        [zero.encode(x=x), band.add_params(chosen), line], (520, 240), title, description
    )


def _color(names: list[str]) -> alt.Color:
    """The model as it is blue, random heads grey, all others in colours of their own."""
    others = [name for name in names[1:] if "random" not in name]
    shades = {names[0]: BLUE, **dict(zip(others, _TOP, strict=False))}
    scale = alt.Scale(domain=names, range=[shades.get(name, GREY) for name in names])
    legend = alt.Legend(labelLimit=320, symbolOpacity=1)
    return alt.Color("series:N", title=None, scale=scale, legend=legend)


def attention_profile(
    rows: pl.DataFrame, unit: str, title: str, description: str
) -> alt.LayerChart:
    """Mean attention of one head by distance, or around a target.

    Args:
        rows: Rows of `head_profiles` of one head, profile `offset` or `induction_lag`.
        unit: What a lag counts, such as `tokens back`.
        title: The finding.
        description: The caption.

    Returns:
        Lines with 95 % bands, one for each data set, and chance dashed.
    """
    color = data_color(rows["data"].unique(maintain_order=True).to_list())
    chosen = alt.selection_point(fields=["data"], bind="legend")
    x = alt.X("lag:Q", title=unit, axis=alt.Axis(tickMinStep=1))
    y = alt.Y("value:Q", title="mean attention", scale=SHARE)
    base = alt.Chart(rows).encode(
        x=x,
        color=color,
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
        tooltip=["data:N", "lag:Q", *INTERVAL],
    )
    band = base.mark_area().encode(
        y=alt.Y("lower:Q", title=""),
        y2="upper:Q",
        opacity=alt.condition(chosen, alt.value(0.2), alt.value(0.03)),
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=18)).encode(y=y)
    expected = (
        alt.Chart(rows.unique("lag").sort("lag"))
        .mark_line(color=GREY, strokeDash=[4, 4])
        .encode(x=x, y=alt.Y("chance:Q", title="mean attention"))
    )
    return layered([expected, band.add_params(chosen), line], (520, 220), title, description)


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
    axis = DECADES if scale == "log" else alt.Axis()
    kind = alt.Scale(type=scale)
    y = alt.Y("mean_importance:Q", title="mean importance", scale=kind, axis=axis)
    color = alt.Color("layer:O", title="layer", scale=alt.Scale(scheme="viridis"))
    tooltip = ["weight:N", "name:N", "rank:Q", alt.Tooltip("mean_importance:Q", format=".3g")]
    line = alt.Chart(rows, width=240, height=150).mark_line(point=alt.OverlayMarkDef(size=10))
    panels = line.encode(x=alt.X("rank:Q", title="rank"), y=y, color=color, tooltip=tooltip)
    columns = alt.Facet("projection:N", title=None, sort=["q", "k", "v", "o"])
    return panels.facet(columns, columns=2).properties(title=title, description=description)


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
    return layered([band, lines], (480, 260), title, description)


def curves(
    rows: pl.DataFrame,
    names: tuple[str, str],
    domain: tuple[float, float] | None,
    title: str,
    description: str,
) -> alt.LayerChart:
    """Lines with 95 % intervals, coloured by what they are.

    Args:
        rows: Columns `at`, `series`, `role` (what gives a line its colour; others are grey),
            `value`, `lower`, `upper` (null without an interval) and `n`.
        names: Titles of the axes.
        domain: Of the values, which are drawn at its ends where they lie outside; None fits it.
        title: The finding.
        description: The caption.

    Returns:
        The chart; a click in the legend keeps one colour.
    """
    roles = rows["role"].unique(maintain_order=True).to_list()
    palette = [role for role in roles if not role.startswith("other")]
    shades = dict(zip(palette, MODEL_COLORS, strict=False))
    colors = alt.Scale(domain=roles, range=[shades.get(role, GREY) for role in roles])
    scale = alt.Scale(zero=False) if domain is None else alt.Scale(domain=domain, clamp=True)
    chosen = alt.selection_point(fields=["role"], bind="legend")
    base = alt.Chart(rows).encode(
        x=alt.X("at:Q", title=names[0], axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("role:N", title=None, scale=colors, legend=alt.Legend(labelLimit=320)),
        detail="series:N",
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
        tooltip=["series:N", alt.Tooltip("at:Q", title=names[0]), *MEASURED],
    )
    rule = base.mark_rule(opacity=0.5).encode(
        y=alt.Y("lower:Q", title=names[1], scale=scale), y2="upper:Q"
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("value:Q", title=names[1], scale=scale)
    )
    known = rows["lower"].is_not_null().any()
    return layered(
        [rule.add_params(chosen), line] if known else [line.add_params(chosen)],
        (520, 240),
        title,
        description,
    )
