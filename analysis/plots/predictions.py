"""What interventions change in predictions: by condition, and along one prompt."""

import altair as alt
import polars as pl

from .theme import BLUE, ORANGE

_SHARE = alt.Scale(domain=[0, 1], scheme="blues")
_KL = "KL(target || ablated), nats"


def condition_effects(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Mean effect of every condition on predictions at t.

    Args:
        rows: Columns `condition`, `group`, `value`, `lower`, `upper` and `n`: KL in nats.
        title: The finding.
        description: The caption.

    Returns:
        A point a condition and group with its 95 % interval.
    """
    conditions = rows["condition"].unique(maintain_order=True).to_list()
    groups = rows["group"].unique(maintain_order=True).to_list()
    color = alt.Scale(domain=groups, range=[BLUE, ORANGE][: len(groups)])
    base = alt.Chart(rows, height=alt.Step(16)).encode(
        y=alt.Y(
            "condition:N",
            title=None,
            scale=alt.Scale(domain=conditions),
            axis=alt.Axis(labelLimit=260),
        ),
        yOffset=alt.YOffset("group:N", scale=alt.Scale(domain=groups)),
        color=alt.Color("group:N", title=None, scale=color),
    )
    rule = base.mark_rule().encode(x=alt.X("lower:Q", title=_KL), x2="upper:Q")
    tooltip = [
        *("condition:N", "group:N"),
        *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("value", "lower", "upper")),
        alt.Tooltip("n:Q", title="prompts"),
    ]
    point = base.mark_circle(size=50).encode(
        x=alt.X("value:Q", title=_KL, scale=alt.Scale(domainMin=0)), tooltip=tooltip
    )
    return alt.LayerChart(layer=[rule, point], width=420, title=title, description=description)


def effects_along(rows: pl.DataFrame, t: int, title: str, description: str) -> alt.Chart:
    """Where in a prompt predictions change.

    Args:
        rows: Columns `position`, `token`, `kl_base_ablated`, `top1_changed` and `loss_change`.
        t: The position that is looked at: in another colour.
        title: The finding.
        description: The caption.

    Returns:
        A bar a position.
    """
    named = rows.with_columns(place=pl.format("{} {}", "position", "token"))
    tooltip = [
        alt.Tooltip("place:N", title="after"),
        alt.Tooltip("kl_base_ablated:Q", format=".4f", title=_KL),
        alt.Tooltip("loss_change:Q", format=".4f", title="change of the loss, nats"),
        alt.Tooltip("top1_changed:Q", title="predicts another token"),
    ]
    return (
        alt.Chart(named, width=alt.Step(18), height=160, title=title, description=description)
        .mark_bar()
        .encode(
            x=alt.X("place:N", title=None, sort=None, axis=alt.Axis(labelAngle=-60)),
            y=alt.Y("kl_base_ablated:Q", title=_KL, scale=alt.Scale(domainMin=0)),
            color=alt.condition(f"datum.position == {t}", alt.value(ORANGE), alt.value(BLUE)),
            tooltip=tooltip,
        )
    )


def prompt_pattern(
    rows: pl.DataFrame, tokens: pl.DataFrame, title: str, description: str
) -> alt.HConcatChart:
    """The pattern of one head on one prompt, and under an intervention where it differs.

    Args:
        rows: Rows of `patterns`, kinds `example` and perhaps `ablated`.
        tokens: Rows of `prompts`.
        title: The finding.
        description: The caption.

    Returns:
        Queries downward, keys to the right; the tooltip names the tokens.
    """
    named = tokens.select("position", "token")
    shown = rows.select("kind", "query", "key", weight=pl.col("weight").round(4))
    shown = shown.join(named.rename({"position": "query", "token": "query token"}), on="query")
    shown = shown.join(named.rename({"position": "key", "token": "key token"}), on="key")
    names = {"example": "as it is", "ablated": "under the intervention"}
    squares = [
        alt.Chart(shown.filter(kind=kind), title=name, width=260, height=260)
        .mark_rect()
        .encode(
            x=alt.X("key:O", title="key position", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("query:O", title="query position", axis=alt.Axis(labelOverlap=True)),
            color=alt.Color("weight:Q", title="attention", scale=_SHARE),
            tooltip=[
                *("query:O", "key:O", "query token:N", "key token:N"),
                alt.Tooltip("weight:Q", format=".3f"),
            ],
        )
        for kind, name in names.items()
        if kind in set(rows["kind"])
    ]
    return alt.HConcatChart(hconcat=squares, title=title, description=description)
