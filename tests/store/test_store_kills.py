"""A process killed before each of its changes of a store: nothing finished is lost, nothing half
is seen, and the next process goes on."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

import duckdb
import pytest
from polars.testing import assert_frame_equal

from store import Store, damages, prune, run_key, snapshot, snapshots

from .store_fakes import Scores, Sweep
from .test_store_processes import heard, process, tell

N_ROWS = 32
COUNTS = "SELECT count(*), count(DISTINCT run) FROM head_scores"


@contextmanager
def keeper() -> Iterator[subprocess.Popen[str]]:
    with process("store/upkeep_worker.py") as started:
        assert heard(started) == "ready"
        yield started


def is_killed(keeper: subprocess.Popen[str], *asked: object) -> bool:
    """Whether the process died of the signal; else it has done all that was asked."""
    tell(keeper, *asked)
    said = heard(keeper)
    if said == "done":
        assert heard(keeper) == "gone 0"
    else:
        assert said == "gone -9"
    return said != "done"


def counts(path: Path) -> tuple[int, int]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(COUNTS).fetchall()[0]


def copied(store: Store, root: Path) -> Path:
    return Path(shutil.copytree(store.root, root))


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> Store:
    """A store of four runs, a part each."""
    store = Store.open(tmp_path_factory.mktemp("four") / "store")
    store.recall(Sweep(seeds=(0, 1, 2, 3)))
    return store


def test_a_run_killed_at_any_change_is_whole_or_absent(tmp_path):
    """Change after change until a run is not killed any more, every run of another seed."""
    root, published = tmp_path / "killed", list[bool]()
    Store.open(root).recall(Scores(seed=0))
    with keeper() as started:
        for change in count(1):
            if not is_killed(started, "recall", root, change, change):
                break
            shown = counts(root / "catalog.duckdb")
            store = Store.open(root)
            published.append(bool(store.present([run_key(Scores(seed=change))])))
            runs = 1 + sum(published)
            assert store.sql(COUNTS).row(0) == (runs * N_ROWS, runs)
            assert shown in {(runs * N_ROWS, runs), ((runs - 1) * N_ROWS, runs - 1)}
            assert store.catalog.refresh(), "as the next writer does"
            assert counts(root / "catalog.duckdb") == (runs * N_ROWS, runs)
    assert len(published) >= 20, "kills at fewer changes than a run makes"
    assert published == sorted(published), "one moment, at which a run is published"
    assert {False, True} == set(published)
    assert damages(store) == {}
    whole = Sweep(seeds=tuple(range(len(published) + 2)))
    answer = Store.open(root).recall(whole)["head_scores"]
    assert whole.runs == [1 + i for i, present in enumerate(published) if not present]
    assert_frame_equal(answer, Store.open(tmp_path / "whole").recall(whole)["head_scores"])
    assert prune(Store.open(root), grace_s=-1) == []
    assert list((root / "tmp").iterdir()) == [], "what the killed left is swept"


def test_a_store_killed_while_it_is_made_is_made_by_the_next(tmp_path):
    undisturbed = Store.open(tmp_path / "whole").recall(Scores(seed=1))["head_scores"]
    with keeper() as started:
        for change in Random(0).sample(range(1, 80), 20):
            root = tmp_path / str(change)
            assert is_killed(started, "recall", root, 1, change)
            store = Store.open(root)
            assert store.runs() == ()
            assert_frame_equal(store.recall(Scores(seed=1))["head_scores"], undisturbed)


@pytest.mark.parametrize(("what", "least"), [("compact", 15), ("prune", 10)])
def test_upkeep_killed_at_any_change_changes_no_answer(four, tmp_path, what, least):
    root, kills = copied(four, tmp_path / "store"), 0
    with keeper() as started:
        if what == "prune":
            assert not is_killed(started, "compact", root, 0, 0)
        asked = Sweep(seeds=(0, 1, 2, 3))
        while is_killed(started, what, root, 0, kills + 1):
            kills += 1
            store = Store.open(root)
            assert store.sql(COUNTS).row(0) == (4 * N_ROWS, 4)
            assert_frame_equal(
                store.recall(asked)["head_scores"], four.recall(asked)["head_scores"]
            )
            if what == "compact":
                shutil.rmtree(root)
                copied(four, root)
    assert asked.runs == []
    assert kills >= least
    assert damages(Store.open(root)) == {}


def test_a_snapshot_killed_at_any_change_is_whole_or_absent(four, tmp_path):
    root, kills = copied(four, tmp_path / "store"), 0
    with keeper() as started:
        while is_killed(started, "snapshot", root, 0, kills + 1):
            kills += 1
            for path in snapshots(Store.open(root)):
                assert counts(path) == (4 * N_ROWS, 4)
    assert kills >= 4
    assert counts(snapshot(Store.open(root))) == (4 * N_ROWS, 4)
    assert len(snapshots(Store.open(root))) <= 3
