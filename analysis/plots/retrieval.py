"""Answers from a context: what is left of them without heads, and where in it they are found."""

import altair as alt
import polars as pl

from .ablation import FAMILIES
from .theme import BLUE, GREY, ORANGE

_SHARE = alt.Scale(domain=[0, 1])
_COLORS = (BLUE, ORANGE, "#3f8f6b", "#7a5ba6", "#b98a3c", "#b34757")
_FIGURES = (
    alt.Tooltip("accuracy:Q", format=".3f"),
    alt.Tooltip("lower:Q", format=".3f", title="95 % from"),
    alt.Tooltip("upper:Q", format=".3f", title="to"),
    alt.Tooltip("n:Q", title="n"),
)


def accuracy_curves(rows: pl.DataFrame, title: str, description: str) -> alt.FacetChart:
    """Share of questions answered, by how many heads are replaced together.

    Args:
        rows: Rows of `retrieval_curves` with `panel`, of which each value gets a panel.
        title: The finding.
        description: The caption.

    Returns:
        A line for the top heads with Wilson intervals; the mean of draws with their 95 % band.
    """
    families = [family for family in FAMILIES if family in rows["family"].to_list()]
    colors = alt.Scale(domain=families, range=[FAMILIES[family] for family in families])
    base = alt.Chart().encode(
        x=alt.X("size:Q", title="heads replaced", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("family:N", title=None, scale=colors),
        tooltip=["family:N", "size:Q", "heads:N", *_FIGURES, alt.Tooltip("p:Q", format=".3f")],
    )
    lower = alt.Y("lower:Q", title="share answered", scale=_SHARE)
    drawn = base.transform_filter("datum.family != 'top'")
    band = drawn.mark_area(opacity=0.2).encode(y=lower, y2="upper:Q")
    top = base.transform_filter("datum.family == 'top'")
    rule = top.mark_rule(opacity=0.7).encode(y=lower, y2="upper:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("accuracy:Q", title="share answered", scale=_SHARE)
    )
    layers = alt.LayerChart(layer=[band, rule, line], data=rows, width=230, height=170)
    columns = alt.Facet("panel:N", title=None, sort=_once(rows["panel"]))
    return layers.facet(columns, columns=2).properties(title=title, description=description)


def _once(names: pl.Series) -> list[str]:
    """Different names in the order in which they come."""
    return names.unique(maintain_order=True).to_list()


def method_curves(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Share of questions answered without the same heads under every kind of ablation.

    Args:
        rows: Rows of `retrieval_curves` of one ranking, of its top heads.
        title: The finding.
        description: The caption.

    Returns:
        A line for each method with Wilson intervals; `zero_query` is dashed.
    """
    methods = rows["method"].unique(maintain_order=True).to_list()
    colors = alt.Scale(domain=methods, range=list(_COLORS[: len(methods)]))
    base = alt.Chart(rows, width=460, height=240).encode(
        x=alt.X("size:Q", title="heads replaced", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("method:N", title=None, scale=colors),
        tooltip=["method:N", "size:Q", "heads:N", *_FIGURES],
    )
    rule = base.mark_rule(opacity=0.4).encode(
        y=alt.Y("lower:Q", title="share answered", scale=_SHARE), y2="upper:Q"
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("accuracy:Q", title="share answered", scale=_SHARE),
        strokeDash=alt.condition(
            "datum.method == 'zero_query'", alt.value([5, 4]), alt.value([1, 0])
        ),
    )
    return alt.LayerChart(layer=[rule, line], title=title, description=description)


def share_map(
    rows: pl.DataFrame, names: tuple[str, str], title: str, description: str
) -> alt.LayerChart:
    """Shares of questions answered as coloured cells.

    Args:
        rows: Columns `across`, `down`, `accuracy`, `lower`, `upper` and `n`.
        names: Titles of the axes, across and down.
        title: The finding.
        description: The caption.

    Returns:
        A cell for each, in the order of the rows, with its number.
    """
    n_across, n_down = rows["across"].n_unique(), rows["down"].n_unique()
    base = alt.Chart(rows, width=max(240, 72 * n_across), height=max(80, 30 * n_down)).encode(
        x=alt.X("across:N", title=names[0], sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("down:N", title=names[1], sort=None),
        tooltip=[
            alt.Tooltip("across:N", title=names[0]),
            alt.Tooltip("down:N", title=names[1]),
            *_FIGURES,
        ],
    )
    scale = alt.Scale(domain=[0, 1], scheme="blues")
    cells = base.mark_rect(stroke=GREY, strokeWidth=0.3).encode(
        color=alt.Color("accuracy:Q", title="share answered", scale=scale)
    )
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("accuracy:Q", format=".2f"),
        color=alt.condition("datum.accuracy > 0.62", alt.value("white"), alt.value("#333")),
    )
    return alt.LayerChart(layer=[cells, numbers], title=title, description=description)
