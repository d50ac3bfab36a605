"""A small book for the tests: its notebooks, ways to write others, and a build of it."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from textwrap import dedent, indent

from bs4 import BeautifulSoup

from book.chapter import Chapter, compile_chapter
from book.site import BuildReport, build, find_notebooks

FIXTURES = Path(__file__).resolve().parent / "fixtures"
NOTEBOOKS = find_notebooks(FIXTURES)

OPTIONS = {"model": "m"}
SETUP = "import marimo as mo\nimport polars as pl"
TITLE = "mo.md('# A title')"


def write_notebook(path: Path, *cells: tuple[str, str], setup: str = SETUP) -> Path:
    """Write a notebook whose cells are (name, code); a title comes first."""
    parts = ["import marimo\n\napp = marimo.App()\n\nwith app.setup:\n" + indent(setup, "    ")]
    for name, code in (("title", TITLE), *cells):
        body = indent(dedent(code).strip(), "    ")
        parts.append(f"@app.cell\ndef {name}():\n{body}\n    return")
    parts.append('if __name__ == "__main__":\n    app.run()\n')
    path.write_text("\n\n\n".join(parts), encoding="utf-8")
    return path


def compiled(path: Path, *cells: tuple[str, str], setup: str = SETUP) -> Chapter:
    """Compile such a notebook in this process, leaving the process as it was."""
    notebook = write_notebook(path / "05_sample.py", *cells, setup=setup)
    argv, search = sys.argv, list(sys.path)
    try:
        return compile_chapter(notebook, [], lambda done, total: None)
    finally:
        sys.argv, sys.path[:] = argv, search
        sys.modules.pop(notebook.stem, None)


def html_of(chapter: Chapter) -> str:
    """All HTML of a compiled chapter."""
    return "\n".join(piece for piece in chapter.fragments if isinstance(piece, str))


def page(folder: Path, name: str) -> BeautifulSoup:
    """A page of the book built in `folder/html`."""
    return BeautifulSoup((folder / "html" / name).read_text(encoding="utf-8"), "html.parser")


def digests(folder: Path) -> dict[str, str]:
    """Hash of every file in a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def build_sample(
    folder: Path, notebooks: tuple[Path, ...] = NOTEBOOKS, **options: str
) -> BuildReport:
    """Build notebooks into `folder/html`, recalling from `folder/store`."""
    return build(folder / "store", notebooks, folder / "html", check=False, options=options)


@cache
def sample_folder() -> Path:
    """A folder with the sample book, built once a test process."""
    folder = Path(tempfile.mkdtemp(prefix="headbook-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build(folder / "store", NOTEBOOKS, folder / "html", check=True, options=OPTIONS)
    (folder / "index.html").write_text("a book under a sub-path: html/", encoding="utf-8")
    return folder
