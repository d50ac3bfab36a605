"""marimo's own elements as plain HTML; one function per element that has a static form."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any, Protocol

from bs4 import BeautifulSoup, Tag


class Rendering(Protocol):
    """What elements need of whoever renders what is inside them."""

    def inline_of(self, key: str) -> str:
        """HTML of a kept label."""
        ...

    def clean(self, html: str) -> str:
        """Plain HTML of marimo's markup."""
        ...

    def pane(self, parent: Tag) -> str:
        """Plain HTML of what a reader sees only after choosing to."""
        ...


Handler = Callable[[Tag, Rendering], str]

_CALLOUTS = {"neutral": "note", "info": "note", "success": "tip", "warn": "warning"}


def _value(tag: Tag, name: str) -> Any:
    raw = tag.get("data-" + name)
    return None if raw is None else json.loads(str(raw))


def label_html(html: str | None, renderer: Rendering) -> str:
    """A label that marimo has put into an attribute: kept markdown, or HTML to be cleaned."""
    if not html:
        return ""
    soup = BeautifulSoup(html, "html.parser")
    found = soup.find("hb-object")
    if isinstance(found, Tag) and len(soup.contents) == 1:
        return renderer.inline_of(str(found["data-key"]))
    return renderer.clean(html)


def _panes(tag: Tag) -> list[Tag]:
    return tag.find_all("div", recursive=False)


def _tabs(tag: Tag, renderer: Rendering) -> str:
    labels = [label_html(label, renderer) for label in _value(tag, "tabs")]
    start = int(_value(tag, "initial-value") or 0)
    buttons = "".join(
        f'<button type="button" role="tab" aria-selected="{str(i == start).lower()}"'
        f"{'' if i == start else ' tabindex=-1'}>{label}</button>"
        for i, label in enumerate(labels)
    )
    panes = "".join(
        f'<div role="tabpanel" tabindex="0"{"" if i == start else " hidden"}>'
        f"{renderer.pane(pane)}</div>"
        for i, pane in enumerate(_panes(tag))
    )
    return f'<div class="hb-tabs"><div role="tablist">{buttons}</div>{panes}</div>'


def _accordion(tag: Tag, renderer: Rendering) -> str:
    labels = [label_html(label, renderer) for label in _value(tag, "labels")]
    opened: set[int] = set(_value(tag, "expanded") or ())
    return "".join(
        f'<details class="hb-accordion"{" open" if i in opened else ""}>'
        f"<summary>{label}</summary><div>{renderer.pane(pane)}</div></details>"
        for i, (label, pane) in enumerate(zip(labels, _panes(tag), strict=True))
    )


def _callout(tag: Tag, renderer: Rendering) -> str:
    kind = _CALLOUTS.get(_value(tag, "kind") or "neutral", "danger")
    title = _value(tag, "title")
    head = f'<p class="admonition-title">{escape(title)}</p>' if title else ""
    plain = "" if title else " hb-untitled"
    body = renderer.clean(_value(tag, "html"))
    return f'<div class="admonition {kind} hb-callout{plain}">{head}{body}</div>'


def _stat(tag: Tag, renderer: Rendering) -> str:
    del renderer
    direction = {"increase": "▲ ", "decrease": "▼ "}.get(_value(tag, "direction") or "", "")
    label, value, caption = (_value(tag, name) for name in ("label", "value", "caption"))
    return (
        f'<div class="hb-stat"><span>{escape(str(label or ""))}</span>'
        f"<b>{escape(str(value))}</b>"
        f"<small>{direction}{escape(str(caption or ''))}</small></div>"
    )


def _json(tag: Tag, renderer: Rendering) -> str:
    del renderer
    shown = json.dumps(_value(tag, "json-data"), indent=2, ensure_ascii=False)
    return f'<pre class="hb-json">{escape(shown)}</pre>'


def _tex(tag: Tag, renderer: Rendering) -> str:
    del renderer
    content = tag.get_text().strip()
    opening, closing = ("\\[", "\\]") if content.startswith("||[") else ("\\(", "\\)")
    tex = escape(content[3:-3])
    return f'<span class="math notranslate nohighlight">{opening}{tex}{closing}</span>'


HANDLERS: dict[str, Handler] = {
    "marimo-tabs": _tabs,
    "marimo-accordion": _accordion,
    "marimo-callout-output": _callout,
    "marimo-stat": _stat,
    "marimo-json-output": _json,
    "marimo-tex": _tex,
}
"""What the static book knows of marimo's elements; controls and kept objects come before."""
