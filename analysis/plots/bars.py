"""Bars and strips: one mark a head, a place, a verdict."""

import altair as alt
import polars as pl

from .theme import (
    BLUE,
    GREY,
    INTERVAL,
    MEASURED,
    ORANGE,
    SHARE,
    VERDICT_COLOR,
    VERDICTS,
    in_order,
    symmetric_end,
)

_ROLES = {
    "previous-token head": BLUE,
    "the induction head": BLUE,
    "all of them": BLUE,
    "one induction head": "#7a5ba6",
    "other heads of its layer": GREY,
    "as many other heads": GREY,
    "the same, second copy shuffled": ORANGE,
    "resample": BLUE,
    "mean": ORANGE,
}
"""What is claimed, and its controls, from top to bottom."""
_DRAWN, _OUTLIERS, _STEP = 1_500, 60, 0.25
"""Pairs that are all drawn; of more, how many of each kind, and the standard deviations of a step
in which the others are counted."""
_GROUPS = 30
"""Rows of a strip, at most."""
_PLACES = (BLUE, "#7a5ba6", "#b98a3c", ORANGE, GREY)


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


def ablation_strip(
    rows: pl.DataFrame, names: tuple[str, str], title: str, description: str
) -> alt.LayerChart:
    """Effects of single conditions in groups: what is claimed beside its controls.

    Args:
        rows: Columns `group`, `name` (what is ablated), `role`, `value`, `lower`, `upper`, `n`.
        names: Titles of the effect and of the groups.
        title: The finding.
        description: The caption.

    Returns:
        A row for each group and a point with its interval for each condition, coloured by role;
        0 is no effect. Of many groups the first ones, and the caption says so.
    """
    groups = in_order(rows, "group")
    if len(groups) > _GROUPS:
        rows = rows.filter(pl.col("group").is_in(groups[:_GROUPS]))
        description += f" Drawn are the first {_GROUPS} of {len(groups)}."
    present = set(rows["role"])
    roles = [role for role in _ROLES if role in present]
    scale = alt.Scale(domain=roles, range=[_ROLES[role] for role in roles])
    farthest = symmetric_end(rows)
    x = alt.X("value:Q", title=names[0], scale=alt.Scale(domain=[-farthest, farthest]))
    base = alt.Chart(rows, height=alt.Step(16)).encode(
        y=alt.Y("group:N", title=names[1], sort=None),
        yOffset=alt.YOffset("role:N", sort=roles),
        color=alt.Color("role:N", title=None, scale=scale),
    )
    tooltip = ["name:N", "group:N", "role:N", *MEASURED]
    nothing = alt.Chart(pl.DataFrame({"x": [0.0]})).mark_rule(color=GREY).encode(x="x:Q")
    rule = base.mark_rule(opacity=0.6).encode(x=alt.X("lower:Q", title=names[0]), x2="upper:Q")
    point = base.mark_circle(size=45, opacity=0.9).encode(x=x, tooltip=tooltip)
    return alt.LayerChart(
        layer=[nothing, rule, point], width=460, title=title, description=description
    )


def composition_strip(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Compositions of all pairs of heads, those of the circuit marked.

    Args:
        rows: Columns `kind`, `pair`, `value`, `z`, `rank`, `n`, `circuit` and `strongest`.
        title: The finding.
        description: The caption.

    Returns:
        A strip for each kind, in standard deviations above its mean; of more pairs than can be told
        apart, their number in each step of it, and a tick for those that lie farthest out.
    """
    counted, drawn = _counted(rows)
    y = alt.Y("kind:N", title=None, sort=None)
    tooltip = [
        "pair:N",
        alt.Tooltip("value:Q", title="composition", format=".3f"),
        alt.Tooltip("z:Q", format=".2f"),
        "rank:Q",
        alt.Tooltip("n:Q", title="pairs"),
    ]
    x = alt.X("z:Q", title="standard deviations above the mean of all pairs")
    base = alt.Chart(drawn, width=520, height=alt.Step(52)).encode(x=x, y=y, tooltip=tooltip)
    ticks = base.mark_tick(color=GREY, opacity=0.4, size=14)
    ours = base.transform_filter("datum.circuit")
    points = ours.mark_circle(color=BLUE, size=60, opacity=1)
    strongest = base.transform_filter("datum.strongest")
    labels = strongest.mark_text(dy=-15, fontSize=10).encode(text="pair:N")
    every = [] if counted.is_empty() else [_steps(counted, x, y)]
    layers = [*every, ticks, points, labels]
    return alt.LayerChart(layer=layers, title=title, description=description)


def _counted(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """How many pairs of each kind lie in a step, and the pairs that are drawn themselves."""
    low = (pl.col("z") / _STEP).floor() * _STEP
    counted = rows.drop_nulls("z").group_by("kind", low=low).agg(pl.len().alias("pairs"))
    if rows.height <= _DRAWN:
        return counted.clear(), rows
    far = pl.col("z").abs().rank("ordinal", descending=True).over("kind") <= _OUTLIERS
    drawn = rows.filter(far | pl.col("circuit"))
    return counted.sort("kind", "low").with_columns(high=pl.col("low") + _STEP), drawn


def _steps(counted: pl.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    """The number of pairs in each step, as a shade."""
    shade = alt.Color("pairs:Q", title="pairs", scale=alt.Scale(type="log", scheme="greys"))
    across = x.copy()
    across.shorthand = "low:Q"
    tooltip = ["kind:N", alt.Tooltip("low:Q", title="z from"), "high:Q", "pairs:Q"]
    cells = alt.Chart(counted).mark_rect(height=20)
    return cells.encode(x=across, x2="high:Q", y=y, color=shade, tooltip=tooltip)


def place_bars(rows: pl.DataFrame, title: str, description: str) -> alt.Chart:
    """Where heads look from the second copy: shares that add up to 1.

    Args:
        rows: Columns `name`, `data`, `place`, `order`, `value`, `lower`, `upper`, `n`, `chance`.
        title: The finding.
        description: The caption.

    Returns:
        A stacked bar for each head and data set.
    """
    places = rows.sort("order")["place"].unique(maintain_order=True).to_list()
    scale = alt.Scale(domain=places, range=list(_PLACES[: len(places)]))
    bars = alt.Chart(rows, width=440, height=alt.Step(22)).mark_bar()
    return bars.encode(
        x=alt.X("value:Q", title="mean attention", stack="zero", scale=SHARE),
        y=alt.Y("name:N", title=None, sort=None),
        yOffset=alt.YOffset("data:N", sort=["repeated", "shuffled"]),
        opacity=alt.Opacity(
            "data:O",
            title=None,
            scale=alt.Scale(domain=["repeated", "shuffled"], range=[1, 0.45]),
        ),
        color=alt.Color("place:N", title=None, scale=scale),
        order=alt.Order("order:Q"),
        tooltip=["name:N", "data:N", "place:N", *INTERVAL],
    ).properties(title=title, description=description)
