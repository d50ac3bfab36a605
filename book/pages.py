"""Writes the pages: Sphinx's source from the compiled chapters, Sphinx, the folder to publish."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .children import Children, child_environment
from .citation import CFF
from .edition_pages import EditionPages
from .errors import BookError
from .inputs import BOOK, CHECKOUT, digest, file_digest, kept_json, write_aside
from .links import CITATION_PAGE, RUNS_PAGE, page_name
from .sql_console import FOLDER

if TYPE_CHECKING:
    from .chapters import Record
    from .editions import Planned
    from .output import Published

SETTINGS = BOOK / "site_source"
REFERENCES_PAGE = "references"
_APPENDIX = (RUNS_PAGE, CITATION_PAGE)
"""Pages that are written from the chapters, and so after them."""

_SPHINX = (
    "sphinx",
    "myst-parser",
    "sphinx-book-theme",
    "pydata-sphinx-theme",
    "sphinxcontrib-bibtex",
    "pygments",
    "docutils",
)
_REFERENCES = "(references)=\n# References\n\n```{bibliography}\n:all:\n```\n"
_BESIDE = ("notebooks", FOLDER)
"""Folders of the work folder that are published beside the pages."""

FOLDERS = ("chapters", "source", "html", "doctrees", *_BESIDE)
"""Folders of the work folder."""

_PERCENT = re.compile(r"\[\s*(\d+)%\]")
_REFUSED = re.compile(r"^OSError: \[Errno.*", re.MULTILINE)
"""The disk is full, or closed to us."""

_ERROR = re.compile(r"[\w.]*(?:Error|Exception)\b")
_NOT_PUBLISHED = re.compile(r"\.buildinfo.*|.*webpack-macros\.html|.*\.(map|po|mo)|fontawesome\.js")
"""What Sphinx and its themes leave behind that no page loads."""


class Pages:
    """The pages of one book: their source in the work folder, and the folder to publish."""

    def __init__(self, work: Path, published: Published) -> None:
        self.work = work
        self.published = published
        self.source = work / "source"
        self._stamp = work / "site.json"

    def _stamped(self) -> str:
        """The key of what was written last."""
        try:
            return str(kept_json(self._stamp))
        except (OSError, ValueError):
            return ""

    def write_sources(self, planned: Sequence[Planned], records: Mapping[str, Record]) -> None:
        """Write Sphinx's source; files that stay the same are not touched.

        Args:
            planned: The chapters, whose notebooks are published beside the pages.
            records: What they were compiled to, by name.
        """
        pages = EditionPages(planned, records)
        wanted = {f"{REFERENCES_PAGE}.md": _REFERENCES}
        ends = pages.contents((*_APPENDIX, REFERENCES_PAGE))
        for one in planned:
            name = page_name(one.name)
            text, fragments = pages.page(one)
            wanted[f"{name}.md"] = f"{text}\n{ends.get(name, '')}"
            wanted[f"{name}.fragments.json"] = json.dumps(fragments)
        for name, end in ends.items():
            title = name.replace("index", "Headbook", 1)
            wanted.setdefault(f"{name}.md", f"# {title}\n\n{end}")
        for name, text in wanted.items():
            write_aside(self.source / name, text.encode())
        shutil.copyfile(SETTINGS / "refs.bib", self.source / "refs.bib")
        published = self.work / "notebooks"
        notebooks = {one.notebook.name: one.notebook for one in planned}
        for name, path in notebooks.items():
            write_aside(published / name, path.read_bytes())
        appendix = [f"{page}{end}" for page in _APPENDIX for end in (".md", ".fragments.json")]
        kept = {*wanted, *appendix, "refs.bib"}
        _keep_only(self.source, kept)
        _keep_only(published, set(notebooks))

    def write(self, *, strict: bool) -> tuple[str, ...] | None:
        """Run Sphinx and publish, unless nothing changed since the last time.

        Args:
            strict: Read and write everything anew and refuse warnings.

        Returns:
            Sphinx's warnings; None if nothing had to be written.

        Raises:
            BookError: Sphinx fails, or warns under `strict`.
        """
        key = self._key()
        if not strict and self._stamped() == key and self.published.is_whole():
            return None
        warnings = self._sphinx(strict=strict)
        for name in _BESIDE:
            if (self.work / name).is_dir():
                shutil.copytree(self.work / name, self.work / "html" / name)
        self.published.replace_by(self._made())
        write_aside(self._stamp, json.dumps(key).encode())
        return warnings

    def _key(self) -> str:
        ours = [*SETTINGS.rglob("*"), *(BOOK / "vendor").iterdir(), BOOK / "sphinx_ext.py", CFF]
        beside = [path for name in _BESIDE for path in (self.work / name).glob("*")]
        made = [*self.source.iterdir(), *beside]
        files = sorted(
            (path.relative_to(root).as_posix(), file_digest(path))
            for root, paths in ((CHECKOUT, ours), (self.work, made))
            for path in paths
            if path.is_file() and path.suffix != ".pyc"
        )
        return digest([json.dumps([files, [version(name) for name in _SPHINX]]).encode()])

    def _sphinx(self, *, strict: bool) -> tuple[str, ...]:
        html, log = self.work / "html", self.work / "warnings.txt"
        shutil.rmtree(html, ignore_errors=True)
        anew = ["-E", "-W", "--keep-going"] if strict else []
        arguments = ["-b", "html", "-a", *anew, "-c", str(SETTINGS)]
        arguments += ["-d", str(self.work / "doctrees"), "-w", str(log)]
        code, output = _with_bar([*arguments, str(self.source), str(html)])
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        warnings = tuple(line for line in lines if line)
        if code:
            refused = _REFUSED.search(output)
            shown = refused[0] if refused else " | ".join(warnings) or _failure(output)
            remedy = "see to the disk" if refused else "mend the notebook that it names"
            raise BookError("Sphinx to write the pages without complaint", shown, remedy)
        return warnings

    def _made(self) -> dict[str, Path]:
        """The files to publish, by their path in the book."""
        html = self.work / "html"
        return {
            path.relative_to(html).as_posix(): path
            for path in sorted(html.rglob("*"))
            if path.is_file() and not _NOT_PUBLISHED.fullmatch(path.name)
        }


def _keep_only(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink()


def _failure(output: str) -> str:
    """The line of Sphinx's report that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or ["no message"])[-1]


def _with_bar(arguments: Sequence[str]) -> tuple[int, str]:
    """Run Sphinx, its progress on a bar: reading is the first half, writing the second."""
    module: Any = importlib.import_module("tqdm")
    output, half, last = "", 0, 0
    started = Children().started(
        "book.pages_worker",
        arguments,
        child_environment(PYTHONHASHSEED="0"),
        stderr=subprocess.STDOUT,
    )
    with (
        started as sphinx,
        module.tqdm(desc="pages", total=200, file=sys.stderr, bar_format="{l_bar}{bar}|") as bar,
    ):
        for line in sphinx.stdout or ():
            output += line
            for percent in map(int, _PERCENT.findall(line)):
                half += percent < last
                last = percent
                bar.update(max(0, min(200, 100 * min(half, 1) + percent) - bar.n))
        bar.update(200 - bar.n)
        sphinx.wait()  # before its stdin is closed, which would end it
    return sphinx.returncode, output
