"""What one chapter puts beside its text: HTML fragments, chart specs, data sets, long tables.

The text of a page is MyST; everything else stands in a file beside it and is referred to by
number. So no data can close a fence, open a directive or start a tag in the text.
"""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any

from .errors import BookError

Json = dict[str, Any]

MARKDOWN = re.compile(r'<hb-md data-key="(\d+)"></hb-md>')
"""Where MyST text goes inside a rendered fragment."""

PACKED_FROM = 50_000
"""Characters of JSON that a page holds as it is."""
LATE_FROM = 2_000
"""Characters of a table written as HTML that stands in the island, where it can be packed."""
_PACKED = re.compile(r'(<script type="application/gzip" id="hb-page">)([^<]*)(?=</script>)')
_ISLAND = re.compile(r'<script type="application/(json|gzip)" id="hb-page">([^<]*)</script>')
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)


@dataclass
class Page:
    """Collects, while a chapter is rendered, what its text refers to.

    `fragments` are pieces of HTML; `specs`, `data`, `tables` and `later` (long HTML tables) go into
    one JSON island that the page's script reads; `runs` are the ids that the page links to.
    """

    fragments: list[Any] = field(default_factory=list)
    specs: dict[str, Json] = field(default_factory=dict)
    data: dict[str, Json] = field(default_factory=dict)
    tables: dict[str, Json] = field(default_factory=dict)
    later: dict[str, str] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    _texts: list[str] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)
    _radios: int = 0

    def fragment(self, content: str | list[Any]) -> int:
        """Keep a piece of HTML, or the captions of a figure, and return its number."""
        self.fragments.append(content)
        return len(self.fragments) - 1

    def chart(self, spec: Json) -> str:
        """Keep a chart's spec, once however often it is shown, and return its name."""
        body = json.dumps(spec, sort_keys=True)
        if body not in self._known:
            self._known[body] = f"s{len(self.specs)}"
            self.specs[self._known[body]] = spec
        return self._known[body]

    def table(self, columns: Json) -> str:
        """Keep the rows of a long table and return its name."""
        name = f"t{len(self.tables)}"
        self.tables[name] = columns
        return name

    def late(self, html: str) -> str:
        """A piece of HTML that the page's script puts in place, if it is long; else itself."""
        if len(html) < LATE_FROM or MARKDOWN.search(html):
            return html
        if html not in self._known:
            self._known[html] = f"h{len(self.later)}"
            self.later[self._known[html]] = html
        place = f'data-html="{self._known[html]}" role="group" aria-label="table" tabindex="0"'
        return f'<div class="hb-late" {place}></div>'

    def radio_name(self) -> str:
        """A name that no other group of radio buttons on the page has."""
        self._radios += 1
        return f"hb-radio-{self._radios}"

    def text(self, myst: str) -> str:
        """Mark the place of some MyST text inside a fragment."""
        self._texts.append(myst)
        return f'<hb-md data-key="{len(self._texts) - 1}"></hb-md>'

    def block(self, html: str) -> str:
        """MyST source of a rendered fragment: HTML by number, MyST text as it is.

        Raises:
            BookError: Text inside a fragment holds a heading, which only a chapter may have.
        """
        parts = MARKDOWN.split(html)
        source: list[str] = []
        for place, part in enumerate(parts):
            if place % 2:
                source.append(self._nested(self._texts[int(part)]))
            elif part.strip():
                source.append(f"```{{hb-html}} {self.fragment(part)}\n```")
        return "\n\n".join(source)

    def _nested(self, myst: str) -> str:
        if heading := _HEADING.search(myst):
            line = myst[heading.start() :].splitlines()[0]
            raise BookError(
                "headings only in mo.md at the end of a cell without controls",
                f"{line!r} inside a stack, a tab or a state",
                "give the heading a cell of its own",
            )
        return myst

    def inline(self, html: str) -> str:
        """MyST source of a fragment inside a line of text.

        Raises:
            BookError: The fragment holds text blocks, which cannot stand inside a line.
        """
        if MARKDOWN.search(html):
            raise BookError(
                "an element that fits into a line of text",
                "a container with text blocks in it",
                "put its {…} on a line of its own in mo.md",
            )
        return f"{{hb-inline}}`{self.fragment(html)}`"

    def island(self) -> str:
        """The JSON that the page's script reads, as one inert script element; may be empty.

        Long JSON is packed: rows of charts come to a tenth, and the browser unpacks them where
        they are.
        """
        if not (self.specs or self.tables or self.later):
            return ""
        content: dict[str, Json | dict[str, str]] = {
            "specs": self.specs,
            "data": self.data,
            "tables": self.tables,
            "later": self.later,
        }
        text = json.dumps(content, separators=(",", ":"), sort_keys=True, allow_nan=False)
        if len(text) <= PACKED_FROM:
            return f'<script type="application/json" id="hb-page">{inert(text)}</script>'
        return f'<script type="application/gzip" id="hb-page">{_packed(text)}</script>'


def _packed(text: str) -> str:
    return b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def changed(html: str, change: Callable[[str], str]) -> str:
    """HTML of a page with a change, in what is packed there too.

    Args:
        html: A fragment.
        change: Of HTML, or of JSON.

    Returns:
        The fragment, packed again.
    """

    def repacked(found: re.Match[str]) -> str:
        return found[1] + _packed(change(gzip.decompress(b64decode(found[2])).decode()))

    return _PACKED.sub(repacked, change(html))


def island_of(html: str) -> Json:
    """What the script of a page reads, as `Page.island` wrote it; empty where it reads nothing."""
    island = _ISLAND.search(html)
    return {} if island is None else _unpacked(island)


def _unpacked(island: re.Match[str]) -> Json:
    kind, text = island.groups()
    return json.loads(gzip.decompress(b64decode(text)) if kind == "gzip" else text)


def late_html(html: str) -> str:
    """What the script of a page puts in place.

    Args:
        html: A page.

    Returns:
        HTML of its long tables, and the links of tables that are paged.
    """
    found: list[str] = []
    for island in _ISLAND.finditer(html):
        content = _unpacked(island)
        found += content.get("later", {}).values()
        columns = (
            column for table in content.get("tables", {}).values() for column in table["columns"]
        )
        rows = (row for column in columns for row in column["links"] or ())
        found += dict.fromkeys(f'<a href="{escape(href)}"></a>' for row in rows for _, href in row)
    return "".join(found)


def inert(text: str) -> str:
    """JSON that cannot end or open an HTML element: every `<` is written as an escape."""
    return text.replace("<", "\\u003c")
