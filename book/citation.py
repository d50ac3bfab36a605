"""The page that says how to cite the book, one number of it, and the program that made it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

import yaml

from .errors import BookError
from .inputs import CHECKOUT, digest, write_aside
from .links import CITATION_PAGE

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from .chapters import RunStore

CFF = CHECKOUT / "CITATION.cff"
"""Who is to be cited, in the Citation File Format 1.2; published beside the page."""

_REQUIRED = ("cff-version", "message", "title", "version", "authors")
_RUN = "0123456789abcdef0123456789abcdef"
_TEXT = """(citation)=
# How to cite

{message}

## The book

This copy shows {n_runs} runs, computed {when}; its state is `{state}`: a digest of their ids, each
of which is a digest of a whole question. Two copies with the same state answer the same questions
of the same models and texts.

{book}

## One number

Every figure, table and claim links to its run, and {{ref}}`the runs <runs>` are listed with their
questions, models, texts, versions and machines. Cite the number with the first eight digits of its
run, or all of them where there is room, for instance:

{number}

## The program

The same as a {cff}, which reference managers read:

{program}

Methods are cited where they are used, and listed under {{ref}}`references`.
"""


def citation_data(path: Path) -> dict[str, Any]:
    """What a citation file says.

    Args:
        path: A file in the Citation File Format.

    Returns:
        Its fields.

    Raises:
        BookError: It is missing, or lacks a field that a citation needs.
    """
    try:
        read: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BookError("a citation file", f"{path}: {error}", "restore CITATION.cff") from error
    found: dict[str, Any] = read if isinstance(read, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    if missing := [name for name in _REQUIRED if not found.get(name)]:
        got = f"none of {', '.join(missing)} in {path}"
        raise BookError("a citation file with its fields", got, "add them to CITATION.cff")
    return found


def bibtex(data: dict[str, Any], year: str, note: str) -> str:
    """A BibTeX entry.

    Args:
        data: Fields of a citation file.
        year: When it was made.
        note: What else identifies it.

    Returns:
        An `@software` entry, its names protected from being taken apart.
    """
    authors = " and ".join(_author(author) for author in data["authors"])
    title = re.sub(r"([&%#_])", r"\\\1", str(data["title"]))
    fields = {
        "title": f"{{{title}}}",
        "author": authors,
        "version": str(data["version"]),
        "year": year,
        "note": note,
    }
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items() if value)
    return f"@software{{headbook,\n{lines}}}"


def _author(author: dict[str, str]) -> str:
    if "name" in author:
        return f"{{{author['name']}}}"
    return f"{author['family-names']}, {author.get('given-names', '')}".rstrip(", ")


def write_citation(source: Path, runs: Iterable[str], store: RunStore) -> None:
    """Write the source of the page.

    Args:
        source: Folder of the pages' source.
        runs: Ids of the runs that the book shows.
        store: Where they are.

    Raises:
        BookError: The citation file cannot be used.
    """
    data, used = citation_data(CFF), sorted(set(runs))
    state = digest(run.encode() for run in used)[:16]
    rows = store.run_rows(used)
    year, when = _dates(rows)
    models = ", ".join(_names(rows))
    example = next(iter(used), _RUN)
    pieces = [
        _listing(bibtex(data, year, f"Book of {models or 'no model'}, state {state}")),
        _listing(f"{data['title'].partition(':')[0]} {data['version']}, run {example[:8]}"),
        _listing(bibtex(data, year, "")),
        f'<a href="{CFF.name}" download>citation file</a>',
    ]
    blocks = [f"```{{hb-html}} {number}\n```" for number in range(3)]
    text = _TEXT.format(
        message=str(data["message"]).strip(),
        n_runs=len(used),
        when=when,
        state=state,
        cff=f"{{hb-inline}}`{len(pieces) - 1}`",
        **dict(zip(("book", "number", "program"), blocks, strict=True)),
    )
    write_aside(source / f"{CITATION_PAGE}.md", text.encode())
    write_aside(source / f"{CITATION_PAGE}.fragments.json", json.dumps(pieces).encode())


def _dates(rows: pl.DataFrame) -> tuple[str, str]:
    """The year of the latest run, and the days between the first and the latest one."""
    if rows.is_empty():
        return "", "never"
    days = [f"{day:%Y-%m-%d}" for day in (rows["started"].min(), rows["started"].max())]  # pyright: ignore[reportGeneralTypeIssues]
    return days[-1][:4], days[0] if days[0] == days[-1] else f"from {days[0]} to {days[-1]}"


def _names(rows: pl.DataFrame) -> list[str]:
    if rows.is_empty():
        return []
    named = rows.drop_nulls("model_name")
    return [
        f"{row['model_name']} (weights {row['model_weights'][:12]})"
        for row in named.select("model_name", "model_weights")
        .unique()
        .sort("model_name", "model_weights")
        .iter_rows(named=True)
    ]


def _listing(text: str) -> str:
    return f'<pre class="hb-cite" tabindex="0">{escape(text)}</pre>'
