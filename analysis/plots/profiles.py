"""Mean attention by distance."""

import altair as alt
import polars as pl

from .theme import GREY, INTERVAL, SHARE, data_color


def offset_profile(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Mean attention of one head by distance, on text and on random tokens.

    Args:
        rows: Rows of `head_profiles` of one head, profile `offset`.
        title: The finding.
        description: The caption.

    Returns:
        Lines with 95 % bands, and chance dashed.
    """
    return _profile(rows, "tokens back", title, description)


def induction_lag(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Mean attention of one head around the induction target.

    Args:
        rows: Rows of `head_profiles` of one head, profile `induction_lag`.
        title: The finding.
        description: The caption.

    Returns:
        Lines with 95 % bands for the repeated and the shuffled block, and chance dashed.
    """
    return _profile(rows, "tokens after the target (0 is the target)", title, description)


def _profile(rows: pl.DataFrame, x_title: str, title: str, description: str) -> alt.LayerChart:
    color = data_color(rows["data"].unique(maintain_order=True).to_list())
    chosen = alt.selection_point(fields=["data"], bind="legend")
    x = alt.X("lag:Q", title=x_title, axis=alt.Axis(tickMinStep=1))
    y = alt.Y("value:Q", title="mean attention", scale=SHARE)
    base = alt.Chart(rows).encode(
        x=x,
        color=color,
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
        tooltip=["data:N", "lag:Q", *INTERVAL],
    )
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("lower:Q", title=""), y2="upper:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(size=18)).encode(y=y)
    expected = (
        alt.Chart(rows.unique("lag").sort("lag"))
        .mark_line(color=GREY, strokeDash=[4, 4])
        .encode(x=x, y=alt.Y("chance:Q", title="mean attention"))
    )
    return alt.LayerChart(
        layer=[expected, band.add_params(chosen), line],
        width=520,
        height=220,
        title=title,
        description=description,
    )
