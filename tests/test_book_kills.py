"""A build killed at any moment: pages stay whole, nothing goes on behind it, the next ends it."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from .book_sample import digests, write_notebook
from .test_store_processes import heard, process, tell

N_KILLS = 16


@pytest.fixture(scope="module")
def builder() -> Iterator[subprocess.Popen[str]]:
    with process("build_worker.py") as started:
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


def test_a_killed_build_leaves_whole_pages_and_the_next_ends_as_an_undisturbed_one(
    builder, tmp_path
):
    folder, rng, kills, seen = tmp_path / "killed", Random(0), 0, set[str]()
    write(tmp_path / "whole", "new")
    assert status(builder, tmp_path / "whole", 0, 0) == "0"
    undisturbed = digests(tmp_path / "whole" / "html")
    write(folder, "new")
    while kills < N_KILLS:
        early = kills < N_KILLS // 2
        change = 0 if early else rng.randrange(1, 300)
        seconds = rng.uniform(0.05, 2.0) if early else 0
        gone = status(builder, folder, change, seconds)
        assert gone in {"-9", "0"}
        kills += gone == "-9"
        for name, digest in (digests(folder / "html") if (folder / "html").exists() else {}).items():
            if not Path(name).name.startswith("."):
                assert digest == undisturbed[name], f"{name} is half written"
                seen.add(name)
        if gone == "0":
            (folder / "html" / "index.html").unlink()
    assert status(builder, folder, 0, 0) == "0"
    assert digests(folder / "html") == undisturbed
    assert seen, "no kill while pages were published"


@pytest.mark.parametrize("stage", ["book.worker", "book.pages_worker"])
def test_what_a_killed_build_had_started_ends_with_it(builder, tmp_path, stage):
    write(tmp_path, "long")
    tell(builder, tmp_path, 0, 0)
    found: list[psutil.Process] = []
    while not found:
        found = [one for one in workers_of(tmp_path) if stage in one.info["cmdline"]]
    found[0].parent().kill()
    assert heard(builder) == "gone -9"
    psutil.wait_procs(found, timeout=10)
    deadline = time.monotonic() + 10
    while workers_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers_of(tmp_path) == []
