"""The report on the query components of a layer: their keys, those keys' values, and examples."""

from __future__ import annotations

from html import escape
from typing import Any

import polars as pl

from analysis.text.shown import visible, visible_text

from .pairs import ADDED, N_PARTNERS, N_SHOWN, N_VALUES, OFFSETS
from .views import Answer, most_important

N_TOLD = 2
"""Examples of each component that are shown."""
N_WORDS = 4
"""Tokens that a component fires on that are named."""
_ENDS = ("first_component", "second_component")
_CELL = "text-align:left;vertical-align:top;padding:.3rem .6rem;font-size:.85em"


def partners(part: Answer) -> pl.DataFrame:
    """The keys that raise, and those that lower, the scores of each shown query component most.

    Args:
        part: What `of_layer` gives.

    Returns:
        Columns `query`, `does` (raises or lowers), `key`, `offset` where it does most, `value`,
        the sum over heads, `head`, the head with most of it, and `phi`, how far both fire together
        at that offset where that was counted.
    """
    layer = part["components"]["layer"][0]
    queries = most_important(part["components"], f"L{layer} q", N_SHOWN)
    near = pl.col("lag").is_in(OFFSETS) & pl.col("first_component").is_in(queries)
    rows = part["component_pairs"].filter(near, measure=ADDED)
    total = rows.filter(pl.col("head").is_null())
    frames: list[pl.DataFrame] = []
    for does, sign in (("raises", 1), ("lowers", -1)):
        signed = total.with_columns(does=pl.lit(does), size=sign * pl.col("value"))
        order = signed.filter(pl.col("size") > 0).sort(
            "size", "second_component", descending=[True, False]
        )
        best = order.unique(_ENDS, keep="first", maintain_order=True)
        frames.append(best.group_by("first_component", maintain_order=True).head(N_PARTNERS))
    at = (*_ENDS, "lag")
    heads = rows.filter(pl.col("head").is_not_null()).sort(pl.col("value").abs(), descending=True)
    most = heads.unique(at, keep="first").select(*at, most="head")
    phi = part["component_pairs"].filter(first="q", measure="phi").select(*at, phi="value")
    found = pl.concat(frames).join(most, on=at, how="left").join(phi, on=at, how="left")
    places = {query: place for place, query in enumerate(queries)}
    place = pl.col("first_component").replace_strict(places, default=None)
    named = found.sort(place, "does", "size", descending=[False, True, True])
    columns = {"query": "first_name", "key": "second_name", "offset": "lag", "head": "most"}
    kept = {name: pl.col(column) for name, column in columns.items()}
    return named.select("does", "value", "phi", **kept)


def value_partners(part: Answer) -> pl.DataFrame:
    """The value components that fire most at the same token as a key component.

    Args:
        part: What `of_layer` gives.

    Returns:
        Columns `key`, `value` (the component's name) and `phi`, the largest first.
    """
    rows = part["component_pairs"].filter(pl.col("value") > 0, first="k", measure="phi", lag=0)
    order = rows.sort("value", "second_component", descending=[True, False])
    best = order.group_by("first_name", maintain_order=True).head(N_VALUES)
    return best.select(key="first_name", phi="value", value="second_name")


def fires_on(part: Answer) -> dict[str, str]:
    """By component, the tokens that it fires on more than chance."""
    rows = _tokens(part).filter(pl.col("rank") <= N_WORDS, kind="input").sort("name", "rank")
    words = rows.with_columns(pl.col("token").map_elements(visible_text, pl.String))
    joined = words.group_by("name", maintain_order=True).agg(pl.col("token").str.join(", "))
    return dict(joined.iter_rows())


def report(part: Answer) -> pl.DataFrame:
    """Every shown query component with its key partners, and what those keys come with.

    Args:
        part: What `of_layer` gives.

    Returns:
        A row for each pair, with the tokens that its components fire on.
    """
    words = fires_on(part)
    phi = pl.col("phi").round(2)
    values = value_partners(part).with_columns(told=pl.format("{} ({})", "value", phi))
    by_key = values.group_by("key", maintain_order=True).agg(pl.col("told").str.join(", "))
    rows = partners(part).join(by_key, on="key", how="left", maintain_order="left")
    named = {name: f"{name}: {on}" for name, on in words.items()}
    return rows.select(
        pl.col("query").replace(named),
        "does",
        pl.col("key").replace(named),
        "offset",
        pl.col("value").round_sig_figs(2).alias("adds"),
        pl.col("head").alias("mostly to"),
        phi.alias("phi there"),
        pl.col("told").alias("values there (phi)"),
    )


def examples(part: Answer, rank: int) -> str:
    """Examples of a query component, its key partners and the values that come with those.

    Args:
        part: What `of_layer` gives.
        rank: Which query component, 0 for the most important.

    Returns:
        An HTML table without anything that runs or loads; each token that fires is marked.
    """
    layer = part["components"]["layer"][0]
    query = f"q{most_important(part['components'], f'L{layer} q', N_SHOWN)[rank]}"
    found = partners(part).filter(query=query)
    roles: dict[str, str] = {query: "query"}
    for does, key in found.select("does", "key").iter_rows():
        roles.setdefault(key, f"key that {does}")
    for key, value in value_partners(part).select("key", "value").iter_rows():
        if key in roles:
            roles.setdefault(value, f"value with {key}")
    rows = _tokens(part).filter(pl.col("rank") <= N_TOLD, kind="example").sort("rank")
    words = fires_on(part)
    body: list[str] = []
    for name, role in roles.items():
        shown = "".join(map(_example, rows.filter(name=name).iter_rows(named=True)))
        cells = (f"<b>{name}</b><br>{role}", escape(words.get(name, "")), shown)
        styled = (f'<td style="{_CELL}">{cell}</td>' for cell in cells)
        body.append(f"<tr>{''.join(styled)}</tr>")
    titles = ("component", "fires on", "examples, with the importance there")
    head = "".join(f'<th style="{_CELL}">{title}</th>' for title in titles)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _example(row: dict[str, Any]) -> str:
    before, after = (escape(row[side]).replace("\n", "↵") for side in ("before", "after"))
    text = f"{before}<mark>{visible(row['token'])}</mark>{after}"
    return f'<div style="margin-bottom:.4rem">{text} <small>({row["value"]:.2f})</small></div>'


def _tokens(part: Answer) -> pl.DataFrame:
    name = pl.format("{}{}", "projection", "component")
    return part["component_tokens"].with_columns(name=name)
