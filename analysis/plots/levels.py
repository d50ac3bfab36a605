"""What is left, or lost, with more and more heads replaced; scores by rank."""

import altair as alt
import polars as pl

from .theme import (
    ACCURACY,
    BLUE,
    EFFECT,
    GREY,
    HEAT,
    INTERVAL,
    MEASURED,
    MODEL_COLORS,
    ORANGE,
    SHARE,
    in_order,
    model_color,
)

FAMILIES = {"top": BLUE, "random": GREY, "layer_matched": ORANGE}
_SAID = {
    "as printed": GREY,
    "result files": BLUE,
    "imported files": "#7a5ba6",
    "ours": ORANGE,
}


def cumulative_curve(rows: pl.DataFrame, unit: str, title: str, description: str) -> alt.LayerChart:
    """Effect of ablating the top k heads together, against random sets of the same size.

    Args:
        rows: Columns `size`, `family` (`top`, `random`, `layer_matched`), `value`, `lower`,
            `upper` and `n`: for random families the mean and the 95 % band over draws.
        unit: What a value is, with its unit.
        title: The finding.
        description: The caption.

    Returns:
        Lines with bands; `n` counts sequences for the top heads and draws for the others.
    """
    families = [family for family in FAMILIES if family in rows["family"].to_list()]
    scale = alt.Scale(domain=families, range=[FAMILIES[family] for family in families])
    base = alt.Chart(rows, width=460, height=240).encode(
        x=alt.X("size:Q", title="heads ablated together", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("family:N", title=None, scale=scale),
        tooltip=["family:N", "size:Q", *EFFECT[:3], alt.Tooltip("n:Q", title="n")],
    )
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("lower:Q", title=""), y2="upper:Q")
    line = base.mark_line(point=True).encode(y=alt.Y("value:Q", title=unit))
    return alt.LayerChart(layer=[band, line], title=title, description=description)


def published_drops(rows: pl.DataFrame, title: str, description: str) -> alt.FacetChart:
    """Drops of accuracy as published, by the files behind, and ours.

    Args:
        rows: Columns `ranking`, `of`, `heads`, `top` and `random`, in points.
        title: The finding.
        description: The caption.

    Returns:
        A panel for each ranking; solid for the top heads, dashed for random ones.
    """
    said = [name for name in _SAID if name in rows["of"].to_list()]
    long = rows.unpivot(
        ("top", "random"), index=("ranking", "of", "heads"), variable_name="sets"
    ).drop_nulls("value")
    lines = (
        alt.Chart(long, width=260, height=200)
        .mark_line(point=alt.OverlayMarkDef(size=26))
        .encode(
            x=alt.X("heads:Q", title="heads replaced", axis=alt.Axis(tickMinStep=1)),
            y=alt.Y("value:Q", title="lost answers, points"),
            color=alt.Color(
                "of:N",
                title=None,
                scale=alt.Scale(domain=said, range=[_SAID[name] for name in said]),
            ),
            strokeDash=alt.StrokeDash(
                "sets:N",
                title=None,
                legend=alt.Legend(symbolType="stroke", symbolSize=400),
                scale=alt.Scale(domain=["top", "random"], range=[[1, 0], [4, 3]]),
            ),
            tooltip=["of:N", "sets:N", "heads:Q", alt.Tooltip("value:Q", format=".2f")],
        )
    )
    return lines.facet(alt.Facet("ranking:N", title=None), columns=2).properties(
        title=title, description=description
    )


def ranked_heads(
    rows: pl.DataFrame, neutral: float | None, title: str, description: str
) -> alt.LayerChart:
    """Every head of every model by one score, the strongest first.

    Args:
        rows: Columns `model`, `rank`, `head`, `value`, `lower`, `upper`, `n` and `chance`.
        neutral: None for shares of attention, drawn on [0, 1]; else what no property looks like.
        title: The finding.
        description: The caption.

    Returns:
        A line for each model with 95 % intervals; a click in the legend keeps one.
    """
    names = in_order(rows, "model")
    chosen = alt.selection_point(fields=["model"], bind="legend")
    scale = SHARE if neutral is None else alt.Scale(zero=False)
    base = alt.Chart(rows, width=520, height=240).encode(
        x=alt.X("rank:Q", title="heads, the strongest first", axis=alt.Axis(tickMinStep=1)),
        color=model_color(names).copy().legend(alt.Legend(title=None, labelLimit=320)),
        opacity=alt.condition(chosen, alt.value(1), alt.value(0.15)),
        tooltip=["model:N", "head:N", "rank:Q", *INTERVAL],
    )
    rule = base.mark_rule(opacity=0.5).encode(
        y=alt.Y("lower:Q", title="score", scale=scale), y2="upper:Q"
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("value:Q", title="score", scale=scale)
    )
    layers = [rule.add_params(chosen), line]
    return alt.LayerChart(layer=layers, title=title, description=description)


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
        tooltip=[
            "family:N",
            "size:Q",
            "heads:N",
            *ACCURACY,
            alt.Tooltip("p:Q", format=".3f"),
        ],
    )
    lower = alt.Y("lower:Q", title="share answered", scale=SHARE)
    drawn = base.transform_filter("datum.family != 'top'")
    band = drawn.mark_area(opacity=0.2).encode(y=lower, y2="upper:Q")
    top = base.transform_filter("datum.family == 'top'")
    rule = top.mark_rule(opacity=0.7).encode(y=lower, y2="upper:Q")
    line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("accuracy:Q", title="share answered", scale=SHARE)
    )
    layers = alt.LayerChart(layer=[band, rule, line], data=rows, width=230, height=170)
    columns = alt.Facet("panel:N", title=None, sort=in_order(rows, "panel"))
    return layers.facet(columns, columns=2).properties(title=title, description=description)


def method_curves(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Share of questions answered without the same heads under every kind of ablation.

    Args:
        rows: Rows of `retrieval_curves` of one ranking, of its top heads.
        title: The finding.
        description: The caption.

    Returns:
        A line for each method with Wilson intervals; `zero_query` is dashed.
    """
    methods = in_order(rows, "method")
    colors = alt.Scale(domain=methods, range=list(MODEL_COLORS[: len(methods)]))
    base = alt.Chart(rows, width=460, height=240).encode(
        x=alt.X("size:Q", title="heads replaced", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("method:N", title=None, scale=colors),
        tooltip=["method:N", "size:Q", "heads:N", *ACCURACY],
    )
    rule = base.mark_rule(opacity=0.4).encode(
        y=alt.Y("lower:Q", title="share answered", scale=SHARE), y2="upper:Q"
    )
    line = base.mark_line(point=alt.OverlayMarkDef(size=22)).encode(
        y=alt.Y("accuracy:Q", title="share answered", scale=SHARE),
        strokeDash=alt.condition(
            "datum.method == 'zero_query'", alt.value([5, 4]), alt.value([1, 0])
        ),
    )
    return alt.LayerChart(layer=[rule, line], title=title, description=description)


def kept_curves(rows: pl.DataFrame, title: str, description: str) -> alt.HConcatChart:
    """What is left with every head replaced but some, by how many these are.

    Args:
        rows: Columns `method`, of which each value gets a panel, `chosen`, `kept`, `heads`,
            `value`, `lower`, `upper` and `n`; several sets of a size are points.
        title: The finding.
        description: The caption.

    Returns:
        A line with 95 % intervals for each way to choose sets that has one of a size.
    """
    names = in_order(rows, "chosen")
    counted = rows.with_columns(several=pl.len().over("method", "chosen", "kept") > 1)
    drawn = counted.filter("several")["chosen"].unique().to_list()
    colors = [GREY if name in drawn else MODEL_COLORS[i] for i, name in enumerate(names)]
    color = alt.Color("chosen:N", title=None, scale=alt.Scale(domain=names, range=colors))
    share = alt.Y("value:Q", title="share of the gain that is kept")
    panels: list[alt.LayerChart] = []
    for method in in_order(rows, "method"):
        own = rows.filter(method=method)
        several, one = own.filter(among := pl.col("chosen").is_in(drawn)), own.filter(~among)
        layers = [
            alt.Chart(several).mark_circle(size=18).encode(y=share),
            alt.Chart(one)
            .mark_rule(opacity=0.6)
            .encode(y=alt.Y("lower:Q", title="share of the gain that is kept"), y2="upper:Q"),
            alt.Chart(one).mark_line(point=alt.OverlayMarkDef(size=22)).encode(y=share),
        ]
        encoded = [
            layer.encode(
                x=alt.X("kept:Q", title="heads kept", axis=alt.Axis(tickMinStep=1)),
                color=color,
                tooltip=["chosen:N", "kept:Q", "heads:N", *MEASURED],
            )
            for layer in layers
        ]
        panels.append(alt.LayerChart(layer=encoded, width=225, height=220, title=method))
    return alt.HConcatChart(hconcat=panels, title=title, description=description)


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
            *ACCURACY,
        ],
    )
    cells = base.mark_rect(stroke=GREY, strokeWidth=0.3).encode(
        color=alt.Color("accuracy:Q", title="share answered", scale=HEAT)
    )
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("accuracy:Q", format=".2f"),
        color=alt.condition("datum.accuracy > 0.62", alt.value("white"), alt.value("#333")),
    )
    return alt.LayerChart(layer=[cells, numbers], title=title, description=description)
