"""Whatever lies at any place of a store or a book: one line, and nothing of anybody's is touched.

Every kind of entry at every place meets every command, run by a process without privileges. A
sample is run each time; HEADBOOK_CASES=all runs every case and says how many there were.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from store import Store, compact, snapshot
from tests.book.book_sample import sample_folder
from tests.store.store_fakes import Scores, Sweep
from tests.store.strange_entries import KINDS, STRANGERS, Canary, kinds_for, tree
from tests.store.test_store_processes import heard, process, tell

PART = "parts/<part>"
ASIDE = f"tmp/{'d' * 32}-{'e' * 32}"
STORE_PLACES = (
    *("store.json", "parts", "tmp", "incoming", "incoming/parts", "incoming/tmp", "blobs"),
    *("catalog.duckdb", "catalog.duckdb.wal", "catalog.json", "results-1.duckdb"),
    *(PART, f"{PART}/part.json", f"{PART}/head_scores.parquet", f"{PART}/runs.parquet"),
    *(f"{PART}/other.parquet", f"parts/{'f' * 32}", ASIDE, f"{ASIDE}/part.json", "tmp/theirs"),
    *("notes.json", ".store.json.0123456789abcdef"),
)
BOOK_PLACES = (
    *("html", "html/index.html", "html/_static", "html/_static/book.css", "html/theirs.html"),
    *("html/.headbook-book.json", "html/sql", "html.work", "html.work/.headbook-work.json"),
    *("html.work/chapters", "html.work/source", "html.work/html", "html.work/doctrees"),
    *("html.work/site.json", "html.work/chapters/00_answers.json", "html.work/warnings.txt"),
)
READING = {
    "sql": ("sql", "SELECT count(*), max(value) FROM head_scores JOIN runs USING (run)"),
    "sql --csv": ("sql", "FROM verdicts", "--csv"),
    "store": ("store",),
    "store verify": ("store", "verify"),
    "export": ("export", "exported", "--format", "csv"),
}
WRITING = {
    "store compact": ("store", "compact"),
    "store prune": ("store", "prune"),
    "store snapshot": ("store", "snapshot"),
    "merge into it": ("merge", "other"),
    "recall": ("recall", "store"),
    "accept": ("accept", "store"),
}
OF_ANOTHER = {"merge from it": ("merge", "store", "--store", "new")}
COMMANDS = {**READING, **WRITING, **OF_ANOTHER}
BUILD = ("build-sample", "store", "html")

OUT_BY_LINK = ("html", "link to a copy outside", "build")
"""Somebody's own book, which they named by a link."""

ALWAYS = (
    ("html/index.html", "huge", "build"),
    ("html.work/html", "file", "build"),
    ("html.work/site.json", "bomb: deep", "build"),
    ("html.work/warnings.txt", "hard link", "build"),
)
"""Builds that once read, wrote or stumbled over what is not theirs."""

SAMPLE, BUILT = 260, 8
"""Other cases that are run each time, and how many more of them build a book."""

Case = tuple[str, str, str]
"""Place, kind and command."""


def cases() -> list[Case]:
    """All of them; a command of a book is `build`, at places of the book and of its store."""
    found = [
        (place, kind, command)
        for place in STORE_PLACES
        for kind in kinds_for(place)
        for command in COMMANDS
    ]
    builds = [(p, k, "build") for p in (*BOOK_PLACES, *STORE_PLACES) for k in kinds_for(p)]
    if os.environ.get("HEADBOOK_CASES") == "all":
        return found + builds
    rng = Random(0)
    return [*ALWAYS, *rng.sample(found, SAMPLE), *rng.sample(builds, BUILT)]


@pytest.fixture(scope="module")
def templates(tmp_path_factory) -> Path:
    """A store with loose, merged, delivered and leftover parts; another one; a book of a third."""
    root = tmp_path_factory.mktemp("templates")
    store = Store.open(root / "plain" / "store")
    store.recall(Sweep(seeds=(0, 1)))
    compact(store)
    store.recall(Scores(seed=2))
    snapshot(store)
    loose = max(part.folder for part in store.parts.current() if len(part.keys) == 1)
    for folder in (store.root / ASIDE, store.root / "incoming" / "parts" / loose.name):
        shutil.copytree(loose, folder)
    os.utime(store.root / ASIDE, (1, 1))
    (store.root / "incoming" / "tmp").mkdir()
    Store.open(root / "plain" / "other").recall(Sweep(seeds=(2, 3)))
    shutil.copytree(sample_folder(), root / "book")
    return root


@pytest.fixture(scope="module")
def started() -> Iterator:
    with process("commands/untouched_worker.py") as found:
        assert heard(found) == "ready"
        yield found


def part_of(store: Path) -> Path:
    """The part of one run."""
    found = [path.parent for path in store.glob("parts/*/part.json")]
    return next(
        path
        for path in sorted(found)
        if path.joinpath("part.json").read_text().count('"experiment"') == 1
    )


class Folder:
    """A folder with a store or a book, in which something lies at one place, beside a canary."""

    def __init__(self, root: Path, templates: Path, case: Case) -> None:
        self.place, self.kind, self.command = case
        self.root = root / "case"
        whole = "book" if self.command == "build" else "plain"
        shutil.copytree(templates / whole, self.root, symlinks=True)
        self.canary = Canary.planted(root / "canary")
        (self.root / "new").mkdir()
        in_store = self.place not in BOOK_PLACES
        below = self.root / "store" if in_store else self.root
        self.path = below / self.place.replace("<part>", part_of(self.root / "store").name)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        KINDS[self.kind](self.path, self.canary)
        self.seen = self._seen()
        self.stranger = self._stranger()
        self.before = tree(self.root / "store")

    def _stranger(self) -> tuple[int, int] | None:
        """Which entry must be left alone, wherever its folder is put."""
        if self.kind not in STRANGERS:
            return None
        found = self.path.lstat()
        return found.st_ino, found.st_mtime_ns

    def words(self) -> list[str]:
        if self.command == "build":
            return list(BUILD)
        words = list(COMMANDS[self.command])
        if self.command in OF_ANOTHER or words[0] in {"recall", "accept"}:
            return words
        return [*words, "--store", "store"]

    def wrong(self, status: str, printed: str) -> list[str]:
        """What a command has done or said that it may not."""
        lines = [line for line in printed.splitlines() if line.startswith("headbook: ")]
        found = [] if status in {"0", "2"} else [f"status {status}"]
        if "Traceback" in printed or "panicked" in printed:
            found.append("a traceback")
        if status == "2" and not lines:
            found.append("no line that says why")
        if len(lines) > 4 or any(not line.isprintable() for line in lines):
            found.append("many lines")
        if self._seen() != self.seen:
            found.append("the canary was touched")
        if self.stranger and self.stranger not in {
            (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in self.root.rglob("*")
        }:
            found.append("the strange entry is gone")
        if self.command in READING and tree(self.root / "store") != self.before:
            found.append("looking has changed the store")
        return found

    def _seen(self) -> dict[str, object]:
        """The canary, without a book in it that `--out` is a link to: that link is followed."""
        seen = self.canary.seen()
        if (self.place, self.kind, self.command) != OUT_BY_LINK:
            return seen
        own = (".", "copy-html", "copy-html.work")
        return {path: now for path, now in seen.items() if path.partition("/")[0] not in own}

    def clear(self) -> None:
        for path in self.root.parent.rglob("*"):
            if not path.is_symlink() and path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(self.root)
        shutil.rmtree(self.canary.root)


def test_nothing_of_anybodys_is_touched(templates, started, tmp_path):
    asked, problems, told = cases(), list[str](), list[str]()
    slowest = 0.0
    for number, case in enumerate(asked):
        folder = Folder(tmp_path, templates, case)
        job, printed = tmp_path / "job.json", tmp_path / "printed.txt"
        content = {"words": folder.words(), "folder": str(folder.root), "printed": str(printed)}
        job.write_text(json.dumps(content))
        began = time.monotonic()
        tell(started, job)
        status = heard(started).removeprefix("gone ")
        slowest = max(slowest, time.monotonic() - began)
        said = printed.read_text(errors="replace")
        lines = [line for line in said.splitlines() if line.startswith("headbook: ")]
        told.append(f"{case}\t{status}\t{' | '.join(lines)}")
        if wrong := folder.wrong(status, said):
            problems.append(f"{case}: {', '.join(wrong)}: {said[-600:]}")
        folder.clear()
        if os.environ.get("HEADBOOK_CASES") == "all" and number % 200 == 0:
            print(f"{number} of {len(asked)}, {len(problems)} problems", flush=True)  # noqa: T201
    if listing := os.environ.get("HEADBOOK_CASES_TOLD"):
        Path(listing).write_text("\n".join(told) + "\n")
        print(f"{len(asked)} cases, slowest {slowest:.1f} s")  # noqa: T201
    assert len(asked) >= SAMPLE + BUILT
    assert not problems, f"{len(problems)} of {len(asked)}:\n" + "\n".join(problems[:20])
