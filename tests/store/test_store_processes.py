"""Many processes and one folder: nobody waits, nobody sees half of anything, nothing is lost."""

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from polars.testing import assert_frame_equal

from store import Store, damages, run_key, snapshot

from .store_fakes import Scores, Sweep

TESTS = Path(__file__).parents[1]


@contextmanager
def process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process with pipes, which is gone when the block ends."""
    command = [sys.executable, str(TESTS / script), *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, bufsize=1, **pipes) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def worker() -> Iterator[subprocess.Popen[str]]:
    with process("store/store_worker.py") as started:
        assert heard(started) == "ready"
        yield started


def tell(process: subprocess.Popen[str], *words: object) -> None:
    assert process.stdin
    process.stdin.write(" ".join(map(str, words)) + "\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_many_writers_and_a_reader_of_two_tables(tmp_path):
    store, rows, runs = Store.open(tmp_path), 200, 15
    waits: list[float] = []
    with worker() as one, worker() as two, worker() as three:
        for first, writer in ((0, one), (10, two), (10, three)):
            tell(writer, "each", tmp_path, rows, first, first + runs)
            writer.stdin.close()
        while None in (one.poll(), two.poll(), three.poll()):
            started = time.perf_counter()
            with store.connect() as connection:
                facts = connection.execute("SELECT count(*) FROM head_scores").fetchall()[0][0]
                waits.append(time.perf_counter() - started)
                known = connection.execute(
                    "SELECT count(*), count(DISTINCT run) FROM runs"
                ).fetchall()[0]
                assert (facts, known[0]) == (known[1] * rows, known[1])
        for writer in (one, two, three):
            assert writer.stdout.read().endswith("gone 0\n")
    assert store.sql("SELECT count(*) FROM runs").item() == 25
    assert store.sql("SELECT count(*) FROM head_scores").item() == 25 * rows
    assert damages(store) == {}
    assert statistics.median(waits) < 1.0


def test_fifty_kills_lose_nothing_that_was_finished(tmp_path):
    seeds, rows, kills, finished = 2000, 16, 0, set[int]()
    chance = random.Random(50)
    with worker() as zygote:
        while kills < 50:
            tell(zygote, "sweep", tmp_path / "killed", rows, 0, seeds)
            pid = int(heard(zygote).removeprefix("start "))
            for _ in range(chance.randrange(5)):
                finished.update(range(int(heard(zygote).removeprefix("begin "))))
            time.sleep(chance.uniform(0, 0.04))
            os.kill(pid, signal.SIGKILL)
            while not (said := heard(zygote)).startswith("gone"):
                finished.update(range(int(said.removeprefix("begin "))))
            kills += said == "gone -9"
            assert said == "gone -9", "the sweep is too short for fifty kills"
    store = Store.open(tmp_path / "killed")
    survived = {
        seed for seed in range(seeds) if store.present([run_key(Scores(seed=seed, rows=rows))])
    }
    assert finished <= survived
    assert len(finished) > 20
    assert damages(store) == {}
    counts = store.sql("SELECT count(*) AS rows FROM head_scores GROUP BY run")
    assert set(counts["rows"]) == {rows}
    compare_with_undisturbed(store, Store.open(tmp_path / "undisturbed"), max(survived) + 10, rows)


def compare_with_undisturbed(store: Store, undisturbed: Store, seeds: int, rows: int) -> None:
    sweep = Sweep(seeds=tuple(range(seeds)), rows=rows)
    survived = len(store.runs())
    answer = store.recall(sweep)
    assert len(sweep.runs) == seeds - survived
    assert_frame_equal(answer["head_scores"], undisturbed.recall(sweep)["head_scores"])
    for table in ("head_scores", "models", "texts", "(SELECT run, parameters FROM runs)"):
        query = f"FROM {table} ORDER BY ALL"
        assert_frame_equal(store.sql(query), undisturbed.sql(query))


def test_an_open_notebook_and_a_run_never_block_each_other(tmp_path):
    store = Store.open(tmp_path)
    store.recall(Scores(seed=0))
    files = [str(tmp_path / "catalog.duckdb"), str(snapshot(store))]
    with process("store/store_holder.py", "read", *files) as kernel:
        assert heard(kernel) == "held"
        tell(kernel, "count")
        assert heard(kernel) == "[32, 32]"
        store.recall(Scores(seed=1))
        snapshot(store)
        tell(kernel, "count")
        assert heard(kernel) == "[32, 32]"
        assert store.sql("FROM head_scores").height == 64


def test_the_catalog_can_be_opened_while_runs_write(tmp_path):
    Store.open(tmp_path)
    counts = [0]
    with worker() as writer:
        tell(writer, "each", tmp_path, 50, 0, 30)
        while (said := heard(writer)) != "gone 0":
            assert said.startswith(("start", "done"))
            with duckdb.connect(str(tmp_path / "catalog.duckdb"), read_only=True) as catalog:
                (count,) = catalog.execute("SELECT count(*) FROM head_scores").fetchall()
                counts.append(count[0])
    assert counts == sorted(counts)
    assert counts[-1] == 30 * 50
    assert len(set(counts)) > 5


def test_a_process_that_had_the_damaged_part_in_mind_accepts_the_new_one(tmp_path):
    store = Store.open(tmp_path)
    with worker() as writer:
        tell(writer, "each", tmp_path, 32, 1, 2)
        assert [heard(writer)[:5] for _ in range(3)] == ["start", "done ", "gone "]
        assert store.recall(Scores(seed=1))["head_scores"].height == 32
        (name,) = [part.name for part in store.parts.current() if part.keys]
        store.parts.drop(name)
        tell(writer, "each", tmp_path, 32, 1, 2)
        assert [heard(writer)[:5] for _ in range(3)] == ["start", "done ", "gone "]
    question = Scores(seed=1)
    assert store.recall(question)["head_scores"].height == 32
    assert question.runs == []


@pytest.mark.parametrize("package", ["torch", "numpy", "marimo", "altair", "pyarrow", "tqdm"])
def test_the_store_imports_nothing_heavy(package):
    imports = f"import sys, store; sys.exit({package!r} in sys.modules)"
    command = [sys.executable, "-c", imports]
    assert subprocess.run(command, cwd=TESTS.parent, check=False).returncode == 0


def test_the_store_is_imported_in_no_time():
    timing = (
        "import polars, duckdb, time; started = time.perf_counter(); import store; "
        "print(time.perf_counter() - started)"
    )
    command = [sys.executable, "-c", timing]
    said = subprocess.run(command, cwd=TESTS.parent, check=True, capture_output=True, text=True)
    assert float(said.stdout) < 0.5
