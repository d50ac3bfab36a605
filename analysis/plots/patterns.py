"""Where heads look: patterns, and what changes along a prompt."""

import altair as alt
import polars as pl

from .theme import (
    BLUE,
    HEAT,
    ORANGE,
)

_KL = "KL(target || ablated), nats"


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
    shown = _with_tokens(rows, tokens)
    names = {"example": "as it is", "ablated": "under the intervention"}
    squares = [
        alt.Chart(shown.filter(kind=kind), title=name, width=260, height=260)
        .mark_rect()
        .encode(
            x=alt.X("key:O", title="key position", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("query:O", title="query position", axis=alt.Axis(labelOverlap=True)),
            color=alt.Color("weight:Q", title="attention", scale=HEAT),
            tooltip=[
                *("query:O", "key:O", "query token:N", "key token:N"),
                alt.Tooltip("weight:Q", format=".3f"),
            ],
        )
        for kind, name in names.items()
        if kind in set(rows["kind"])
    ]
    return alt.HConcatChart(hconcat=squares, title=title, description=description)


def pattern_pair(
    rows: pl.DataFrame, tokens: pl.DataFrame, title: str, description: str
) -> alt.HConcatChart:
    """The mean pattern of one head beside its pattern on one example.

    Args:
        rows: Rows of `patterns` of one head, both kinds.
        tokens: Rows of `prompts` of the example.
        title: The finding.
        description: The caption.

    Returns:
        Queries downward, keys to the right; the example's tooltip names its tokens.
    """
    shown = _with_tokens(rows, tokens)
    axis = alt.Axis(values=list(range(0, tokens.height, 4)), labelAngle=0)

    def square(kind: str, name: str, names: list[str]) -> alt.Chart:
        return (
            alt.Chart(shown.filter(kind=kind), title=name, width=260, height=260)
            .mark_rect()
            .encode(
                x=alt.X("key:O", axis=axis, title="key position"),
                y=alt.Y("query:O", axis=axis, title="query position"),
                color=alt.Color("weight:Q", title="attention", scale=HEAT),
                tooltip=["query:O", "key:O", *names, alt.Tooltip("weight:Q", format=".3f")],
            )
        )

    squares = [
        square("mean", "mean over sequences", []),
        square("example", "first sequence", ["query token:N", "key token:N"]),
    ]
    return alt.HConcatChart(hconcat=squares, title=title, description=description)


def _with_tokens(rows: pl.DataFrame, tokens: pl.DataFrame) -> pl.DataFrame:
    """Cells of patterns, with the tokens that they lie between."""
    shown = rows.select("kind", "query", "key", weight=pl.col("weight").round(4))
    for end in ("query", "key"):
        shown = shown.join(
            tokens.select(pl.col("position").alias(end), pl.col("token").alias(f"{end} token")),
            on=end,
        )
    return shown
