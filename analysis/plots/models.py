"""The same score of several models, and the same claims."""

import altair as alt
import polars as pl

from .theme import BLUE, GREY, INTERVAL, ORANGE, SHARE, VERDICTS

MODEL_COLORS = (BLUE, ORANGE, "#3f8f6b", "#7a5ba6", "#b98a3c", "#b34757", "#3f93a3")
"""Of the models, in order; more of them than these begin again."""


def _color(names: list[str]) -> alt.Color:
    shades = [MODEL_COLORS[i % len(MODEL_COLORS)] for i in range(len(names))]
    scale = alt.Scale(domain=names, range=shades)
    return alt.Color("model:N", title=None, scale=scale, legend=None)


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
            color=_color(names),
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
    names = rows["model"].unique(maintain_order=True).to_list()
    chosen = alt.selection_point(fields=["model"], bind="legend")
    scale = SHARE if neutral is None else alt.Scale(zero=False)
    base = alt.Chart(rows, width=520, height=240).encode(
        x=alt.X("rank:Q", title="heads, the strongest first", axis=alt.Axis(tickMinStep=1)),
        color=_color(names).copy().legend(alt.Legend(title=None, labelLimit=320)),
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


def verdict_grid(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """The verdict on every claim for every model.

    Args:
        rows: Columns `claim`, `model`, `verdict`, `estimate`, `lower`, `upper`, `control`,
            `threshold`, `statement` and `chapter`, in the order of the chapters.
        title: The finding.
        description: The caption.

    Returns:
        Claims down, models across; the colour is the verdict, the number the estimate. There is
        no cell where a model has no such claim.
    """
    n_models, n_claims = rows["model"].n_unique(), rows["claim"].n_unique()
    rows = rows.with_columns(
        pl.col("claim").str.replace_all("_", " "),
        shown=pl.Series([f"{value:.3g}" for value in rows["estimate"].fill_null(float("nan"))]),
    )
    numbers = ("estimate", "lower", "upper", "control", "threshold")
    color = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values())),
        legend=alt.Legend(orient="top"),
    )
    base = alt.Chart(rows, width=max(160, 110 * n_models), height=20 * n_claims).encode(
        x=alt.X("model:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y("claim:N", title=None, sort=None, axis=alt.Axis(labelLimit=280)),
        tooltip=[
            *("statement:N", "model:N", "verdict:N", "chapter:N"),
            *(alt.Tooltip(f"{name}:Q", format=".3f") for name in numbers),
        ],
    )
    cells = base.mark_rect(stroke="white", strokeWidth=1.5).encode(color=color)
    texts = base.mark_text(fontSize=11).encode(text="shown:N", color=alt.value("white"))
    return alt.LayerChart(layer=[cells, texts], title=title, description=description)
