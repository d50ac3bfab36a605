"""polars frames as HTML tables: every row, sortable, numbers shown short and kept whole.

A column `x_link` is not shown: it holds the targets (one text or a list of texts, see
`links.link_to`) of the links that column `x` shows; without a column `x` the links stand alone
under that name.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import polars as pl

from .links import Link, link_to
from .markdown import without_minus_zero

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .page import Page

PAGE_ROWS = 100
"""Rows that a long table shows at a time; all of them are there to page and sort through."""

LONG_ROWS = 200
"""Tables of more rows than this are paged."""

TALL_ROWS = 25
"""Tables of more rows than this scroll in a frame, their head in sight."""

MANY_COLUMNS = 7
"""Tables of as many columns have them closer together."""

_NUMBERS = re.compile(r"[-+\d.%]+ (?:to|\()[-+\d.%() to]+")
"""An interval, as views write it."""

_WIDE_TEXT, _SHORT_TEXT = 40, 24
_SUFFIX = "_link"


@dataclass(frozen=True, kw_only=True)
class _Column:
    name: str
    numeric: bool
    texts: list[str]
    keys: list[float | int | None] | None
    links: list[tuple[Link, ...]] | None

    def cell(self, row: int) -> str:
        key = self.keys[row] if self.keys is not None else None
        exact = f' data-key="{key}" title="{key}"' if key is not None else ""
        return f"<td{self.align}{exact}>{self._content(row)}</td>"

    def _content(self, row: int) -> str:
        if self.links is not None and self.links[row]:
            return ", ".join(
                f'<a href="{escape(link.href)}">{escape(link.text)}</a>' for link in self.links[row]
            )
        return escape(self.texts[row])

    @property
    def align(self) -> str:
        if self.numeric:
            return ' class="hb-n"'
        longest = max(map(len, self.texts), default=0)
        if longest > _WIDE_TEXT:
            return ' class="hb-wide"'
        return ' class="hb-short"' if longest <= _SHORT_TEXT else ""


def table_html(frame: pl.DataFrame, page: Page) -> str:
    """A sortable table of all rows of a frame.

    Args:
        frame: What to show; columns that marimo added for itself are left out.
        page: Keeps the rows of a long table and the runs that cells link to.

    Returns:
        The table; a long one shows its first rows until the page's script takes over.

    Raises:
        BookError: A `_link` column holds something that is no target.
    """
    columns = [_column(frame, name) for name in _shown(frame)]
    page.runs.update(
        link.run for column in columns for row in column.links or () for link in row if link.run
    )
    heads = "".join(
        f'<th scope="col"{column.align}><button type="button">{escape(column.name)}</button></th>'
        for column in columns
    )
    long = frame.height > LONG_ROWS
    rows = "".join(
        "<tr>" + "".join(column.cell(row) for column in columns) + "</tr>"
        for row in range(PAGE_ROWS if long else frame.height)
    )
    tall = " hb-tall" if frame.height > TALL_ROWS else ""
    dense = " hb-dense" if len(columns) >= MANY_COLUMNS else ""
    kept = f' data-rows="{page.table(_rows(columns, frame.height))}"' if long else ""
    pager = (
        f'<div class="hb-pager"><span>rows 1–{PAGE_ROWS} of {frame.height:,}</span></div>'
        if long
        else ""
    )
    empty = '<p class="hb-note">no rows</p>' if not frame.height else ""
    return (
        f'<div class="hb-table{tall}{dense} mathjax_ignore"{kept}>'
        '<div class="hb-scroll" tabindex="0"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{pager}{empty}</div>"
    )


def _shown(frame: pl.DataFrame) -> Iterable[str]:
    for name in frame.columns:
        if name.startswith("_marimo"):
            continue
        if not name.endswith(_SUFFIX):
            yield name
        elif name.removesuffix(_SUFFIX) not in frame.columns:
            yield name.removesuffix(_SUFFIX)


def _column(frame: pl.DataFrame, name: str) -> _Column:
    targets = name + _SUFFIX
    labels = frame[name].to_list() if name in frame.columns else None
    links = None
    if targets in frame.columns:
        shown = labels or [None] * frame.height
        links = [
            _links(value, label)
            for value, label in zip(frame[targets].to_list(), shown, strict=True)
        ]
    values: list[Any] = labels if labels is not None else [""] * frame.height
    numeric = labels is not None and frame.schema[name].is_numeric()
    floats = labels is not None and frame.schema[name].is_float()
    return _Column(
        name=name,
        numeric=numeric,
        texts=[value_text(value) for value in values],
        keys=[_finite(value) for value in values] if floats else None,
        links=links,
    )


def _links(value: Any, label: Any) -> tuple[Link, ...]:
    targets = [value] if isinstance(value, str) else list(value or ())
    links = [link_to(str(target)) for target in targets]
    if len(links) == 1 and label is not None:
        return (Link(value_text(label), links[0].href, links[0].run),)
    return tuple(links)


def _finite(value: Any) -> float | None:
    return float(f"{value:.9g}") + 0.0 if value is not None and math.isfinite(value) else None


def value_text(value: Any) -> str:
    """A value as a table shows it: floats with four digits, nothing as an en dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value + 0.0:.4g}"  # of two zeros the one without a sign
    if isinstance(value, (list, tuple, pl.Series)):
        return ", ".join(value_text(item) for item in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, default=str)
    text = str(value)
    return without_minus_zero(text) if _NUMBERS.fullmatch(text) else text


def _rows(columns: list[_Column], height: int) -> dict[str, Any]:
    return {
        "height": height,
        "columns": [
            {
                "numeric": column.numeric,
                "texts": column.texts,
                "keys": column.keys,
                "links": column.links
                and [[[link.text, link.href] for link in row] for row in column.links],
            }
            for column in columns
        ],
    }
