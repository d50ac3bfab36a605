"""Addresses inside the book: chapters, their cells, and the runs that numbers come from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import BookError

RUNS_PAGE = "runs"
"""The page that lists every run of the book."""

CITATION_PAGE = "citation"
"""The page that says how to cite the book."""

_CHAPTER = re.compile(r"(?P<stem>\d\d_\w+)?(?:#(?P<cell>\w+))?")


@dataclass(frozen=True)
class Link:
    """A link inside the book: what to show, where it leads, and the run it names, if any."""

    text: str
    href: str
    run: str | None = None


def page_name(name: str) -> str:
    """Name of a chapter's page: chapter 00 is the start page, others keep the notebook's name.

    Args:
        name: The notebook's, and for another model than the book's first one `-` and a mark of it.

    Returns:
        The page, without its suffix.
    """
    stem, dash, mark = name.partition("-")
    return ("index" if stem.startswith("00_") else stem) + dash + mark


def run_link(run: str) -> Link:
    """The link to a run, shown as the first eight digits of its id."""
    return Link(run[:8], f"{RUNS_PAGE}.html#run-{run}", run)


def link_to(target: str) -> Link:
    """Resolve what a `..._link` column of a table holds.

    Args:
        target: `run:<id>`, `<notebook>`, `<notebook>#<cell>` or `#<cell>`.

    Returns:
        The link; chapters are shown by their name.

    Raises:
        BookError: The target is none of these.
    """
    if target.startswith("run:") and re.fullmatch(r"\w+", target[4:]):
        return run_link(target[4:])
    match = _CHAPTER.fullmatch(target)
    if match is None or not target:
        raise BookError(
            "a link target `run:<id>`, `<notebook>`, `<notebook>#<cell>` or `#<cell>`",
            repr(target),
            "fix the value in the column that ends in _link",
        )
    stem, cell = match["stem"], match["cell"]
    page = f"{page_name(stem)}.html" if stem else ""
    anchor = f"#cell-{cell}" if cell else ""
    return Link((stem or cell).replace("_", " "), page + anchor)
