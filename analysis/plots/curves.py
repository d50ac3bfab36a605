"""Numbers along offsets or layers, a line for each series."""

import altair as alt
import polars as pl

from .theme import BLUE, GREY, INTERVAL, ORANGE

_COLORS = (BLUE, ORANGE, "#3f8f6b", "#7a5ba6", "#b98a3c", "#b34757", "#3f93a3")
_EFFECT = tuple(tooltip for tooltip in INTERVAL if tooltip.shorthand != "chance:Q")


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
    shades = dict(zip(palette, _COLORS, strict=False))
    colors = alt.Scale(domain=roles, range=[shades.get(role, GREY) for role in roles])
    scale = alt.Scale(zero=False) if domain is None else alt.Scale(domain=domain, clamp=True)
    chosen = alt.selection_point(fields=["role"], bind="legend")
    base = alt.Chart(rows).encode(
        x=alt.X("at:Q", title=names[0], axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("role:N", title=None, scale=colors, legend=alt.Legend(labelLimit=320)),
        detail="series:N",
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
        tooltip=["series:N", alt.Tooltip("at:Q", title=names[0]), *_EFFECT],
    )
    rule = base.mark_rule(opacity=0.5).encode(
        y=alt.Y("lower:Q", title=names[1], scale=scale), y2="upper:Q"
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("value:Q", title=names[1], scale=scale)
    )
    known = rows["lower"].is_not_null().any()
    return alt.LayerChart(
        layer=[rule.add_params(chosen), line] if known else [line.add_params(chosen)],
        width=520,
        height=240,
        title=title,
        description=description,
    )
