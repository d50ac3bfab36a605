"""A cell for each pair: heads of layers, queries and keys, claims of models."""

import altair as alt
import polars as pl

from .theme import ACCURACY, EFFECT, GREY, HEAT, INTERVAL, MEASURED, VERDICT_COLOR, symmetric_end

_DIVERGING = ["#c0653a", "#f7f7f7", "#3b6ea8"]


def effect_grid(rows: pl.DataFrame, unit: str, title: str, description: str) -> alt.LayerChart:
    """Every head's effect under every kind of ablation.

    Args:
        rows: Columns `name` (`L1H4`), `kind`, `value`, `lower`, `upper` and `n`.
        unit: What a value is, with its unit.
        title: The finding.
        description: The caption.

    Returns:
        Kinds downward, heads to the right; colour on a square-root scale from 0.
    """
    n_heads, n_kinds = rows["name"].n_unique(), rows["kind"].n_unique()
    base = alt.Chart(rows, width=max(300, 22 * n_heads), height=26 * n_kinds).encode(
        x=alt.X("name:N", title=None, sort=None, axis=alt.Axis(labelAngle=-90)),
        y=alt.Y("kind:N", title=None, sort=None),
        tooltip=["name:N", "kind:N", *EFFECT],
    )
    scale = alt.Scale(type="sqrt", domainMin=0, scheme="blues", clamp=True)
    cells = base.mark_rect().encode(color=alt.Color("value:Q", title=unit, scale=scale))
    return alt.LayerChart(layer=[cells], title=title, description=description)


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
    y = alt.Y(
        "layer:O", title="sender's layer", scale=alt.Scale(domain=list(range(n_layers))[::-1])
    )

    def grid(into: str) -> alt.LayerChart:
        width, height = max(120, 28 * n_heads), max(50, 28 * n_layers)
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
        return alt.LayerChart(layer=[cells, numbers, frame, *words], title=into)

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
    names = {end: rows[end].unique(maintain_order=True).to_list() for end in ("first", "second")}

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
            .properties(width=15 * len(names["second"]), height=15 * len(names["first"]))
        )

    grids = [grid(panel) for panel in panels]
    return alt.ConcatChart(concat=grids, columns=3, title=title, description=description)


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
    y = alt.Y("layer:O", title="layer", scale=alt.Scale(domain=list(range(n_layers))[::-1]))
    base = alt.Chart(rows, width=max(200, 46 * n_heads), height=max(80, 34 * n_layers)).encode(
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
    return alt.LayerChart(layer=[cells, numbers, *_silent(rows, n_layers, y)])


def _silent(rows: pl.DataFrame, n_layers: int, y: alt.Y) -> list[alt.Chart]:
    """Words in the rows of layers that have no heads."""
    layers = [layer for layer in range(n_layers) if layer not in set(rows["layer"])]
    if not layers:
        return []
    words = alt.Chart(pl.DataFrame({"layer": layers}).with_columns(says=pl.lit("no attention")))
    return [words.mark_text(fontSize=11).encode(y=y, text="says:N")]


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
        shown=pl.Series(["" if value is None else f"{value:.3g}" for value in rows["estimate"]]),
    )
    numbers = ("estimate", "lower", "upper", "control", "threshold")
    base = alt.Chart(rows, width=max(160, 110 * n_models), height=20 * n_claims).encode(
        x=alt.X("model:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, orient="top")),
        y=alt.Y("claim:N", title=None, sort=None, axis=alt.Axis(labelLimit=280)),
        tooltip=[
            *("statement:N", "model:N", "verdict:N", "chapter:N"),
            *(alt.Tooltip(f"{name}:Q", format=".3f") for name in numbers),
        ],
    )
    cells = base.mark_rect(stroke="white", strokeWidth=1.5).encode(color=VERDICT_COLOR)
    texts = base.mark_text(fontSize=11).encode(text="shown:N", color=alt.value("white"))
    return alt.LayerChart(layer=[cells, texts], title=title, description=description)


def share_map(
    rows: pl.DataFrame, names: tuple[str, str], title: str, description: str
) -> alt.LayerChart:
    """Shares of questions answered as coloured cells.

    Args:
        rows: Columns `across`, `down`, `accuracy`, `lower`, `upper` and `n`.
        names: Titles of the axes, across and down.
        title: The finding.
        description: The caption.

    Returns:
        A cell for each, in the order of the rows, with its number.
    """
    n_across, n_down = rows["across"].n_unique(), rows["down"].n_unique()
    base = alt.Chart(rows, width=max(240, 72 * n_across), height=max(80, 30 * n_down)).encode(
        x=alt.X("across:N", title=names[0], sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("down:N", title=names[1], sort=None),
        tooltip=[
            alt.Tooltip("across:N", title=names[0]),
            alt.Tooltip("down:N", title=names[1]),
            *ACCURACY,
        ],
    )
    cells = base.mark_rect(stroke=GREY, strokeWidth=0.3).encode(
        color=alt.Color("accuracy:Q", title="share answered", scale=HEAT)
    )
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("accuracy:Q", format=".2f"),
        color=alt.condition("datum.accuracy > 0.62", alt.value("white"), alt.value("#333")),
    )
    return alt.LayerChart(layer=[cells, numbers], title=title, description=description)
