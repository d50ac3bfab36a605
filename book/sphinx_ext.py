"""Sphinx's side of the compiler: fragments by number, and numbered figures around them.

`{hb-html} 7` is fragment 7 of the page, `{hb-inline}` the same inside a line, and `{hb-figure} 8`
a figure whose captions are fragment 8. `raw` is switched off: no text of a notebook can reach it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective, SphinxRole

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment
    from sphinx.writers.html5 import HTML5Translator

_MATH = 'class="math'
_LIST = '<div role="list" class="citation-list">'
"""docutils' list of references, whose children have another role than that of items."""


def fragments(env: BuildEnvironment) -> list[Any]:
    """The fragments of the page being read; Sphinx reads the page again when they change."""
    path = Path(env.doc2path(env.docname)).with_suffix(".fragments.json")
    env.note_dependency(str(path))
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int) -> list[Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def fragment_node(env: BuildEnvironment, number: str) -> nodes.raw:
    """The HTML of one fragment; a formula in it makes the page load MathJax."""
    html = str(fragments(env)[int(number)])
    if _MATH in html:
        env.domains.math_domain.data["has_equations"][env.docname] = True
    return nodes.raw("", html, format="html")


class Fragment(SphinxDirective):
    """`{hb-html} 7`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The fragment as one raw node."""
        return [fragment_node(self.env, self.arguments[0])]


class InlineFragment(SphinxRole):
    """A fragment inside a line of text."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The fragment as one raw node."""
        return [fragment_node(self.env, self.text)], []


class StateText(nodes.inline):
    """The text of a caption in some states of the controls."""


class Figure(SphinxDirective):
    """A numbered figure with a caption for every state of its controls."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Callable[[str], Any]] | None] = {
        "name": directives.unchanged_required
    }

    def run(self) -> list[nodes.Node]:
        """The figure, its body parsed as MyST."""
        figure = nodes.figure("", classes=["hb-figure"])
        self.state.nested_parse(self.content, self.content_offset, figure)
        (captions,) = fragments(self.env)[int(self.arguments[0])]
        figure += self._caption(captions)
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]

    def _caption(self, captions: dict[str, Any]) -> nodes.caption:
        entries: list[dict[str, Any]] = captions["captions"]
        caption = nodes.caption()
        if len(entries) == 1:
            caption += nodes.Text(entries[0]["text"])
            return caption
        for entry in entries:
            text = StateText("", entry["text"])
            text["states"], text["hidden"] = entry["states"], entry["hidden"]
            caption += text
        caption["classes"].append("hb-states")
        caption["controls"] = captions["controls"]
        return caption


def open_state(self: HTML5Translator, node: StateText) -> None:
    """Write the start of a caption that only some states show."""
    controls = escape(node.parent["controls"])
    hidden = " hidden" if node["hidden"] else ""
    start = f'<span class="hb-state" data-controls="{controls}" data-states="{node["states"]}"'
    self.body.append(f"{start}{hidden}>")


def close_state(self: HTML5Translator, _node: StateText) -> None:
    """Write its end."""
    self.body.append("</span>")


def add_charts(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: nodes.Node | None
) -> None:
    """Load the charting scripts only where there is a chart."""
    if "hb-chart" in context.get("body", ""):
        app.add_js_file("vega-bundle.js", defer="defer", priority=900)
        app.add_js_file("charts.js", defer="defer", priority=901)


def add_console(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: nodes.Node | None
) -> None:
    """Load the console's script and style only where it stands."""
    if 'class="hb-sql ' in context.get("body", ""):
        app.add_css_file("sql.css", priority=900)
        app.add_js_file("sql_values.js", defer="defer", priority=902)
        app.add_js_file("sql.js", defer="defer", priority=903)


def mend_references(
    _app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: nodes.Node | None
) -> None:
    """Do not call references a list, as which screen readers would look for its items."""
    if _LIST in context.get("body", ""):
        context["body"] = context["body"].replace(_LIST, '<div class="citation-list">')


def forbid_raw(app: Sphinx) -> None:
    """Switch docutils' raw directive and role off."""
    app.env.settings["raw_enabled"] = False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register all of it."""
    app.add_directive("hb-html", Fragment)
    app.add_directive("hb-figure", Figure)
    app.add_role("hb-inline", InlineFragment())
    app.add_node(StateText, html=(open_state, close_state))
    app.connect("builder-inited", forbid_raw)
    app.connect("html-page-context", add_charts)
    app.connect("html-page-context", add_console)
    app.connect("html-page-context", mend_references)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
