"""Where in the book is each run shown? Read from the pages as they are written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FRAGMENT = re.compile(r"\{hb-(?:html|inline)\}(?: |`)(\d+)")
_ANCHOR = re.compile(r'<span id="cell-(\w+)" class="hb-anchor">')
_FIGURE = re.compile(r"^:name: (fig-[\w.-]+)$")
_RUN = re.compile(r'href="runs\.html#run-(\w+)"')
_TITLE = re.compile(r"^# (.+)$")


@dataclass(frozen=True)
class Place:
    """A cell of a page that shows a run."""

    page: str
    """The page, without its suffix."""
    title: str
    cell: str
    """Name of the cell; empty for one without a name, such as a chapter's finding."""
    figure: str
    """The label of its figure; empty for a table or a text."""

    @property
    def href(self) -> str:
        """Where it is."""
        return f"{self.page}.html" + (f"#cell-{self.cell}" if self.cell else "")


def shown_in(source: Path) -> dict[str, list[Place]]:
    """The places of every run that the chapters link to.

    Args:
        source: Folder of the pages' source: MyST with its fragments beside it.

    Returns:
        Places by run id, in the order of the pages and, in a page, from top to bottom.
    """
    found: dict[str, list[Place]] = {}
    pages = sorted(source.glob("*.md"), key=lambda path: (path.stem != "index", path.stem))
    for path in pages:
        kept = path.with_suffix(".fragments.json")
        if path.stem[0].isdigit() or path.stem.startswith("index"):
            pieces: list[Any] = json.loads(kept.read_text("utf-8")) if kept.is_file() else []
            for run, place in _of_page(path.stem, path.read_text("utf-8"), pieces):
                if place not in found.setdefault(run, []):
                    found[run].append(place)
    return found


def _of_page(page: str, text: str, fragments: list[Any]) -> list[tuple[str, Place]]:
    """Every link to a run with the cell that it stands in."""
    title, cell, figure = page, "", ""
    found: list[tuple[str, Place]] = []
    for line in text.splitlines():
        if titled := _TITLE.match(line):
            title = title if title != page else titled[1]
        elif named := _FIGURE.match(line):
            figure = named[1]
        for number in _FRAGMENT.findall(line):
            piece = fragments[int(number)]
            if not isinstance(piece, str):
                continue
            if anchor := _ANCHOR.search(piece):
                cell, figure = anchor[1], ""
            place = Place(page, title, cell, figure)
            found += [(run, place) for run in _RUN.findall(piece)]
    return found
