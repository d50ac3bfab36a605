"""What verdicts rest on, how far rankings can be trusted, and published numbers beside ours."""

import altair as alt
import polars as pl

from .theme import BLUE, GREY, ORANGE, VERDICTS

_SAID = {
    "as printed": GREY,
    "result files": BLUE,
    "imported files": "#7a5ba6",
    "ours": ORANGE,
}


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
    color = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values())),
        legend=alt.Legend(orient="top"),
    )
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
    bars = base.mark_bar(height=11).encode(color=color)
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
