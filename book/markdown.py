"""`mo.md` as MyST: the author's text stays text, elements inside it become fragments."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from .errors import BookError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .page import Page

_ELEMENT = re.compile(r'<hb-object data-key="(\d+)"></hb-object>')
_ALONE = re.compile(r'^[ \t]*<hb-object data-key="(\d+)"></hb-object>[ \t]*$', re.MULTILINE)
_ADMONITION = re.compile(
    r"^/// *(?P<kind>[\w-]+)(?: *\| *(?P<title>[^\n]*))?\n(?P<body>.*?)^///[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_ROLE = re.compile(r"\{[\w:-]+\}`")
_COLONS = re.compile(r"^ *(:{3,})", re.MULTILINE)
_MINUS_ZERO = re.compile(r"(?<![\w.])-(?=0\.0+(?!\d))")
_INLINE_MATH = r'<span class="math notranslate nohighlight">\({}\)</span>'


def source_of(value: object) -> str | None:
    """The markdown that a `mo.md` was made of; None for any other value."""
    made = type(value)
    if made.__name__ == "_md" and made.__module__.startswith("marimo."):
        return str(value._repr_markdown_())  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    return None


def without_minus_zero(text: str) -> str:
    """Text in which what rounds to nothing has no sign: `0.00` and not `-0.00`."""
    return _MINUS_ZERO.sub("", text)


def myst(source: str, page: Page, render: Callable[[str], str]) -> str:
    """MyST source of a `mo.md`.

    Args:
        source: Its markdown, elements of the notebook standing in it as placeholders.
        page: Keeps the fragments that those elements become.
        render: HTML of the element with a given key.

    Returns:
        Text where elements are directives (alone on a line) or roles (inside one).

    Raises:
        BookError: Markup of marimo's front end stands in the text, or an icon from a network.
    """
    for mark, remedy in (
        ("<marimo-", "put the element itself into the braces, not its .text"),
        ("<iconify-icon", "write the word; icons come from another host"),
    ):
        if mark in source:
            raise BookError("text and elements in mo.md", f"{mark}…>", remedy)
    words = without_minus_zero(source)
    text = _ALONE.sub(lambda found: f"\n\n{page.block(render(found[1]))}\n\n", words)
    text = _ELEMENT.sub(lambda found: page.inline(render(found[1])), text)
    return _ADMONITION.sub(_admonition, text)


def _admonition(found: re.Match[str]) -> str:
    kind, body = found["kind"], found["body"]
    title = (found["title"] or kind.title()).strip()
    fence = colons(body)
    return f"{fence}{{admonition}} {title}\n:class: {kind}\n\n{body}{fence}"


def colons(body: str) -> str:
    """A colon fence that nothing inside a body can close."""
    inside = [len(run) for run in _COLONS.findall(body)]
    return ":" * (max([2, *inside]) + 1)


def _math(content: str, _options: dict[str, Any]) -> str:
    return _INLINE_MATH.format(escape(content))


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False})
    dollarmath_plugin(parser, allow_labels=False, renderer=_math)
    return parser


_PARSER = _parser()


def inline_html(source: str) -> str:
    """The HTML of a label: emphasis, code and inline math; everything else is text.

    Raises:
        BookError: The label holds a role, which works only in the text of the page.
    """
    if role := _ROLE.search(source):
        raise BookError("a label without MyST roles", role[0], "use the role in mo.md")
    return str(_PARSER.renderInline(source))
