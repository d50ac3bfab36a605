"""What ablations do, one kind beside another, and top heads beside random ones."""

import altair as alt
import polars as pl

from .theme import BLUE, GREY, ORANGE

_EFFECT = (
    alt.Tooltip("value:Q", format=".4f"),
    alt.Tooltip("lower:Q", format=".4f", title="95 % from"),
    alt.Tooltip("upper:Q", format=".4f", title="to"),
    alt.Tooltip("n:Q", title="sequences"),
)
FAMILIES = {"top": BLUE, "random": GREY, "layer_matched": ORANGE}


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
        tooltip=["name:N", "kind:N", *_EFFECT],
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
        tooltip=["kind:N", "other:N", *_EFFECT[:3]],
    )
    scale = alt.Scale(domain=[-1, 0, 1], range=["#c0653a", "#f7f7f7", "#3b6ea8"])
    cells = base.mark_rect().encode(color=alt.Color("value:Q", title="Spearman", scale=scale))
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.condition("datum.value > 0.6", alt.value("white"), alt.value("#333")),
    )
    return alt.LayerChart(layer=[cells, numbers], title=title, description=description)


def effect_against_effect(
    rows: pl.DataFrame, names: tuple[str, str], title: str, description: str
) -> alt.LayerChart:
    """Every head's effect by one measure against another.

    Args:
        rows: Columns `name`, `value`, `lower`, `upper`, `other`, `other_lower`, `other_upper`.
        names: What `other` (to the right) and `value` (upward) are, with their unit.
        title: The finding.
        description: The caption.

    Returns:
        A point a head with both intervals; on the dashed line both are equal.
    """
    across, up = names
    x, y = alt.X("other:Q", title=across), alt.Y("value:Q", title=up)
    base = alt.Chart(rows)
    columns = ("value", "lower", "upper", "other", "other_lower", "other_upper")
    tooltip = ["name:N", *(alt.Tooltip(f"{column}:Q", format=".4f") for column in columns)]
    upright = base.mark_rule(color=BLUE, opacity=0.5).encode(
        x=x, y=alt.Y("lower:Q", title=up), y2="upper:Q"
    )
    level = base.mark_rule(color=ORANGE, opacity=0.5).encode(
        y=y, x=alt.X("other_lower:Q", title=across), x2="other_upper:Q"
    )
    points = base.mark_circle(color=BLUE, size=40).encode(x=x, y=y, tooltip=tooltip)
    values = [*rows["value"].to_list(), *rows["other"].to_list()]
    ends = pl.DataFrame(
        {axis: [min(0.0, *values), max(0.0, *values)] for axis in ("other", "value")}
    )
    large = 0.3 * max(map(abs, values))
    labels = (
        base.transform_filter(f"max(abs(datum.value), abs(datum.other)) > {large}")
        .mark_text(align="left", dx=6, fontSize=10)
        .encode(x=x, y=y, text="name:N")
    )
    diagonal = alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 4]).encode(x=x, y=y)
    return alt.LayerChart(
        layer=[diagonal, upright, level, points, labels],
        width=380,
        height=300,
        title=title,
        description=description,
    )


def cumulative_curve(rows: pl.DataFrame, unit: str, title: str, description: str) -> alt.LayerChart:
    """Effect of ablating the top k heads together, against random sets of the same size.

    Args:
        rows: Columns `size`, `family` (`top`, `random`, `layer_matched`), `value`, `lower`,
            `upper` and `n`: for random families the mean and the 95 % band over draws.
        unit: What a value is, with its unit.
        title: The finding.
        description: The caption.

    Returns:
        Lines with bands; `n` counts sequences for the top heads and draws for the others.
    """
    families = [family for family in FAMILIES if family in rows["family"].to_list()]
    scale = alt.Scale(domain=families, range=[FAMILIES[family] for family in families])
    base = alt.Chart(rows, width=460, height=240).encode(
        x=alt.X("size:Q", title="heads ablated together", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("family:N", title=None, scale=scale),
        tooltip=["family:N", "size:Q", *_EFFECT[:3], alt.Tooltip("n:Q", title="n")],
    )
    band = base.mark_area(opacity=0.2).encode(y=alt.Y("lower:Q", title=""), y2="upper:Q")
    line = base.mark_line(point=True).encode(y=alt.Y("value:Q", title=unit))
    return alt.LayerChart(layer=[band, line], title=title, description=description)
