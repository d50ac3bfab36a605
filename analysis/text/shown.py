"""Tokens as HTML: chips of a prompt, and what rose and fell. Tokens are data: all is escaped."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

import polars as pl

_SPACES = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}
_HIDDEN = ("C", "Z")
"""Unicode categories that would not be seen, or would turn the text around them."""
_BOX = (
    "display:inline-block;border-radius:.2em;margin:.1em;padding:0 .3em;text-align:center;"
    "max-width:12rem;overflow-wrap:break-word;"
)
_BLUE, _YELLOW, _GREY = "#3b6ea873", "#e3b3414d", "#8080802e"
_GREEN, _RED = "#2ea04347", "#da363347"
"""Colours are laid over whatever background the page has, so that light and dark both work."""


def visible_text(token: str) -> str:
    """A token with spaces, newlines and invisible characters made visible; not escaped."""
    return "".join(map(_seen, token))


def visible(token: str) -> str:
    """The same as HTML, where a token shows as text whatever it says."""
    return escape(visible_text(token))


def _seen(character: str) -> str:
    if character in _SPACES:
        return _SPACES[character]
    hidden = unicodedata.category(character).startswith(_HIDDEN)
    return f"U+{ord(character):04X}" if hidden else character


def chips(tokens: Sequence[str], t: int) -> str:
    """A prompt as a row of chips.

    Args:
        tokens: In order.
        t: The position that predicts: blue, the one before it yellow, the others grey.

    Returns:
        HTML without anything that runs or loads.
    """
    colors = {t: _BLUE, t - 1: _YELLOW}
    spans = [_box(visible(token), colors.get(i, _GREY)) for i, token in enumerate(tokens)]
    return f'<div style="line-height:2">{"".join(spans)}</div>'


def token_table(rows: pl.DataFrame, top_k: int) -> str:
    """What every condition predicts, and the tokens that it moved most.

    Args:
        rows: Rows of `predictions` at one place.
        top_k: How many risers, and how many fallers, are shown.

    Returns:
        HTML: a row a condition, green cells above red ones, the change of the logit below each.
    """
    body = "".join(
        _row(str(condition), found, top_k)
        for (condition,), found in rows.group_by("condition", maintain_order=True)
    )
    titles = ("condition", "predicts", "baseline's token", "rose and fell most")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(condition: str, rows: pl.DataFrame, top_k: int) -> str:
    top, base = (
        rows.row(by_predicate=pl.col("kind") == k, named=True) for k in ("top", "base_top")
    )
    lines: list[str] = []
    for kind, color in (("riser", _GREEN), ("faller", _RED)):
        moved = rows.filter(kind=kind).sort("rank").head(top_k)
        pairs = moved.select("token", "change").iter_rows()
        cells = [_moved(token, change, color) for token, change in pairs]
        lines.append(f"<div>{''.join(cells) or '–'}</div>")
    alone = base["baseline"] == condition
    change = "–" if alone else _moved(base["token"], base["change"], _GREY)
    cells = (escape(condition), _box(visible(top["token"]), _GREY), change)
    columns = (*cells, "–" if alone else "".join(lines))
    cells = "".join(f"<td>{column}</td>" for column in columns)
    return f'<tr style="vertical-align:top">{cells}</tr>'


def _moved(token: str, change: float, color: str) -> str:
    number = f"{change:+.2f}".replace("-", "−")
    return _box(f"{visible(token)}<br><small>{number}</small>", color)


def _box(html: str, color: str) -> str:
    return f'<span style="{_BOX}background:{color}">{html}</span>'
