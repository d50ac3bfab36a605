"""Colours, scales and tooltips that all charts share."""

import altair as alt

alt.data_transformers.disable_max_rows()

SHARE = alt.Scale(domain=[0, 1])
"""Every axis of shares of attention."""

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

VERDICTS = {"supported": "#2f7d4f", "undecided": "#b8860b", "not supported": "#b23a48"}

INTERVAL = (
    alt.Tooltip("value:Q", format=".3f"),
    alt.Tooltip("lower:Q", format=".3f", title="95 % from"),
    alt.Tooltip("upper:Q", format=".3f", title="to"),
    alt.Tooltip("chance:Q", format=".3f"),
    alt.Tooltip("n:Q", title="sequences"),
)
"""Tooltip of an aggregate row."""


def data_color(kinds: list[str]) -> alt.Color:
    """Colour by data set, with a legend in the order of `kinds`."""
    scale = alt.Scale(domain=kinds, range=[COLORS[kind] for kind in kinds])
    return alt.Color("data:N", title=None, scale=scale)
