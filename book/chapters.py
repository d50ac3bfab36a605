"""Compiles the chapters that changed, each in a process of its own, and keeps the others."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .children import Children, child_environment
from .errors import BookError
from .inputs import chapter_key, digest, kept_json, project_folders, write_aside

if TYPE_CHECKING:
    import polars as pl
    from tqdm import tqdm

    from .editions import Planned

MAX_JOBS = 2
"""Chapters compiled at the same time: each is a process with libraries of its own."""

_ROUNDS = 3
"""Times that a chapter with queries is compiled, at most, while others add to the store."""


class RunStore(Protocol):
    """What the book asks of a store itself; notebooks ask the rest."""

    root: Path

    def runs(self) -> tuple[str, ...]:
        """Ids of all runs."""
        ...

    def run_rows(self, runs: Iterable[str]) -> pl.DataFrame:
        """One row per run with its model and text."""
        ...


@dataclass(frozen=True, kw_only=True)
class Record:
    """A compiled chapter as it is kept: its page, and what it was made from.

    `store` is the digest of all runs before a chapter with queries ran; empty for others.
    """

    key: str
    title: str
    text: str
    fragments: list[Any]
    runs: tuple[str, ...]
    whole_store: bool
    states: int
    inputs: tuple[str, ...]
    store: str = ""


def open_store(path: Path) -> RunStore:
    """The store at a path. Imported late: with it come DuckDB and polars."""
    module: Any = importlib.import_module("store")
    return module.Store.planned(path)


def compile_chapters(
    planned: Sequence[Planned],
    store: RunStore,
    work: Path,
    *,
    prepare: Callable[[], None],
    strict: bool,
) -> tuple[dict[str, Record], tuple[str, ...]]:
    """Compile what changed.

    Args:
        planned: The chapters.
        store: What they recall from.
        work: The work folder.
        prepare: Called once before chapters are compiled, if any must be.
        strict: Refuse a kept chapter whose runs have left the store; else compile it anew.

    Returns:
        The record of every chapter by name, and the names of those that were compiled.

    Raises:
        BookError: A chapter cannot be compiled, or is stale under `strict`.
    """
    shelf = _Shelf(work / "chapters")
    compiled: set[str] = set()
    for _round in range(_ROUNDS):
        present = store.runs()
        todo = [one for one in planned if shelf.kept(one, present, strict=strict) is None]
        if not todo:
            break
        if not compiled:
            prepare()
            present = store.runs()
        _compile_all(partial(_compile, shelf, store, present), todo)
        compiled |= {one.name for one in todo}
    found = {one.name: shelf.read(one) for one in planned}
    return found, tuple(sorted(compiled))


def _compile_all(compiled: Callable[[Children, Planned], None], todo: Sequence[Planned]) -> None:
    """Compile some at a time; where this process is told to stop, theirs are killed at once."""
    children = Children()
    with ThreadPoolExecutor(MAX_JOBS) as pool:
        try:
            list(pool.map(partial(compiled, children), todo))
        except BaseException as error:
            if not isinstance(error, Exception):
                children.end()
            raise


class _Shelf:
    """Where compiled chapters are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, one: Planned) -> Path:
        return self.folder / f"{one.name}.json"

    def read(self, one: Planned) -> Record:
        return _record(kept_json(self.path(one)))

    def kept(self, one: Planned, present: Sequence[str], *, strict: bool) -> Record | None:
        """The record of a chapter that need not be compiled again."""
        try:
            record = self.read(one)
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if record.key != chapter_key(one.notebook, record.inputs, one.options):
            return None
        if absent := sorted(set(record.runs) - set(present)):
            if strict:
                raise BookError(
                    f"the runs that {one.notebook.name} shows in the store",
                    f"{len(absent)} of {len(record.runs)} gone, first {absent[0]}",
                    "compute them again with `headbook run`, or build without --check",
                )
            return None
        return None if record.whole_store and record.store != _digest(present) else record


def _record(fields: dict[str, Any]) -> Record:
    fields["runs"], fields["inputs"] = tuple(fields["runs"]), tuple(fields["inputs"])
    return Record(**fields)


def _digest(runs: Iterable[str]) -> str:
    return digest(run.encode() for run in runs)


def _compile(
    shelf: _Shelf, store: RunStore, present: Sequence[str], children: Children, one: Planned
) -> None:
    started, notebook = time.time(), one.notebook
    result = shelf.folder / f"{one.name}.result.json"
    job = shelf.folder / f"{one.name}.job.json"
    folders = project_folders(notebook)
    content = {
        "notebook": str(notebook),
        "options": dict(one.options),
        "folders": [str(folder) for folder in folders],
        "result": str(result),
    }
    write_aside(job, json.dumps(content).encode())
    _work(children, job, one, store.root)
    made: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    made["key"] = chapter_key(notebook, made["inputs"], one.options)
    record = _record(made)
    if record.whole_store:
        record = replace(record, store=_digest(present))
    if _edited_since(started, notebook, record.inputs):
        record = replace(record, key="")
    write_aside(shelf.path(one), json.dumps(asdict(record), sort_keys=True).encode())
    result.unlink()
    job.unlink()


def _edited_since(start: float, notebook: Path, inputs: Iterable[str]) -> bool:
    """Whether a file changed while it was being run: then nobody knows what was run."""
    places = [folder / name for name in inputs for folder in project_folders(notebook)]
    files = [notebook, *(path for path in places if path.is_file())]
    return any(path.stat().st_mtime >= start for path in files)


def _work(children: Children, job: Path, one: Planned, root: Path) -> None:
    """Run a worker to its end, its progress on a bar."""
    environment = child_environment(HEADBOOK_STORE=str(root), PYTHONHASHSEED="0", PYTHONUTF8="1")
    error: list[str] | None = None
    with (
        children.started("book.worker", [str(job)], environment) as worker,
        _bar(one.name) as bar,
    ):
        for line in worker.stdout or ():
            message = json.loads(line)
            error = message.get("error", error)
            if "total" in message:
                bar.total = message["total"]
                bar.update(message["done"] - bar.n)
        worker.wait()  # before its stdin is closed, which would end it
    if error is not None:
        raise BookError(*error)
    if worker.returncode:
        got = f"exit code {worker.returncode}"
        raise BookError(
            f"the worker of {one.notebook.name} to finish", got, "see its message above"
        )


@contextmanager
def _bar(title: str) -> Generator[tqdm[Any]]:
    module: Any = importlib.import_module("tqdm")
    with module.tqdm(desc=title, unit="state", file=sys.stderr, mininterval=0.5) as bar:
        yield bar
