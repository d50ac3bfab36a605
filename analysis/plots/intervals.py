"""Estimates with their intervals, beside controls and thresholds."""

import altair as alt
import polars as pl

from .grids import head_panels
from .theme import (
    BLUE,
    COLUMN,
    GREY,
    HEAT,
    INTERVAL,
    MEASURED,
    ORANGE,
    SHARE,
    VERDICT_COLOR,
    VERDICT_SCALE,
    VERDICTS,
    data_color,
    in_order,
    layered,
    step,
)

_SHAPES = ["circle", "diamond", "cross", "square", "triangle-up"]
"""Of verdicts."""
_NARROWEST = 5
"""Pixels of one of several points of a head."""
_SMALLEST = 0.001
"""Nats below which a divergence is drawn on a linear axis."""


def losses(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Loss on the first and on the second copy, for the repeated and the shuffled block.

    Args:
        rows: Aggregate rows of `model_scores` with columns `copy` and `data`.
        title: The finding.
        description: The caption.

    Returns:
        Points with 95 % intervals, and the loss of a uniform guess dashed.
    """
    color = data_color(["repeated", "shuffled"])
    x = alt.X("value:Q", title="loss, nats per token", scale=alt.Scale(domainMin=0))
    y = alt.Y("copy:N", title=None, sort=["first copy", "second copy"])
    base = alt.Chart(rows).encode(y=y, color=color, yOffset="data:N")
    rule = base.mark_rule().encode(x=alt.X("lower:Q", title="loss, nats per token"), x2="upper:Q")
    point = base.mark_circle(size=70).encode(x=x, tooltip=["data:N", "copy:N", *INTERVAL])
    guess = alt.Chart(rows.head(1)).mark_rule(color=GREY, strokeDash=[4, 4]).encode(x="chance:Q")
    return layered([guess, rule, point], (460, 110), title, description)


def by_data(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart | alt.ConcatChart:
    """Every head's score on several data sets side by side.

    Args:
        rows: Aggregate rows of `head_scores` of one score with a column `name` (`L1H4`).
        title: The finding.
        description: The caption.

    Returns:
        Points with 95 % intervals, in [0, 1]; of more heads than a page has room for, a panel for
        each data set as in `head_panels`.
    """
    kinds = in_order(rows, "data")
    width = step(rows["name"].n_unique(), 20 * len(kinds), COLUMN - 40)
    if width < _NARROWEST * len(kinds):
        return head_panels(rows, "data", ("mean attention", HEAT), title, description)
    color = data_color(kinds)
    base = alt.Chart(rows, width=alt.Step(width, **{"for": "position"})).encode(
        x=alt.X("name:N", title=None, sort=None, axis=alt.Axis(labelAngle=-90)),
        xOffset="data:N",
        color=color,
    )
    y = alt.Y("value:Q", title="mean attention", scale=SHARE)
    rule = base.mark_rule().encode(y=alt.Y("lower:Q", title="mean attention"), y2="upper:Q")
    point = base.mark_circle(size=30).encode(y=y, tooltip=["name:N", "data:N", *INTERVAL])
    return alt.LayerChart(layer=[rule, point], height=220, title=title, description=description)


def claim_intervals(claims: pl.DataFrame, title: str, description: str) -> alt.VConcatChart:
    """Every claim's estimate, interval, control and threshold, each on its own scale.

    Args:
        claims: Rows of the table `claims`.
        title: The finding.
        description: The caption.

    Returns:
        One row a claim; of one without an estimate, its verdict in words, and of one without an
        interval, the estimate alone.
    """
    color = alt.Color("verdict:N", title=None, scale=VERDICT_SCALE)
    shape = alt.Shape(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(VERDICTS), range=_SHAPES),
    )
    columns = ("estimate", "lower", "upper", "threshold", "control", "verdict")
    tooltip = ["claim:N", *(alt.Tooltip(name, format=".3f") for name in columns[:-1])]
    rows: list[alt.LayerChart] = []
    ends = ("claim", "estimate", "lower", "control_lower")
    for claim, estimate, lower, low in claims.select(ends).iter_rows():
        base = alt.Chart(claims.filter(claim=claim), width=420, height=24).encode(
            y=alt.Y("claim:N", title=None, axis=alt.Axis(labelLimit=260, minExtent=190))
        )
        if estimate is None:
            rows.append(alt.LayerChart(layer=[base.mark_text().encode(text="verdict:N")]))
            continue
        x = alt.X("estimate:Q", title=None, axis=alt.Axis(tickCount=6), scale=alt.Scale(padding=8))
        control = base.mark_rule(color=GREY, strokeWidth=6, opacity=0.6).encode(
            x=alt.X("control_lower:Q", title=None), x2="control_upper:Q"
        )
        bar = base.mark_tick(color=GREY, thickness=2, size=20).encode(x="threshold:Q")
        rule = base.mark_rule(strokeWidth=2).encode(x="lower:Q", x2="upper:Q", color=color)
        point = base.mark_point(size=70, filled=True, opacity=1).encode(
            x=x, color=color, shape=shape, tooltip=tooltip
        )
        compared, known = ([] if low is None else [control]), ([] if lower is None else [rule])
        rows.append(alt.LayerChart(layer=[*compared, bar, *known, point]))
    return alt.VConcatChart(vconcat=rows, title=title, description=description)


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
        x=alt.X("value:Q", title=name, scale=scale),
        tooltip=["masks:N", *MEASURED, share],
    )
    return alt.LayerChart(layer=[rule, point], title=title, description=description)


def verdict_margins(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """How far verdicts are from changing, the nearest first.

    Args:
        rows: Columns `claim`, `verdict`, `margin`, `nearest`, `estimate`, `lower`, `upper`,
            `threshold` and `control`.
        title: The finding.
        description: The caption.

    Returns:
        A bar a claim, on a scale that spreads small margins.
    """
    numbers = ("margin", "estimate", "lower", "upper", "threshold", "control")
    tooltip = [alt.Tooltip(f"{name}:Q", format=".3f") for name in numbers]
    shown = rows.with_columns(pl.col("claim").str.replace_all("_", " "))
    base = alt.Chart(shown, width=420, height=alt.Step(18)).encode(
        x=alt.X(
            "margin:Q",
            title="half-widths to the nearer bar",
            scale=alt.Scale(type="symlog", constant=1, domainMin=0),
        ),
        y=alt.Y("claim:N", title=None, sort=None, axis=alt.Axis(labelLimit=280)),
        tooltip=["claim:N", "verdict:N", "nearest:N", *tooltip],
    )
    bars = base.mark_bar(height=11).encode(color=VERDICT_COLOR)
    half = pl.DataFrame({"margin": [1.0]})
    line = alt.Chart(half).mark_rule(color=GREY, strokeDash=[4, 4]).encode(x="margin:Q")
    return alt.LayerChart(layer=[bars, line], title=title, description=description)


def ranking_checks(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Checks of rankings beside what unrelated rankings would give.

    Args:
        rows: Columns `ranking`, `check`, `value`, `lower`, `upper`, `chance` and `n`.
        title: The finding.
        description: The caption.

    Returns:
        A row a check, a colour a ranking; chance as grey ticks. The domain is [-1, 1].
    """
    names = rows["ranking"].unique(maintain_order=True).to_list()
    shades = alt.Scale(domain=names, range=[BLUE, ORANGE, "#3f8f6b", "#7a5ba6"][: len(names)])
    scale = alt.Scale(domain=[-1, 1])
    numbers = ("value", "lower", "upper", "chance")
    base = alt.Chart(rows, width=440, height=alt.Step(14)).encode(
        y=alt.Y("check:N", title=None, sort=None),
        yOffset=alt.YOffset("ranking:N", sort=names),
        color=alt.Color("ranking:N", title=None, scale=shades),
        tooltip=[
            "ranking:N",
            "check:N",
            *(alt.Tooltip(f"{name}:Q", format=".3f") for name in numbers),
            "n:Q",
        ],
    )
    rule = base.mark_rule().encode(x=alt.X("lower:Q", title="value", scale=scale), x2="upper:Q")
    point = base.mark_circle(size=50).encode(x=alt.X("value:Q", title="value", scale=scale))
    chance = base.mark_tick(color=GREY, thickness=2).encode(x="chance:Q", color=alt.value(GREY))
    return alt.LayerChart(layer=[chance, rule, point], title=title, description=description)
