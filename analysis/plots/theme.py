"""Colours, scales and tooltips that all charts share."""

import altair as alt
import polars as pl

alt.data_transformers.disable_max_rows()

SHARE = alt.Scale(domain=[0, 1], clamp=True)
"""Every axis of shares of attention; a wide interval of few sequences ends where the axis does."""

COLUMN, TALL = 560, 640
"""Pixels between axis and legend that a page has room for, across and down."""

MARKS = 5_000
"""So many marks a chart may have; more are slow to draw, and no reader tells them apart."""

_ALL_NAMED, _NAMED = 40, 12
"""So many points all have their name beside them; of more, those that stand out."""

BLUE, ORANGE, GREY = "#3b6ea8", "#d2762b", "#8c8c8c"
COLORS = {
    "text": BLUE,
    "repeated": BLUE,
    "text after BOS": BLUE,
    "text without BOS": "#7a5ba6",
    "random after BOS": ORANGE,
    "random without BOS": "#b98a3c",
    "random": ORANGE,
    "shuffled": ORANGE,
}
"""One colour a role: what is measured, a variant, its control."""

VERDICTS = {
    "supported": "#2f7d4f",
    "undecided": "#b8860b",
    "refuted": "#b23a48",
    "not shown": "#8a6d5b",
    "not testable": "#6f6f6f",
}
VERDICT_SCALE = alt.Scale(domain=list(VERDICTS), range=list(VERDICTS.values()))
VERDICT_COLOR = alt.Color(
    "verdict:N", title=None, scale=VERDICT_SCALE, legend=alt.Legend(orient="top")
)
"""Of charts whose legend has no room beside them."""


def _told(value: str, form: str, counted: str) -> tuple[alt.Tooltip, ...]:
    """Tooltip of a number with its interval, and of how much of what it rests on."""
    return (
        alt.Tooltip(f"{value}:Q", format=form),
        alt.Tooltip("lower:Q", format=form, title="95 % from"),
        alt.Tooltip("upper:Q", format=form, title="to"),
        alt.Tooltip("n:Q", title=counted),
    )


MEASURED = _told("value", ".3f", "sequences")
"""Tooltip of what has no chance level."""
INTERVAL = (*MEASURED[:3], alt.Tooltip("chance:Q", format=".3f"), MEASURED[3])
"""Tooltip of an aggregate row."""
EFFECT = _told("value", ".4f", "sequences")
"""Tooltip of an effect, of which a hundredth can matter."""
ACCURACY = _told("accuracy", ".3f", "n")
"""Tooltip of a share of questions."""

MODEL_COLORS = (BLUE, ORANGE, "#3f8f6b", "#7a5ba6", "#b98a3c", "#b34757", "#3f93a3")
"""Of the models, in order; more of them than these begin again."""


def data_color(kinds: list[str]) -> alt.Color:
    """Colour by data set, with a legend in the order of `kinds`."""
    scale = alt.Scale(domain=kinds, range=[COLORS[kind] for kind in kinds])
    legend = alt.Legend(symbolOpacity=1)
    return alt.Color("data:N", title=None, scale=scale, legend=legend)


def layered(
    layers: list[alt.Chart], size: tuple[int, int], title: str, description: str
) -> alt.LayerChart:
    """Charts one over the other, of a width and a height."""
    return alt.LayerChart(
        layer=layers, width=size[0], height=size[1], title=title, description=description
    )


def step(count: int, most: int, room: int = COLUMN) -> float:
    """Pixels of each of so many rows or columns: no more than some, and all within some room."""
    return float(min(most, room / max(count, 1)))


def labelled(rows: pl.DataFrame, size: pl.Expr) -> pl.DataFrame:
    """Rows with `labelled`: whether a point's name is written beside it.

    Args:
        rows: A row a point.
        size: What makes a point worth a name, where there is no room for all.
    """
    few = rows.height <= _ALL_NAMED
    worth = pl.lit(value=True) if few else size.rank("ordinal", descending=True) <= _NAMED
    return rows.with_columns(labelled=worth)


def in_order(rows: pl.DataFrame, column: str) -> list[str]:
    """Different values, as they first appear."""
    return rows[column].unique(maintain_order=True).to_list()


def symmetric_end(rows: pl.DataFrame) -> float:
    """The end of a domain that is symmetric around no effect."""
    ends = rows.select(pl.max_horizontal(pl.col("value", "lower", "upper").abs()).max()).item()
    return 1.05 * max(ends or 0.0, 1e-9)


DECADES = alt.Axis(values=[10.0**place for place in range(-6, 1)], format="~g")
"""Of mean importances on a logarithmic axis."""


HEAT = alt.Scale(domain=[0, 1], scheme="blues")
"""Of cells that hold a share of attention."""


def model_color(names: list[str]) -> alt.Color:
    """Colour by model, in the order of `names`."""
    shades = [MODEL_COLORS[i % len(MODEL_COLORS)] for i in range(len(names))]
    scale = alt.Scale(domain=names, range=shades)
    return alt.Color("model:N", title=None, scale=scale, legend=None)
