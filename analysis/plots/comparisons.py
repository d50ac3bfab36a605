"""Scores beside their controls, and claims beside their thresholds."""

import altair as alt
import polars as pl

from .theme import BLUE, GREY, INTERVAL, ORANGE, SHARE, VERDICTS, data_color


def against_control(
    rows: pl.DataFrame, names: tuple[str, str], title: str, description: str
) -> alt.LayerChart:
    """Every head's score against the same head's control.

    Args:
        rows: Columns `name` (`L1H4`), `value`, `lower`, `upper`, `control`, `control_lower` and
            `control_upper`.
        names: Titles of the score and of the control.
        title: The finding.
        description: The caption.

    Returns:
        A point a head with both intervals; on the dashed line score and control are equal.
    """
    score, control = names
    x = alt.X("control:Q", title=control, scale=SHARE)
    y = alt.Y("value:Q", title=score, scale=SHARE)
    base = alt.Chart(rows)
    tooltip = [
        alt.Tooltip("name:N", title="head"),
        *(alt.Tooltip(f"{column}:Q", format=".3f") for column in ("value", "lower", "upper")),
        *(
            alt.Tooltip(f"{column}:Q", format=".3f")
            for column in ("control", "control_lower", "control_upper")
        ),
    ]
    upright = base.mark_rule(color=BLUE).encode(x=x, y=alt.Y("lower:Q", title=score), y2="upper:Q")
    across = base.mark_rule(color=ORANGE).encode(
        y=y, x=alt.X("control_lower:Q", title=control), x2="control_upper:Q"
    )
    points = base.mark_circle(color=BLUE, size=40).encode(x=x, y=y, tooltip=tooltip)
    labels = (
        base.transform_filter("datum.value > 0.3 || datum.control > 0.3")
        .mark_text(align="left", dx=6, fontSize=10)
        .encode(x=x, y=y, text="name:N")
    )
    ends = pl.DataFrame({"control": [0.0, 1.0], "value": [0.0, 1.0]})
    diagonal = alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 4]).encode(x=x, y=y)
    return alt.LayerChart(
        layer=[diagonal, upright, across, points, labels],
        width=380,
        height=380,
        title=title,
        description=description,
    )


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
    return alt.LayerChart(
        layer=[guess, rule, point], width=460, height=110, title=title, description=description
    )


def by_data(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Every head's score on several data sets side by side.

    Args:
        rows: Aggregate rows of `head_scores` of one score with a column `name` (`L1H4`).
        title: The finding.
        description: The caption.

    Returns:
        Points with 95 % intervals, in [0, 1].
    """
    color = data_color(rows["data"].unique(maintain_order=True).to_list())
    base = alt.Chart(rows, width=alt.Step(20)).encode(
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
        One row a claim.
    """
    color = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values())),
    )
    shape = alt.Shape(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(VERDICTS), range=["circle", "diamond", "cross"]),
    )
    columns = ("estimate", "lower", "upper", "threshold", "control", "verdict")
    tooltip = ["claim:N", *(alt.Tooltip(name, format=".3f") for name in columns[:-1])]
    rows: list[alt.LayerChart] = []
    for claim in claims["claim"].to_list():
        base = alt.Chart(claims.filter(claim=claim), width=420, height=24).encode(
            y=alt.Y("claim:N", title=None, axis=alt.Axis(labelLimit=260, minExtent=190))
        )
        x = alt.X("estimate:Q", title=None, axis=alt.Axis(tickCount=6), scale=alt.Scale(padding=8))
        control = base.mark_rule(color=GREY, strokeWidth=6, opacity=0.6).encode(
            x=alt.X("control_lower:Q", title=None), x2="control_upper:Q"
        )
        bar = base.mark_tick(color=GREY, thickness=2, size=20).encode(x="threshold:Q")
        rule = base.mark_rule(strokeWidth=2).encode(x="lower:Q", x2="upper:Q", color=color)
        point = base.mark_point(size=70, filled=True, opacity=1).encode(
            x=x, color=color, shape=shape, tooltip=tooltip
        )
        rows.append(alt.LayerChart(layer=[control, bar, rule, point]))
    return alt.VConcatChart(vconcat=rows, title=title, description=description)


def verdict_bars(counts: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """How many claims of each chapter have each verdict.

    Args:
        counts: Columns `chapter`, `verdict`, `n` and `order`.
        title: The finding.
        description: The caption.

    Returns:
        A stacked bar for each chapter with its numbers.
    """
    verdicts = counts.sort("order")["verdict"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=verdicts, range=[VERDICTS[verdict] for verdict in verdicts])
    base = alt.Chart(counts, width=440, height=alt.Step(24)).encode(
        x=alt.X("n:Q", title="claims", stack="zero", axis=alt.Axis(tickMinStep=1, format="d")),
        y=alt.Y("chapter:N", title=None, sort=None, axis=alt.Axis(labelLimit=260)),
        order=alt.Order("order:Q"),
        tooltip=["chapter:N", "verdict:N", alt.Tooltip("n:Q", title="claims")],
    )
    bars = base.mark_bar().encode(color=alt.Color("verdict:N", title=None, scale=scale))
    placed = base.encode(x=alt.X("n:Q", stack="zero", bandPosition=0.5))
    numbers = placed.mark_text(fontWeight=600).encode(
        text="n:Q",
        color=alt.condition("datum.verdict === 'undecided'", alt.value("#111"), alt.value("white")),
    )
    return alt.LayerChart(layer=[bars, numbers], title=title, description=description)
