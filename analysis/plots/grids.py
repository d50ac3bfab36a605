"""A cell for each pair: heads of layers, kinds of ablation, components of either side."""

from typing import Any

import altair as alt
import polars as pl

from .theme import (
    COLUMN,
    EFFECT,
    HEAT,
    INTERVAL,
    MARKS,
    MEASURED,
    TALL,
    in_order,
    step,
    symmetric_end,
)

_NARROWEST = 13
"""Pixels of a head whose name stands below it."""
_PANEL = 240
"""Pixels of one grid of several, either way."""
_LEGIBLE = (24, 12)
"""Pixels of a cell that has room for a number, across and down."""
_SPARSE: dict[str, Any] = {"labelOverlap": "parity", "labelSeparation": 3}
"""An axis of rows that may be lower than their labels."""
_BELOW = alt.Legend(orient="bottom", gradientLength=240)
_ROOMS = {"second": COLUMN, "first": TALL}
_DIVERGING = ["#c0653a", "#f7f7f7", "#3b6ea8"]


def effect_grid(
    rows: pl.DataFrame, unit: str, title: str, description: str
) -> alt.LayerChart | alt.ConcatChart:
    """Every head's effect under every kind of ablation.

    Args:
        rows: Columns `name` (`L1H4`), `kind`, `value`, `lower`, `upper` and `n`.
        unit: What a value is, with its unit.
        title: The finding.
        description: The caption.

    Returns:
        Kinds downward and heads to the right; of more heads than a page has room for, a panel for
        each kind as in `head_panels`. The colour is on a square-root scale from 0.
    """
    n_heads, n_kinds = rows["name"].n_unique(), rows["kind"].n_unique()
    scale = alt.Scale(type="sqrt", domainMin=0, scheme="blues", clamp=True)
    across = step(n_heads, 22)
    if across < _NARROWEST:
        return head_panels(rows, "kind", (unit, scale), title, description)
    base = alt.Chart(rows, width=max(300, across * n_heads), height=26 * n_kinds).encode(
        x=alt.X("name:N", title=None, sort=None, axis=alt.Axis(labelAngle=-90)),
        y=alt.Y("kind:N", title=None, sort=None),
        tooltip=["name:N", "kind:N", *EFFECT],
    )
    color = alt.Color("value:Q", title=unit, scale=scale, legend=_BELOW)
    cells = base.mark_rect().encode(color=color)
    return alt.LayerChart(layer=[cells], title=title, description=description)


def head_panels(
    rows: pl.DataFrame, by: str, shown: tuple[str, alt.Scale], title: str, description: str
) -> alt.ConcatChart:
    """One number of every head under several conditions, a small grid for each.

    Args:
        rows: Columns `name` (`L1H4`), `value`, `lower`, `upper`, `n`, and what tells panels apart.
        by: The column of that.
        shown: What a value is, and the scale of its colours.
        title: The finding.
        description: The caption.

    Returns:
        Layers upward, heads to the right, on one scale; of more cells than `MARKS`, each is that
        of several neighbours which is largest.
    """
    unit, scale = shown
    place = pl.col("name").str.extract_groups(r"^L(?<layer>\d+)H(?<head>\d+)$").struct.unnest()
    placed = _pooled(rows.with_columns(place.cast(pl.Int32)), by)
    n_heads, n_layers = placed["head"].n_unique(), max(placed["layer"]) + 1
    width = max(90, step(n_heads, 16, _PANEL) * n_heads)
    height = max(40, step(n_layers, 16, _PANEL) * n_layers)
    layers = alt.Scale(domain=list(range(n_layers))[::-1])

    def grid(panel: str) -> alt.Chart:
        chart = alt.Chart(placed.filter(pl.col(by) == panel), title=panel)
        return (
            chart.mark_rect()
            .encode(
                x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
                y=alt.Y("layer:O", title="layer", scale=layers, axis=alt.Axis(**_SPARSE)),
                color=alt.Color("value:Q", title=unit, scale=scale, legend=_BELOW),
                tooltip=["name:N", f"{by}:N", *EFFECT],
            )
            .properties(width=width, height=height)
        )

    grids = [grid(panel) for panel in in_order(rows, by)]
    columns = max(1, int((COLUMN + 100) // (width + 60)))
    return alt.ConcatChart(concat=grids, columns=columns, title=title, description=description)


def _pooled(placed: pl.DataFrame, by: str) -> pl.DataFrame:
    """Of neighbouring heads the one with the largest value, where all would be too many marks."""
    near = -(-placed.height // MARKS)
    if near == 1:
        return placed
    first = (pl.col("head") // near * near).alias("head")
    kept = placed.sort(pl.col("value").abs(), descending=True, maintain_order=True)
    return kept.with_columns(first).unique((by, "layer", "head"), keep="first", maintain_order=True)


def agreement_grid(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Rank correlation of every two kinds.

    Args:
        rows: Columns `kind`, `other`, `value`, `lower` and `upper`.
        title: The finding.
        description: The caption.

    Returns:
        A square of kinds; the domain is [-1, 1].
    """
    n_kinds = rows["kind"].n_unique()
    base = alt.Chart(rows, width=62 * n_kinds, height=38 * n_kinds).encode(
        x=alt.X("other:N", title=None, sort=None, axis=alt.Axis(labelAngle=-35)),
        y=alt.Y("kind:N", title=None, sort=None),
        tooltip=["kind:N", "other:N", *EFFECT[:3]],
    )
    scale = alt.Scale(domain=[-1, 0, 1], range=_DIVERGING)
    cells = base.mark_rect().encode(color=alt.Color("value:Q", title="Spearman", scale=scale))
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.condition("datum.value > 0.6", alt.value("white"), alt.value("#333")),
    )
    return alt.LayerChart(layer=[cells, numbers], title=title, description=description)


def path_grid(rows: pl.DataFrame, title: str, description: str) -> alt.HConcatChart:
    """Change of a receiver's score when one input lacks one sender, a grid for each input.

    Args:
        rows: Columns `into`, `layer` and `head` of the sender, `name`, `role`, `value`, `lower`,
            `upper`, `n`.
        title: The finding.
        description: The caption.

    Returns:
        Layers upward, heads to the right, on one symmetric scale; the previous-token head framed.
    """
    farthest = symmetric_end(rows)
    scale = alt.Scale(domain=[-farthest, 0, farthest], range=_DIVERGING)
    n_heads, n_layers = rows["head"].n_unique(), max(rows["layer"], default=-1) + 1
    across, down = step(n_heads, 28, (COLUMN - 110) // 3), step(n_layers, 28, TALL)
    width, height = max(120, across * n_heads), max(50, down * n_layers)
    y = alt.Y(
        "layer:O", title="sender's layer", scale=alt.Scale(domain=list(range(n_layers))[::-1])
    )

    def grid(into: str) -> alt.LayerChart:
        base = alt.Chart(rows.filter(into=into), width=width, height=height).encode(
            x=alt.X("head:O", title="sender's head", axis=alt.Axis(labelAngle=0)),
            y=y,
            tooltip=["name:N", "into:N", "role:N", *MEASURED],
        )
        color = alt.Color("value:Q", title="change", scale=scale)
        cells = base.mark_rect().encode(color=color)
        strong = f"abs(datum.value) > {0.6 * farthest}"
        numbers = base.mark_text(fontSize=9).encode(
            text=alt.Text("value:Q", format=".2f"),
            color=alt.condition(strong, alt.value("white"), alt.value("#222")),
        )
        frame = base.transform_filter("datum.role === 'previous-token head'").mark_rect(
            fillOpacity=0, stroke="black", strokeWidth=2
        )
        words = _silent(rows, n_layers, y)
        told = [numbers] if _legible(across, down) else []
        return alt.LayerChart(layer=[cells, *told, frame, *words], title=into)

    inputs = rows["into"].unique(maintain_order=True).to_list()
    return alt.HConcatChart(
        hconcat=[grid(into) for into in inputs], title=title, description=description
    )


def pair_grids(rows: pl.DataFrame, unit: str, title: str, description: str) -> alt.ConcatChart:
    """One number of pairs of components, a grid for each panel.

    Args:
        rows: Columns `first`, `second` (names, in the order to show), `panel` and `value`.
        unit: What a value is.
        title: The finding.
        description: The caption.

    Returns:
        First components downward, second ones to the right, all on one scale around 0.
    """
    farthest = max(float(rows["value"].abs().max() or 0), 1e-9)  # pyright: ignore[reportArgumentType]
    scale = alt.Scale(domain=[-farthest, 0, farthest], range=_DIVERGING)
    panels = rows["panel"].unique(maintain_order=True).to_list()
    names = {end: in_order(rows, end) for end in ("first", "second")}
    across, down = (step(len(names[end]), 15, room) for end, room in _ROOMS.items())
    width, height = across * len(names["second"]), down * len(names["first"])
    columns = max(1, min(3, int(COLUMN // (width + 60))))

    def grid(panel: str) -> alt.Chart:
        return (
            alt.Chart(rows.filter(panel=panel).select("first", "second", "value"), title=panel)
            .mark_rect()
            .encode(
                x=alt.X("second:N", title=None, sort=names["second"]),
                y=alt.Y("first:N", title=None, sort=names["first"]),
                color=alt.Color("value:Q", title=unit, scale=scale),
                tooltip=["first:N", "second:N", alt.Tooltip("value:Q", format=".3g")],
            )
            .properties(width=width, height=height)
        )

    grids = [grid(panel) for panel in panels]
    return alt.ConcatChart(concat=grids, columns=columns, title=title, description=description)


def head_grid(
    rows: pl.DataFrame, n_layers: int, neutral: float | None, title: str, description: str
) -> alt.LayerChart:
    """Every head's score as a coloured cell with its value.

    Args:
        rows: Aggregate rows of `head_scores` of one score.
        n_layers: Of the model, with those that do not attend.
        neutral: None for shares of attention, drawn on [0, 1]; else what a head without the
            property has (0 for a difference, 1 for a ratio), drawn symmetrically around it.
        title: The finding.
        description: The caption: what is shown and measured.

    Returns:
        Layers upward, heads to the right; a layer that does not attend says so.
    """
    if neutral is None:
        return _grid(rows, n_layers, HEAT).properties(title=title, description=description)
    farthest = max(*(abs(value - neutral) for value in rows["value"].to_list()), 1e-9)
    domain = [neutral - farthest, neutral, neutral + farthest]
    scale = alt.Scale(domain=domain, range=_DIVERGING)
    return _grid(rows, n_layers, scale).properties(title=title, description=description)


def _grid(rows: pl.DataFrame, n_layers: int, scale: alt.Scale) -> alt.LayerChart:
    n_heads = rows["head"].n_unique()
    across, down = step(n_heads, 46), step(n_layers, 34, TALL)
    width, height = max(200, across * n_heads), max(80, down * n_layers)
    y = alt.Y("layer:O", title="layer", scale=alt.Scale(domain=list(range(n_layers))[::-1]))
    base = alt.Chart(rows, width=width, height=height).encode(
        x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)),
        y=y,
        tooltip=["layer:O", "head:O", *INTERVAL],
    )
    cells = base.mark_rect().encode(color=alt.Color("value:Q", title=None, scale=scale))
    domain: list[float] = list(scale.to_dict()["domain"])
    dark = domain[0] + 0.62 * (domain[-1] - domain[0])
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.condition(f"datum.value > {dark}", alt.value("white"), alt.value("#333")),
    )
    told = [numbers] if _legible(across, down) else []
    return alt.LayerChart(layer=[cells, *told, *_silent(rows, n_layers, y)])


def _legible(across: float, down: float) -> bool:
    """Whether a cell has room for its number."""
    return across >= _LEGIBLE[0] and down >= _LEGIBLE[1]


def _silent(rows: pl.DataFrame, n_layers: int, y: alt.Y) -> list[alt.Chart]:
    """Words in the rows of layers that have no heads."""
    layers = [layer for layer in range(n_layers) if layer not in set(rows["layer"])]
    if not layers:
        return []
    words = alt.Chart(pl.DataFrame({"layer": layers}).with_columns(says=pl.lit("no attention")))
    return [words.mark_text(fontSize=11).encode(y=y, text="says:N")]
