"""Reads a built book as a browser would: what would be loaded, and where do links lead?"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .page import late_html

_LOADING = {
    ("script", "src"), ("link", "href"), ("img", "src"), ("img", "srcset"), ("iframe", "src"),
    ("source", "src"), ("source", "srcset"), ("video", "src"), ("video", "poster"),
    ("audio", "src"), ("object", "data"), ("embed", "src"), ("input", "src"), ("use", "href"),
    ("image", "href"), ("form", "action"), ("track", "src"),
}  # fmt: skip
_INERT_RELATIONS = {"canonical", "author", "next", "prev", "search"}
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_CSS_LOAD = re.compile(r"""(?:url\(|@import\s+)\s*["']?([^"')\s;]+)""", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_JS_LOAD = re.compile(
    r"""(?:\bimport\s*\(?|\bfetch\(|importScripts\(|new\s+(?:Worker|EventSource|WebSocket)\("""
    r"""|\.(?:src|href)\s*=)\s*["'`]((?:https?:|wss?:)?//[^"'`]+)"""
)


@dataclass
class _Reader(HTMLParser):
    """Collects what a page loads, links to, and can be linked at."""

    loads: list[str] = field(default_factory=list[str])
    links: list[str] = field(default_factory=list[str])
    anchors: set[str] = field(default_factory=set[str])
    styles: list[str] = field(default_factory=list[str])
    scripts: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        relations = set(values.get("rel", "").split())
        for name, value in values.items():
            if (tag, name) in _LOADING and not relations & _INERT_RELATIONS:
                self.loads.append(value)
            elif name == "style":
                self.styles.append(value)
            elif tag == "a" and name == "href":
                self.links.append(value)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        code = values.get("type", "text/javascript") in {"text/javascript", "module", ""}
        self._inside = tag if tag == "style" or (tag == "script" and code) else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            (self.styles if self._inside == "style" else self.scripts).append(data)


def problems(folder: Path) -> list[str]:
    """What is wrong with a built book.

    Args:
        folder: The book.

    Returns:
        One line each: requests to another host, links that lead nowhere, links that only work
        at the root of a site.
    """
    pages = {path: _read(path) for path in sorted(folder.rglob("*.html"))}
    found = [line for path, page in pages.items() for line in _page_problems(path, page, folder)]
    known = {path.resolve(): page.anchors for path, page in pages.items()}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            if wrong := _dead(path, link, known):
                found.append(f"{path.relative_to(folder)}: link {link} {wrong}")
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text(encoding="utf-8", errors="replace")
        found += _style_problems(path.relative_to(folder).as_posix(), text)
    for path in sorted(folder.rglob("*.js")):
        text = path.read_text(encoding="utf-8", errors="replace")
        found += _script_problems(path.relative_to(folder).as_posix(), text)
    return found


def _read(path: Path) -> _Reader:
    reader = _Reader()
    text = path.read_text(encoding="utf-8")
    reader.feed(text)
    reader.feed(late_html(text))
    reader.close()
    return reader


def _page_problems(path: Path, page: _Reader, folder: Path) -> list[str]:
    name = path.relative_to(folder).as_posix()
    found: list[str] = []
    for load in page.loads:
        if _ELSEWHERE.match(load):
            found.append(f"{name}: loads {load} from another host")
        elif load.startswith("/"):
            found.append(f"{name}: loads {load}, which a book under a sub-path does not have")
        elif not load.startswith(("data:", "#")) and not _target(path, load).exists():
            found.append(f"{name}: loads {load}, which is not there")
    for style in page.styles:
        found += _style_problems(name, style)
    for script in page.scripts:
        found += _script_problems(name, script)
    return found


def _target(path: Path, link: str) -> Path:
    return (path.parent / unquote(urlsplit(link).path)).resolve()


def _dead(path: Path, link: str, anchors: dict[Path, set[str]]) -> str:
    if _ELSEWHERE.match(link) or link.startswith(("mailto:", "javascript:void")):
        return ""
    if link.startswith("/"):
        return "only works at the root of a site"
    parts = urlsplit(link)
    target = _target(path, link) if parts.path else path.resolve()
    if not target.exists():
        return "leads to no file"
    places = anchors.get(target)
    if parts.fragment and places is not None and unquote(parts.fragment) not in places:
        return "leads to no such place on that page"
    return ""


def _style_problems(name: str, style: str) -> list[str]:
    loads = _CSS_LOAD.findall(_COMMENT.sub("", style))
    return [f"{name}: loads {load} from another host" for load in loads if _ELSEWHERE.match(load)]


def _script_problems(name: str, script: str) -> list[str]:
    return [f"{name}: loads {load} from another host" for load in _JS_LOAD.findall(script)]
