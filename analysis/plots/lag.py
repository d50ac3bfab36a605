"""Recall by lag: one line for each condition, with its band."""

import altair as alt
import polars as pl

from .theme import BLUE, GREY, INTERVAL, ORANGE

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
    return alt.LayerChart(
        layer=[zero.encode(x=x), band.add_params(chosen), line],
        width=520,
        height=240,
        title=title,
        description=description,
    )


def _color(names: list[str]) -> alt.Color:
    """The model as it is blue, random heads grey, all others in colours of their own."""
    others = [name for name in names[1:] if "random" not in name]
    shades = {names[0]: BLUE, **dict(zip(others, _TOP, strict=False))}
    scale = alt.Scale(domain=names, range=[shades.get(name, GREY) for name in names])
    legend = alt.Legend(labelLimit=320, symbolOpacity=1)
    return alt.Color("series:N", title=None, scale=scale, legend=legend)
