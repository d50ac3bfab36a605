"""Real objects of a notebook -> HTML that needs no kernel.

A value that has no static form is an error, never a hole; text is escaped, and of raw HTML only
plain elements pass, without scripts, handlers or anything that loads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, cast

import marimo as mo
import polars as pl
from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PageElement

from ._compat import chart_inside, kept_element, kept_object, label_of
from .charts import chart_html, chart_spec, is_chart
from .controls import choices, control_html, fixed_html, note_html
from .elements import HANDLERS
from .errors import BookError
from .markdown import inline_html, myst, source_of
from .sql_console import Console, console_html
from .tables import table_html, value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .page import Page

_TAGS = frozenset({
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl",
    "dt", "em", "figcaption", "figure", "h2", "h3", "h4", "h5", "hr", "i", "img", "ins", "kbd",
    "li", "mark", "ol", "p", "pre", "small", "span", "strong", "sub", "summary", "sup", "table",
    "tbody", "td", "th", "thead", "tr", "ul",
})  # fmt: skip
_VOID = frozenset({"br", "hr", "img"})
_ATTRIBUTES = frozenset({
    "class", "id", "title", "style", "href", "src", "alt", "role", "colspan", "rowspan", "scope",
    "lang", "dir", "width", "height", "open", "start", "aria-label",
})  # fmt: skip
_SCHEMES = ("http://", "https://", "mailto:", "#")
_INPUTS = (
    *(mo.ui.dropdown, mo.ui.radio, mo.ui.checkbox, mo.ui.switch, mo.ui.slider),
    *(mo.ui.range_slider, mo.ui.number, mo.ui.text, mo.ui.text_area, mo.ui.multiselect),
    *(mo.ui.date, mo.ui.datetime, mo.ui.date_range),
)
_COMPOSITES = (mo.ui.array, mo.ui.dictionary, mo.ui.batch)

_FOLDERS = re.compile(r"(?:^|(?<=,))\s*[~.]*/(?:[^,/]+/)*(?=[^,/])")
"""Folders of this machine, before the names of models or texts in a box."""

FIXED = "(fixed in this book; the notebook offers the choice)"


@dataclass
class Renderer:
    """Renders the outputs of one run of a notebook.

    `names` finds the variable of a control by the identity of the object; controls in `live`
    work on the page, with the choices of `menus` where these are fewer, the others are shown at
    their value; `notes` has the reason.
    """

    page: Page
    live: frozenset[str] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    names: Mapping[int, str] = field(default_factory=dict[int, str])
    menus: Mapping[str, object] = field(default_factory=dict[str, object])
    _depth: int = 0

    def html(self, value: object) -> str:
        """HTML of any value; MyST text inside it stands as markers of the page.

        Raises:
            BookError: The value has no static form.
        """
        if (source := source_of(value)) is not None:
            return self.page.text(self.markdown(source))
        if is_chart(value):
            return chart_html(chart_spec(value), self.page, inner=self._depth > 0)
        if isinstance(value, (pl.DataFrame, pl.Series)):
            return table_html(pl.DataFrame(value), self.page)
        if isinstance(value, Console):
            return console_html(value)
        if isinstance(value, (str, int, float)):
            return f"<span>{escape(value_text(value))}</span>"
        if isinstance(value, mo.Html):
            return self.clean(value.text)
        raise BookError(
            "a chart, a polars frame, text or a marimo element",
            f"a {type(value).__module__}.{type(value).__qualname__}",
            "end the cell with one of these (several: mo.vstack([...]))",
        )

    def markdown(self, source: str) -> str:
        """MyST source of a `mo.md`, its elements rendered."""
        return myst(source, self.page, lambda key: self.html(kept_object(key)))

    def inline_of(self, key: str) -> str:
        """HTML of a kept label: markdown as one line, anything else as itself."""
        value = kept_object(key)
        source = source_of(value)
        return self.html(value) if source is None else inline_html(source)

    def clean(self, html: str) -> str:
        """Plain HTML of marimo's markup."""
        return self.children(BeautifulSoup(html, "html.parser"))

    def children(self, parent: Tag) -> str:
        """Plain HTML of what is inside an element."""
        return "".join(
            self._node(child) for child in cast("Iterable[PageElement]", parent.contents)
        )

    def pane(self, parent: Tag) -> str:
        """Plain HTML of what a reader sees only after choosing to."""
        self._depth += 1
        try:
            return self.children(parent)
        finally:
            self._depth -= 1

    def _node(self, node: PageElement) -> str:
        if type(node) is NavigableString:
            return escape(str(node), quote=False)
        if not isinstance(node, Tag):
            return ""
        if node.name == "hb-object":
            return self.html(kept_object(str(node["data-key"])))
        if node.name == "marimo-ui-element":
            return self._element(node)
        if node.name in HANDLERS:
            return HANDLERS[node.name](node, self)
        if node.name not in _TAGS:
            remedy = "use a plain element, or mo.md for text that is data"
            raise BookError("HTML with a static form", f"<{node.name}>", remedy)
        return self._plain(node)

    def _plain(self, node: Tag) -> str:
        """An element that stands for itself."""
        attributes = "".join(
            self._attribute(name, text) for name, text in _classed(node.attrs).items()
        )
        opening = f"<{node.name}{attributes}>"
        if node.name in _VOID:
            return opening
        html = f"{opening}{self.children(node)}</{node.name}>"
        return self.page.late(html) if node.name == "table" else html

    def _attribute(self, name: str, value: Any) -> str:
        text = " ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)
        lower = text.strip().lower()
        loads = (name == "src" and not lower.startswith("data:image/")) or (
            name == "style" and ("url(" in lower or "expression(" in lower)
        )
        script = name.startswith("on") or (
            name == "href" and ":" in lower and not lower.startswith(_SCHEMES)
        )
        if loads or script:
            remedy = "keep images as data, links as http(s), and no scripts"
            raise BookError("HTML that loads and runs nothing", f'{name}="{text[:60]}"', remedy)
        return f' {name}="{escape(text)}"' if name in _ATTRIBUTES else ""

    def _element(self, tag: Tag) -> str:
        element = kept_element(str(tag["random-id"]))
        inner = tag.find(True)
        if isinstance(element, mo.ui.tabs) and isinstance(inner, Tag):
            return HANDLERS["marimo-tabs"](inner, self)
        if isinstance(element, mo.ui.table):
            return self._table(element)
        if isinstance(element, mo.ui.altair_chart):
            return self.html(chart_inside(element))
        if isinstance(element, _INPUTS):
            return self._control(element)
        if isinstance(element, _COMPOSITES):
            children: Any = cast("Any", element).elements
            named = isinstance(children, dict)
            parts: Iterable[object] = cast("Any", children).values() if named else children
            return '<div class="hb-row">' + "".join(map(self.html, parts)) + "</div>"
        name = inner.name if isinstance(inner, Tag) else "marimo-ui-element"
        remedy = (
            "show what it leads to: a chart, a frame, mo.md, a stack, tabs, a callout or a stat"
        )
        raise BookError("an element with a static form", f"<{name}>", remedy)

    def _control(self, element: mo.Html) -> str:
        name = self.names.get(id(element), "")
        label = inline_html(label_of(element))
        if name in self.live:
            short = self.menus.get(name, element)
            shown = element if choices(element) == choices(short) else short
            note = note_html(self.notes[name]) if name in self.notes else ""
            return control_html(name, shown, label, self.page) + note
        note = self.notes.get(name, FIXED)
        value: Any = cast("Any", element).value
        if isinstance(element, mo.ui.dropdown):
            value = element.selected_key
        shown = value_text(value)
        if isinstance(element, mo.ui.text):
            shown = _FOLDERS.sub("", shown)
        return fixed_html(label or escape(name.replace("_", " ")), shown, note)

    def _table(self, element: mo.ui.table) -> str:
        data: Any = element.data
        frame = data if isinstance(data, pl.DataFrame) else pl.DataFrame(data)
        return table_html(frame, self.page)


def _classed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Give marimo's stacks a class, so that they can wrap on a narrow screen."""
    style = str(attributes.get("style", ""))
    if not style.startswith("display: flex"):
        return dict(attributes)
    direction = "hb-row" if "flex-direction: row" in style else "hb-column"
    return {**attributes, "class": direction}


def is_only_controls(html: str) -> bool:
    """Whether a rendered fragment shows nothing but controls, which need no source."""
    soup = BeautifulSoup(html, "html.parser")
    for control in soup.select(".hb-control, .hb-fixed"):
        control.decompose()
    shown = soup.find(["table", "img", "hb-md"]) or soup.select_one(".hb-chart")
    return shown is None and not soup.get_text(strip=True)
