"""The induction circuit: what its parts do to each other, and where its heads look."""

import altair as alt
import polars as pl

from .theme import BLUE, GREY, INTERVAL, ORANGE, SHARE

_ROLES = {
    "previous-token head": BLUE,
    "the induction head": BLUE,
    "all of them": BLUE,
    "one induction head": "#7a5ba6",
    "other heads of its layer": GREY,
    "as many other heads": GREY,
    "the same, second copy shuffled": ORANGE,
}
"""What is claimed, and its controls, from top to bottom."""
_PLACES = (BLUE, "#7a5ba6", "#b98a3c", ORANGE, GREY)
_DIVERGING = ["#c0653a", "#f7f7f7", "#3b6ea8"]


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
        0 is no effect.
    """
    present = set(rows["role"])
    roles = [role for role in _ROLES if role in present]
    scale = alt.Scale(domain=roles, range=[_ROLES[role] for role in roles])
    farthest = _farthest(rows)
    x = alt.X("value:Q", title=names[0], scale=alt.Scale(domain=[-farthest, farthest]))
    base = alt.Chart(rows, height=alt.Step(16)).encode(
        y=alt.Y("group:N", title=names[1], sort=None),
        yOffset=alt.YOffset("role:N", sort=roles),
        color=alt.Color("role:N", title=None, scale=scale),
    )
    tooltip = ["name:N", "group:N", "role:N", *_EFFECT]
    nothing = alt.Chart(pl.DataFrame({"x": [0.0]})).mark_rule(color=GREY).encode(x="x:Q")
    rule = base.mark_rule(opacity=0.6).encode(x=alt.X("lower:Q", title=names[0]), x2="upper:Q")
    point = base.mark_circle(size=45, opacity=0.9).encode(x=x, tooltip=tooltip)
    return alt.LayerChart(
        layer=[nothing, rule, point], width=460, title=title, description=description
    )


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
    farthest = _farthest(rows)
    scale = alt.Scale(domain=[-farthest, 0, farthest], range=_DIVERGING)
    n_heads, n_layers = rows["head"].n_unique(), rows["layer"].n_unique()

    def grid(into: str) -> alt.LayerChart:
        width, height = max(120, 28 * n_heads), max(50, 28 * n_layers)
        base = alt.Chart(rows.filter(into=into), width=width, height=height).encode(
            x=alt.X("head:O", title="sender's head", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:O", title="sender's layer", sort="descending"),
            tooltip=["name:N", "into:N", "role:N", *_EFFECT],
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
        return alt.LayerChart(layer=[cells, numbers, frame], title=into)

    inputs = rows["into"].unique(maintain_order=True).to_list()
    return alt.HConcatChart(
        hconcat=[grid(into) for into in inputs], title=title, description=description
    )


def composition_strip(rows: pl.DataFrame, title: str, description: str) -> alt.LayerChart:
    """Compositions of all pairs of heads, those of the circuit marked.

    Args:
        rows: Columns `kind`, `pair`, `value`, `z`, `rank`, `n`, `circuit` and `strongest`.
        title: The finding.
        description: The caption.

    Returns:
        A strip for each kind, in standard deviations above its mean.
    """
    y = alt.Y("kind:N", title=None, sort=None)
    tooltip = [
        "pair:N",
        alt.Tooltip("value:Q", title="composition", format=".3f"),
        alt.Tooltip("z:Q", format=".2f"),
        "rank:Q",
        alt.Tooltip("n:Q", title="pairs"),
    ]
    x = alt.X("z:Q", title="standard deviations above the mean of all pairs")
    base = alt.Chart(rows, width=520, height=alt.Step(52)).encode(x=x, y=y, tooltip=tooltip)
    ticks = base.mark_tick(color=GREY, opacity=0.4, size=14)
    ours = base.transform_filter("datum.circuit")
    points = ours.mark_circle(color=BLUE, size=60, opacity=1)
    strongest = base.transform_filter("datum.strongest")
    labels = strongest.mark_text(dy=-15, fontSize=10).encode(text="pair:N")
    return alt.LayerChart(layer=[ticks, points, labels], title=title, description=description)


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


_EFFECT = tuple(tooltip for tooltip in INTERVAL if tooltip.shorthand != "chance:Q")


def _farthest(rows: pl.DataFrame) -> float:
    """The end of a domain that is symmetric around no effect."""
    ends = rows.select(pl.max_horizontal(pl.col("value", "lower", "upper").abs()).max()).item()
    return 1.05 * max(ends or 0.0, 1e-9)
