import json
import os
import shutil
import subprocess
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from store import SCHEMA_VERSION, Store, StoreError, compact, damages, default_root, snapshot

from .store_fakes import Scores, Sweep

needs_mount = pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode
    != 0,
    reason="needs root and a system that lets it mount: runs wherever both are given",
)


def test_where_the_store_is(monkeypatch, tmp_path):
    monkeypatch.delenv("HEADBOOK_STORE", raising=False)
    assert default_root() == Path(__file__).parents[2] / ".headbook"
    monkeypatch.setenv("HEADBOOK_STORE", str(tmp_path / "named"))
    assert Store.open().root == tmp_path / "named"
    assert Store.open(tmp_path / "given").root == tmp_path / "given"


def test_a_store_says_that_it_is_one(tmp_path):
    Store.open(tmp_path)
    assert json.loads((tmp_path / "store.json").read_text()) == {
        "format": 1,
        "schema": SCHEMA_VERSION,
    }


def refused(path: Path, message: str) -> None:
    with pytest.raises(StoreError, match=message) as refusal:
        Store.open(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    refused(tmp_path, r"expected an empty folder or a store .*without store\.json; choose another")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "expected a folder .* got a file; choose another")
    refused(tmp_path / "file" / "store", "a file on the way to it; choose another")


@pytest.mark.parametrize(
    "newer", [{"format": 2, "schema": 1}, {"format": 1, "schema": SCHEMA_VERSION + 1}]
)
def test_a_store_of_a_newer_headbook_is_refused(tmp_path, newer):
    Store.open(tmp_path)
    (tmp_path / "store.json").unlink()
    (tmp_path / "store.json").write_text(json.dumps(newer))
    refused(
        tmp_path,
        rf"format 1 and schema {SCHEMA_VERSION} or older .*got format \d and schema \d; "
        "update headbook",
    )


@pytest.mark.parametrize("schema", range(SCHEMA_VERSION))
def test_a_store_of_an_older_schema_is_read(tmp_path, schema):
    Store.open(tmp_path).recall(Scores(seed=1))
    (tmp_path / "store.json").unlink()
    (tmp_path / "store.json").write_text(json.dumps({"format": 1, "schema": schema}))
    assert Store.existing(tmp_path).recall(Scores(seed=1))["head_scores"].height == 32


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "one", "schema": 1}'])
def test_a_spoiled_marker_is_refused_with_its_remedy(tmp_path, text):
    Store.open(tmp_path)
    (tmp_path / "store.json").unlink()
    (tmp_path / "store.json").write_text(text)
    refused(tmp_path, rf'restore it: \{{"format":1,"schema":{SCHEMA_VERSION}\}}')


def test_a_creation_that_was_killed_is_completed(tmp_path):
    (tmp_path / ".store.json.0123").write_text("")
    Store.open(tmp_path)
    shutil.rmtree(tmp_path / "parts")
    assert Store.open(tmp_path).sql("FROM runs").height == 0


def test_a_moved_store_answers_from_where_it_is(tmp_path):
    before = Store.open(tmp_path / "here").recall(Scores(seed=1))
    (tmp_path / "here").rename(tmp_path / "there")
    moved = Store.open(tmp_path / "there")
    again = Scores(seed=1)
    assert_frame_equal(moved.recall(again)["head_scores"], before["head_scores"])
    assert again.runs == []
    assert moved.sql("FROM head_scores").height == 32
    assert not moved.catalog.is_current()  # looking writes nothing
    compact(moved)
    with duckdb.connect(str(tmp_path / "there" / "catalog.duckdb"), read_only=True) as catalog:
        assert catalog.execute("SELECT count(*) FROM head_scores").fetchall() == [(32,)]
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("name", ["it's a [store]*", "model=tiny", "ümlaut ✓"])
def test_a_strange_name_is_a_name(tmp_path, name):
    store = Store.open(tmp_path / name)
    store.recall(Sweep(seeds=(1, 2)))
    assert store.sql("FROM head_scores").height == 64
    with store.connect() as connection:
        assert connection.sql("FROM head_scores").pl().height == 64
    assert store.catalog.is_current()
    assert snapshot(store).is_file()
    assert store.recall(Scores(seed=1))["head_scores"].height == 32


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


@needs_mount
def test_a_full_disk_costs_nothing_that_was_finished(small_disk):
    store = Store.open(small_disk / "store")
    sweep = Sweep(seeds=tuple(range(9)), rows=30_000)
    with pytest.raises(
        StoreError, match="got a full disk; free some space and run again"
    ) as refusal:
        store.recall(sweep)
    assert "\n" not in str(refusal.value)
    finished = len(sweep.runs) - 1
    assert 0 < finished < 9
    assert store.sql("SELECT count(*) FROM runs").item() == finished
    assert damages(store) == {}
    with pytest.raises(StoreError, match=r"expected to write|full disk"):
        snapshot(store)
    remount(small_disk, "size=50m")
    sweep.runs.clear()
    assert store.recall(sweep)["head_scores"].height == 270_000
    assert len(sweep.runs) == 9 - finished
    assert [path for path in store.parts.tmp.iterdir() if path.is_dir()] == []


@needs_mount
def test_a_read_only_disk_is_read_and_not_written(small_disk):
    Store.open(small_disk / "store").recall(Scores(seed=1))
    remount(small_disk, "ro")
    store = Store.open(small_disk / "store")
    assert store.recall(Scores(seed=1))["head_scores"].height == 32
    assert store.sql("FROM runs").height == 1
    with pytest.raises(StoreError, match=r"expected a folder to write to .*got a read-only disk"):
        store.recall(Scores(seed=2))
    with pytest.raises(StoreError, match="got a read-only disk; choose another with --store"):
        Store.open(small_disk / "other")


def test_a_folder_that_is_closed_to_us_is_named(tmp_path, monkeypatch):
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", closed)
    refused(
        tmp_path / "store", "expected a folder to write to .*got permission denied; choose another"
    )


def test_an_empty_store_travels_without_its_empty_folders(tmp_path):
    Store.open(tmp_path).recall(Scores(seed=1))
    shutil.rmtree(tmp_path / "tmp")
    store = Store.open(tmp_path)
    assert store.recall(Scores(seed=2))["head_scores"].get_column("value").dtype == pl.Float64
