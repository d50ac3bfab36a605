"""Where heads look: patterns, and what changes along a prompt."""

import altair as alt
import polars as pl

from .theme import BLUE, HEAT, ORANGE

_KL = "KL(target || ablated), nats"
_TOKENS = ("query token:N", "key token:N")


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
    axes = (alt.Axis(labelAngle=0, labelOverlap=True), alt.Axis(labelOverlap=True))
    squares = [
        _square(shown.filter(kind=kind), name, axes, _TOKENS)
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
    squares = [
        _square(shown.filter(kind="mean"), "mean over sequences", (axis, axis), ()),
        _square(shown.filter(kind="example"), "first sequence", (axis, axis), _TOKENS),
    ]
    return alt.HConcatChart(hconcat=squares, title=title, description=description)


def _square(
    rows: pl.DataFrame, title: str, axes: tuple[alt.Axis, alt.Axis], named: tuple[str, ...]
) -> alt.Chart:
    """One pattern, with axes of keys and of queries."""
    return (
        alt.Chart(rows, title=title, width=260, height=260)
        .mark_rect()
        .encode(
            x=alt.X("key:O", title="key position", axis=axes[0]),
            y=alt.Y("query:O", title="query position", axis=axes[1]),
            color=alt.Color("weight:Q", title="attention", scale=HEAT),
            tooltip=["query:O", "key:O", *named, alt.Tooltip("weight:Q", format=".3f")],
        )
    )


def _with_tokens(rows: pl.DataFrame, tokens: pl.DataFrame) -> pl.DataFrame:
    """Cells of patterns, with the tokens that they lie between."""
    shown = rows.select("kind", "query", "key", weight=pl.col("weight").round(4))
    for end in ("query", "key"):
        shown = shown.join(
            tokens.select(pl.col("position").alias(end), pl.col("token").alias(f"{end} token")),
            on=end,
        )
    return shown
