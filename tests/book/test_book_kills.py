"""A build killed at any moment: pages stay whole, nothing goes on behind it, the next ends it."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from tests.store.test_store_processes import heard, process, tell

from .book_sample import digests, write_notebook

N_MADE, N_PUBLISHED = 16, 4


@pytest.fixture(scope="module")
def builder() -> Iterator[subprocess.Popen[str]]:
    with process("book/build_worker.py") as started:
        assert heard(started) == "ready"
        yield started


def status(builder: subprocess.Popen[str], *asked: object) -> str:
    tell(builder, *asked)
    return heard(builder).removeprefix("gone ")


def write(folder: Path, word: str) -> None:
    """Two chapters that say the word."""
    (folder / "notebooks").mkdir(parents=True, exist_ok=True)
    for name in ("01_one", "02_two"):
        write_notebook(
            folder / "notebooks" / f"{name}.py",
            ("word", f"mo.md('{name} says {word}')"),
            setup="import marimo as mo",
        )


def workers_of(folder: Path) -> list[psutil.Process]:
    """Processes that a build of this folder has started."""
    return [
        found
        for found in psutil.process_iter(["cmdline"])
        if any(str(folder / "html.work") in word for word in found.info["cmdline"] or ())
    ]


def whole_pages(folder: Path, undisturbed: dict[str, str]) -> int:
    """How many pages are there, each of which must be as in an undisturbed book."""
    found = digests(folder) if folder.exists() else {}
    pages = {name for name in found if not Path(name).name.startswith(".")}
    assert {name: found[name] for name in pages}.items() <= undisturbed.items()
    return len(pages)


def test_a_killed_build_leaves_whole_pages_and_the_next_ends_as_an_undisturbed_one(
    builder, tmp_path
):
    """Killed while chapters and pages are made, then among the files that are published."""
    folder, rng, counts = tmp_path / "killed", Random(0), list[int]()
    for place in (tmp_path / "whole", folder):
        write(place, "new")
    assert status(builder, tmp_path / "whole", 0, 0) == "0"
    undisturbed = digests(tmp_path / "whole" / "html")
    for seconds in sorted(rng.uniform(0.02, 0.8) for _ in range(N_MADE)):
        assert status(builder, folder, 0, seconds) == "-9"
        assert whole_pages(folder / "html", undisturbed) == 0
    for _ in range(N_PUBLISHED):
        change = rng.randrange(2 * len(undisturbed), 4 * len(undisturbed))
        assert status(builder, folder, change, 0) == "-9"
        counts.append(whole_pages(folder / "html", undisturbed))
        shutil.rmtree(folder / "html", ignore_errors=True)
    assert (
        status(builder, folder, rng.randrange(2 * len(undisturbed), 3 * len(undisturbed)), 0)
        == "-9"
    )
    assert max(counts) > 10, "no kill while files were published"
    assert status(builder, folder, 0, 0) == "0"
    assert digests(folder / "html") == undisturbed


def test_what_a_killed_build_had_started_ends_with_it(builder, tmp_path):
    write(tmp_path, "long")
    for stage in ("book.worker", "book.pages_worker"):
        tell(builder, tmp_path, 0, 0)
        found: list[psutil.Process] = []
        while not found:
            found = [one for one in workers_of(tmp_path) if stage in one.info["cmdline"]]
        found[0].parent().kill()
        assert heard(builder) == "gone -9"
        deadline = time.monotonic() + 30
        while workers_of(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert workers_of(tmp_path) == []
