"""Builds the book: chapters that changed, then the pages, then the folder to publish.

Beside the output folder stands its work folder (`html.work` beside `html`): the compiled chapters
with their keys, the pages' source, and what was written last. Removing it only costs time. Both
carry a marker of ours from the first moment; `output` refuses what has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from store import check_apart

from .chapters import compile_chapters, open_store
from .check import problems
from .citation import write_citation
from .editions import planned
from .errors import BookError
from .links import page_name
from .output import BOOK_MARKER, WORK_MARKER, Published, claimed, refuse_foreign, refuse_strange
from .pages import FOLDERS, Pages
from .runs_page import write_runs
from .sql_files import ship_results

if TYPE_CHECKING:
    from store import Store


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did: names of chapters, counts, and the seconds it took.

    `compiled` chapters were run, `kept` ones had not changed; `written` says whether any page
    was written; `warnings` are Sphinx's, which only `check` refuses.
    """

    out: Path
    compiled: tuple[str, ...]
    kept: tuple[str, ...]
    states: int
    runs: int
    written: bool
    warnings: tuple[str, ...]
    seconds: float


def find_notebooks(folder: Path) -> tuple[Path, ...]:
    """The chapters in a folder of notebooks: files named `NN_question.py`, in that order.

    Raises:
        BookError: There is none.
    """
    found = tuple(sorted(folder.glob("[0-9][0-9]_*.py")))
    if not found:
        remedy = "name the folder with the notebooks"
        raise BookError("notebooks named NN_question.py", f"none in {folder}", remedy)
    return found


def work_folder(out: Path) -> Path:
    """Where a book that is built into `out` keeps what it can reuse."""
    return out.with_name(out.name + ".work")


def _nothing() -> None:
    """No preparation."""


def build(
    store_path: Path,
    notebooks: Sequence[Path],
    out: Path,
    *,
    check: bool,
    options: Mapping[str, str],
    prepare: Callable[[], None] = _nothing,
) -> BuildReport:
    """Build the book.

    Args:
        store_path: The store that the notebooks recall from (their `HEADBOOK_STORE`).
        notebooks: The chapters; chapter 00 becomes the start page.
        out: Folder to publish: new, empty, or a book built before.
        check: Refuse warnings, broken links, requests to other hosts and results that have left
            the store; all pages are read and written anew.
        options: What `mo.cli_args()` gives the notebooks, by name. With `models`, several
            separated by commas, every chapter about a model is made for each of them.
        prepare: Called once before chapters are compiled, if any must be; what it stores, two
            chapters that are compiled side by side need not both compute.

    Returns:
        What was done.

    Raises:
        BookError: The book cannot be built, or does not pass the check; `out` stays as it was,
            unless it is the finished pages that do not pass.
        StoreError: A folder of the book would lie in a store, or the store in it.
        UserError: `models` names one that cannot be read, or one twice.
    """
    start = time.perf_counter()
    chapters, out = _in_order(notebooks), _resolved(out)
    plan = planned(chapters, options)
    for folder, marker in ((out, BOOK_MARKER), (work_folder(out), WORK_MARKER)):
        check_apart(folder, store_path)
        refuse_foreign(folder, marker)
    store = open_store(store_path)
    with claimed(work_folder(out), WORK_MARKER) as work, claimed(out, BOOK_MARKER) as book:
        refuse_strange(work, FOLDERS)
        pages = Pages(work.path, Published.of(book))
        records, compiled = compile_chapters(plan, store, pages.work, prepare=prepare, strict=check)
        pages.write_sources(plan, records)
        runs = write_runs(pages.source, records, store)
        shown = {run for one in records.values() for run in one.runs}
        write_citation(pages.source, shown, store)
        ship_results(pages.work, pages.source, shown, cast("Store", store))
        written = pages.write(strict=check)
        if check:
            _refuse_problems(out)
    return BuildReport(
        out=out,
        compiled=compiled,
        kept=tuple(one.name for one in plan if one.name not in compiled),
        states=sum(record.states for record in records.values()),
        runs=runs,
        written=written is not None,
        warnings=written or (),
        seconds=time.perf_counter() - start,
    )


def _resolved(out: Path) -> Path:
    """Where the output folder really is: links that lead there are followed, once."""
    try:
        found = out.expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise BookError(f"a folder at {out}", str(error), "choose another --out") from None
    if not found.name:
        raise BookError("a folder of the book's own", f"{found}", "choose another --out")
    return found


def _refuse_problems(out: Path) -> None:
    if found := problems(out):
        got = f"{len(found)} problems: {'; '.join(found[:5])}"
        raise BookError("a book that passes the check", got, "mend the notebooks named")


def _in_order(notebooks: Sequence[Path]) -> list[Path]:
    chapters = sorted((path.absolute() for path in notebooks), key=lambda path: path.name)
    if not chapters:
        raise BookError("at least one notebook", "none", "name the folder with the notebooks")
    for path in chapters:
        if not path.is_file():
            raise BookError(f"a notebook at {path}", "no file", "check the path")
    pages = [page_name(path.stem) for path in chapters]
    if doubled := {page for page in pages if pages.count(page) > 1}:
        raise BookError("one notebook a page", f"two for {sorted(doubled)}", "rename one of them")
    return chapters
