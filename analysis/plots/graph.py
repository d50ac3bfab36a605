"""Heads as nodes by layer, and what one does to a later one as an edge."""

from typing import Any

import altair as alt
import polars as pl

from .theme import BLUE, GREY, ORANGE, TALL, layered, step

_ROLES = {
    "previous-token head": "#7a5ba6",
    "induction head": BLUE,
    "needed beside them": "#3f8f6b",
    "other head": GREY,
}
_SIGNS = {"a fall": BLUE, "a rise": ORANGE}
_STEPS = 16
"""Points of an edge's curve, less one."""

_BOW = 0.22
"""How far an edge bows sideways, in units of its length upward."""

_BOWED = 3
"""Layers that an edge passes from which it bows no farther."""

_LABELLED = 6
"""Edges whose size is written beside them, at most."""

_WORTH_A_LABEL = 0.2
"""Share of the largest size from which an edge's own is written beside it."""


def circuit_graph(
    nodes: pl.DataFrame, edges: pl.DataFrame, unit: str, title: str, description: str
) -> alt.LayerChart:
    """Heads by layer, and edges upward from one to a later one.

    Args:
        nodes: Columns `name`, `layer`, `head`, `role`, `need`, `induction` and `previous_token`.
        edges: Columns `sender`, `receiver`, `from_layer`, `from_head`, `to_layer`, `to_head`,
            `value` and `detail`, the largest first.
        unit: What the size of an edge is.
        title: The finding.
        description: The caption.

    Returns:
        Layers upward, heads to the right; the width of an edge is its size, and a head is as large
        as the need for it.
    """
    # Not every layer has heads.
    n_heads, n_layers = nodes["head"].n_unique(), max(nodes["layer"], default=-1) + 1
    x = alt.X("head:Q", title="head", **_whole(n_heads))
    y = alt.Y("layer:Q", title="layer", **_whole(n_layers))
    drawn = nodes.join(_ends(edges), on="name", how="left").with_columns(
        pl.col("labelled").fill_null(value=False)
    )
    layers = [*_edge_layers(edges, unit, x, y), *_node_layers(drawn, x, y)]
    width = max(320, round(step(n_heads, 76) * n_heads))
    height = max(180, round(step(n_layers, 96, TALL) * n_layers))
    return layered(layers, (width, height), title, description)


def _whole(count: int) -> dict[str, Any]:
    """Axis and scale of whole numbers from 0."""
    ticks = alt.Axis(values=list(range(count)), format="d", grid=False, domain=False, ticks=False)
    return {"axis": ticks, "scale": alt.Scale(domain=[-0.6, count - 0.4])}


def _ends(edges: pl.DataFrame) -> pl.DataFrame:
    """Heads at the end of an edge, to be named."""
    ends = pl.concat([edges["sender"].alias("name"), edges["receiver"].alias("name")]).unique()
    return pl.DataFrame({"name": ends.sort()}).with_columns(labelled=pl.lit(value=True))


def _node_layers(drawn: pl.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    roles = [role for role in _ROLES if role in drawn["role"].to_list()]
    scale = alt.Scale(domain=roles, range=[_ROLES[role] for role in roles])
    tooltip = [
        alt.Tooltip("name:N", title="head"),
        "role:N",
        alt.Tooltip("need:Q", format=".3f", title="lost without it"),
        alt.Tooltip("induction:Q", format=".3f", title="induction score"),
        alt.Tooltip("previous_token:Q", format=".3f", title="previous-token score"),
    ]
    base = alt.Chart(drawn).encode(x=x, y=y)
    other = "datum.role === 'other head'"
    circles = base.mark_circle(opacity=1).encode(
        color=alt.Color("role:N", title=None, scale=scale, legend=alt.Legend(orient="top")),
        size=alt.Size("need:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[90, 700])),
        tooltip=tooltip,
    )
    named = base.transform_filter(f"datum.labelled || !({other})")
    names = named.mark_text(dx=-9, dy=-11, align="right", fontSize=11, fontWeight=600)
    return [circles, names.encode(text="name:N")]


def _edge_layers(edges: pl.DataFrame, unit: str, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    if edges.is_empty():
        return []
    signed = edges["lower"].is_not_null().any()
    color = alt.value(BLUE)
    if signed:
        names = [name for name in _SIGNS if name in _signs(edges)["sign"].to_list()]
        scale = alt.Scale(domain=names, range=[_SIGNS[name] for name in names])
        color = alt.Stroke("sign:N", title=None, scale=scale, legend=alt.Legend(orient="top"))
    size = alt.StrokeWidth(
        "size:Q", legend=None, scale=alt.Scale(domain=[0, _largest(edges)], range=[0.6, 8])
    )
    tooltip = [
        alt.Tooltip("edge:N", title="from, to"),
        alt.Tooltip("value:Q", format="+.3f" if signed else ".2f", title=unit),
        "detail:N",
    ]
    lines = alt.Chart(_curves(edges)).mark_line(opacity=0.55, strokeCap="round")
    sizes = alt.Chart(_labels(edges)).mark_text(fontSize=10, fontWeight=600)
    number = alt.Text("value:Q", format="+.2f" if signed else ".1f")
    return [
        lines.encode(
            x=x, y=y, stroke=color, strokeWidth=size, detail="edge:N", order="along:Q",
            tooltip=tooltip,
        ),
        sizes.encode(x=x, y=y, text=number),
    ]  # fmt: skip


def _largest(edges: pl.DataFrame) -> float:
    return float(edges.select(pl.col("value").abs().max()).item())


def _signs(edges: pl.DataFrame) -> pl.DataFrame:
    falls, rises = map(pl.lit, _SIGNS)
    return edges.with_columns(sign=pl.when(pl.col("value") < 0).then(falls).otherwise(rises))


def _labels(edges: pl.DataFrame) -> pl.DataFrame:
    """Where the sizes of the largest edges are written: below the receiver, one beside another."""
    large = edges.filter(pl.col("value").abs() >= _WORTH_A_LABEL * _largest(edges))[:_LABELLED]
    climb = pl.col("to_layer") - pl.col("from_layer")
    below = 0.24 + 0.6 * pl.int_range(pl.len()) / _LABELLED
    return _points(large.with_columns(along=1 - below / climb))


def _curves(edges: pl.DataFrame) -> pl.DataFrame:
    """Every edge as points from its sender to its receiver."""
    steps = pl.DataFrame({"along": [step / _STEPS for step in range(_STEPS + 1)]})
    return _points(edges.join(steps, how="cross"))


def _points(edges: pl.DataFrame) -> pl.DataFrame:
    """Points of edges that bow sideways, past the heads between their ends.

    Args:
        edges: As those of `circuit_graph`, with `along`: 0 at the sender, 1 at the receiver.

    Returns:
        Columns `edge`, `along`, `head`, `layer`, `size`, `sign`, `value` and `detail`.
    """
    along = pl.col("along")
    climb = pl.col("to_layer") - pl.col("from_layer")
    across = pl.col("to_head") - pl.col("from_head")
    bow = 4 * along * (1 - along) * _BOW * (climb - 1).clip(upper_bound=_BOWED)
    return _signs(edges).select(
        pl.format("{} → {}", "sender", "receiver").alias("edge"),
        "along",
        (pl.col("from_head") + along * across + bow).alias("head"),
        (pl.col("from_layer") + along * climb).alias("layer"),
        pl.col("value").abs().alias("size"),
        *("sign", "value", "detail"),
    )
