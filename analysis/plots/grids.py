"""One cell a head, or a query and a key."""

import altair as alt
import polars as pl

from .theme import INTERVAL

_SHARE = alt.Scale(domain=[0, 1], scheme="blues")


def head_grid(
    rows: pl.DataFrame, neutral: float | None, title: str, description: str
) -> alt.LayerChart:
    """Every head's score as a coloured cell with its value.

    Args:
        rows: Aggregate rows of `head_scores` of one score.
        neutral: None for shares of attention, drawn on [0, 1]; else what a head without the
            property has (0 for a difference, 1 for a ratio), drawn symmetrically around it.
        title: The finding.
        description: The caption: what is shown and measured.

    Returns:
        Layers upward, heads to the right.
    """
    if neutral is None:
        return _grid(rows, _SHARE).properties(title=title, description=description)
    farthest = max(*(abs(value - neutral) for value in rows["value"].to_list()), 1e-9)
    domain = [neutral - farthest, neutral, neutral + farthest]
    scale = alt.Scale(domain=domain, range=["#c0653a", "#f7f7f7", "#3b6ea8"])
    return _grid(rows, scale).properties(title=title, description=description)


def _grid(rows: pl.DataFrame, scale: alt.Scale) -> alt.LayerChart:
    n_heads, n_layers = rows["head"].n_unique(), rows["layer"].n_unique()
    base = alt.Chart(rows, width=max(200, 46 * n_heads), height=max(80, 34 * n_layers)).encode(
        x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("layer:O", title="layer", sort="descending"),
        tooltip=["layer:O", "head:O", *INTERVAL],
    )
    cells = base.mark_rect().encode(color=alt.Color("value:Q", title=None, scale=scale))
    domain: list[float] = list(scale.to_dict()["domain"])
    dark = domain[0] + 0.62 * (domain[-1] - domain[0])
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.condition(f"datum.value > {dark}", alt.value("white"), alt.value("#333")),
    )
    return alt.LayerChart(layer=[cells, numbers])


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
    named = tokens.select("position", "token")
    shown = rows.select("kind", "query", "key", weight=pl.col("weight").round(4))
    shown = shown.join(named.rename({"position": "query", "token": "query token"}), on="query")
    shown = shown.join(named.rename({"position": "key", "token": "key token"}), on="key")
    axis = alt.Axis(values=list(range(0, tokens.height, 4)), labelAngle=0)

    def square(kind: str, name: str, names: list[str]) -> alt.Chart:
        return (
            alt.Chart(shown.filter(kind=kind), title=name, width=260, height=260)
            .mark_rect()
            .encode(
                x=alt.X("key:O", axis=axis, title="key position"),
                y=alt.Y("query:O", axis=axis, title="query position"),
                color=alt.Color("weight:Q", title="attention", scale=_SHARE),
                tooltip=["query:O", "key:O", *names, alt.Tooltip("weight:Q", format=".3f")],
            )
        )

    squares = [
        square("mean", "mean over sequences", []),
        square("example", "first sequence", ["query token:N", "key token:N"]),
    ]
    return alt.HConcatChart(hconcat=squares, title=title, description=description)
