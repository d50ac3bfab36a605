"""Pairs of components of one layer arranged for a reader."""

from __future__ import annotations

from typing import Any

import polars as pl

from analysis.statistics.resampling import band_columns

from .pairs import ADDED, ADDED_BY_RANDOM, N_SHOWN, OFFSETS
from .views import Answer, most_important

N_LINES = 10
"""Pairs that are drawn along offsets."""
EVERY_HEAD = "all heads together"
"""What a reader chooses to see the sum over heads."""
PAIRS = {"queries and keys": ("q", "k"), "keys and values": ("k", "v")}
"""Whose firing is compared, in words."""


def paired_layers(answer: Answer) -> list[int]:
    """Layers in which components of queries, keys and values are paired."""
    if "component_pairs" not in answer:
        return []
    pairs = answer["component_pairs"]
    added_to, with_values = pairs.filter(measure=ADDED), pairs.filter(first="k")
    return sorted({*added_to["layer"]} & {*with_values["layer"]})


def n_heads(answer: Answer) -> int:
    """Query heads of a layer."""
    return (
        answer["component_scores"].filter(projection="q")["head"].str.extract(r"H(\d+)").n_unique()
    )


def n_queries(answer: Answer) -> int:
    """Query components that every paired layer shows."""
    found = (
        len(most_important(answer["components"], f"L{layer} q", N_SHOWN))
        for layer in paired_layers(answer)
    )
    return min(found, default=0)


def of_layer(answer: Answer, layer: int) -> dict[str, pl.DataFrame]:
    """The rows of one layer, and pairs of components by name."""
    rows = {name: frame.filter(layer=layer) for name, frame in answer.items() if "layer" in frame}
    pairs = rows["component_pairs"].with_columns(
        first_name=pl.format("{}{}", "first", "first_component"),
        second_name=pl.format("{}{}", "second", "second_component"),
        value=pl.col("value").round_sig_figs(4),
    )
    return {**rows, "component_pairs": pairs}


def added(part: Answer, head: str, measure: str) -> pl.DataFrame:
    """What pairs add to the score of a head (`H3`), or of all together, at every offset."""
    one = pl.col("head").str.ends_with(head)
    chosen = pl.col("head").is_null() if head == EVERY_HEAD else one
    return part["component_pairs"].filter(chosen, measure=measure)


def shown_pairs(part: Answer, rows: pl.DataFrame, first: str, second: str) -> pl.DataFrame:
    """Rows of pairs of the most important components of two weights of a layer.

    Args:
        part: What `of_layer` gives.
        rows: Of `component_pairs`.
        first: Letter of the first weight.
        second: Letter of the second weight.

    Returns:
        Columns `first`, `second` (names, the most important first), `lag` and `value`.
    """
    layer = part["components"]["layer"][0]
    frames = rows.filter(first=first, second=second)
    for letter, end in ((first, "first"), (second, "second")):
        order = most_important(part["components"], f"L{layer} {letter}", N_SHOWN)
        place = pl.DataFrame({f"{end}_component": order}).with_row_index(f"{end}_place")
        frames = frames.join(place.cast({f"{end}_component": pl.Int32}), on=f"{end}_component")
    names = {"first": pl.col("first_name"), "second": pl.col("second_name")}
    return frames.sort("first_place", "second_place", "lag").select("lag", "value", **names)


def over_offsets(rows: pl.DataFrame, offsets: tuple[int, ...]) -> pl.DataFrame:
    """Rows of shown pairs at some offsets, a panel for each."""
    found = rows.filter(pl.col("lag").is_in(offsets)).sort("lag", maintain_order=True)
    return found.with_columns(panel=pl.format("offset {}", "lag"))


def minus_offset_0(rows: pl.DataFrame, offset: int) -> pl.DataFrame:
    """What shown pairs add at an offset beyond what they add at 0."""
    ends = ("first", "second")
    start = rows.filter(lag=0).select(*ends, start="value")
    found = rows.filter(lag=offset).join(start, on=ends, maintain_order="left")
    return found.with_columns(
        panel=pl.format("offset {} minus 0", "lag"), value=pl.col("value") - pl.col("start")
    )


def fired_together(part: Answer, pairing: str, measure: str) -> pl.DataFrame:
    """How far shown components fire together, at the same token and one token apart.

    Args:
        part: What `of_layer` gives.
        pairing: One of `PAIRS`.
        measure: `phi`, `jaccard`, `p_key`, `p_query` or `count`.

    Returns:
        Rows as those of `shown_pairs`, with a `panel` for each distance.
    """
    first, second = PAIRS[pairing]
    rows = shown_pairs(part, part["component_pairs"].filter(measure=measure), first, second)
    panel = pl.when(pl.col("lag") == 0).then(pl.lit("at the same token"))
    return rows.with_columns(panel=panel.otherwise(pl.lit(f"{second} one token before {first}")))


def cosines(part: Answer) -> pl.DataFrame:
    """Whether shown key and value components read the same direction."""
    rows = shown_pairs(part, part["component_pairs"].filter(measure="cosine"), "k", "v")
    return rows.with_columns(panel=pl.lit("keys and values"))


def strongest_lines(part: Answer, head: str) -> pl.DataFrame:
    """What the strongest pairs add along offsets.

    Args:
        part: What `of_layer` gives.
        head: A head, as `H3`, or `EVERY_HEAD`.

    Returns:
        Columns `pair`, `lag` and `value`, pairs in order of their size over `OFFSETS`.
    """
    rows = added(part, head, ADDED).with_columns(pair=_pair())
    near = rows.filter(pl.col("lag").is_in(OFFSETS))
    sizes = near.group_by("pair").agg(size=pl.col("value").abs().sum())
    best = sizes.sort("size", "pair", descending=[True, False]).head(N_LINES)
    found = rows.join(best, on="pair").sort("size", "pair", "lag", descending=[True, False, False])
    return found.select("pair", "lag", "value")


def random_band(part: Answer, head: str) -> pl.DataFrame:
    """The middle 95 % of what random pairs add: columns `lag`, `lower`, `upper` and `n`."""
    rows = added(part, head, ADDED_BY_RANDOM).group_by("lag")
    return rows.agg(**band_columns("value"), n=pl.len()).sort("lag")


def heads_and_sum(part: Answer, offset: int) -> pl.DataFrame:
    """What the strongest pairs add to each head, beside their sum.

    Args:
        part: What `of_layer` gives.
        offset: Query position minus key position.

    Returns:
        Columns `pair`, `head`, `value` and `total`.
    """
    wanted = strongest_lines(part, EVERY_HEAD)["pair"].unique().to_list()
    rows = part["component_pairs"].filter(lag=offset, measure=ADDED).with_columns(pair=_pair())
    kept = rows.filter(pl.col("pair").is_in(wanted))
    total = kept.filter(pl.col("head").is_null()).select("pair", total="value")
    heads = kept.filter(pl.col("head").is_not_null()).join(total, on="pair")
    return heads.select("pair", "head", "value", "total").sort("pair", "head")


def _pair() -> pl.Expr:
    return pl.format("{} → {}", "first_name", "second_name")


def largest(rows: pl.DataFrame) -> dict[str, Any]:
    """The row whose `value` is farthest from 0."""
    return rows.sort(pl.col("value").abs(), maintain_order=True).row(-1, named=True)
