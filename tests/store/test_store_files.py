"""The DuckDB files that a store makes: catalog, snapshots, the copy for others."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from store import Store, snapshot, snapshots, write_copy
from store.export import SNAPSHOTS_KEPT
from store.schema import schema

from .store_fakes import Scores, Sweep


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "store")
    store.recall(Sweep(seeds=(1, 2)))
    return store


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


COUNTS = "SELECT count(*), count(DISTINCT run) FROM head_scores"
COMMENTS = (
    "SELECT count(*) FROM duckdb_columns() "
    "WHERE NOT internal AND comment IS NOT NULL AND table_name IN "
    f"({', '.join(repr(table) for table in schema().tables)})"
)


def test_every_file_is_read_only_complete_and_commented(store, tmp_path):
    page = tmp_path / "page.duckdb"
    write_copy(store, page)
    made = snapshot(store)
    for path in (store.root / "catalog.duckdb", made, page):
        assert rows(path, COUNTS) == [(64, 2)]
        assert rows(path, "SELECT count(*) FROM head_atlas") == [(32,)]
        assert rows(path, COMMENTS) == [(sum(map(len, schema().tables.values())),)]
        assert rows(
            path, "SELECT count(*) FROM duckdb_views() WHERE comment IS NULL AND NOT internal"
        ) == [(0,)]
        assert not path.with_name(f"{path.name}.wal").exists()
    assert {path.stat().st_mode & 0o777 for path in (store.root / "catalog.duckdb", made)} == {
        0o444
    }


def test_a_snapshot_has_tables_of_its_own_with_keys_on_the_small_ones(store):
    path = snapshot(store)
    tables = rows(path, "SELECT table_name FROM duckdb_tables() WHERE has_primary_key")
    assert sorted(tables) == [("models",), ("runs",), ("texts",)]
    moved = path.rename(path.parent.parent / "elsewhere.duckdb")
    assert rows(moved, COUNTS) == [(64, 2)]


def test_the_catalog_follows_and_a_snapshot_does_not(store):
    path = snapshot(store)
    store.recall(Scores(seed=3))
    assert rows(path, COUNTS) == [(64, 2)]
    assert rows(store.root / "catalog.duckdb", COUNTS) == [(96, 3)]


def test_snapshots_have_new_names_and_the_newest_few_are_kept(store):
    made = [snapshot(store) for _ in range(SNAPSHOTS_KEPT + 2)]
    assert [path.name for path in made] == [f"results-{n}.duckdb" for n in range(1, 6)]
    assert snapshots(store) == made[-SNAPSHOTS_KEPT:]
    assert sorted(store.root.glob("results-*")) == made[-SNAPSHOTS_KEPT:]


def storage_version(path: Path) -> str:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS it (READ_ONLY)")
        tags = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'it'"
        return connection.execute(tags).fetchall()[0][0]


def test_older_shells_can_open_the_files(store, tmp_path):
    write_copy(store, tmp_path / "page.duckdb")
    assert storage_version(snapshot(store)).startswith("v1.5.0")
    assert storage_version(store.root / "catalog.duckdb").startswith("v1.5.0")
    assert storage_version(tmp_path / "page.duckdb").startswith("v1.0.0")


def test_a_copy_is_small_and_replaced_at_once(store, tmp_path):
    page = tmp_path / "page.duckdb"
    write_copy(store, page)
    with duckdb.connect(str(page), read_only=True) as reader:
        size = reader.execute("SELECT block_size FROM pragma_database_size()").fetchall()
        assert size == [(16384,)]
        store.recall(Scores(seed=3))
        write_copy(store, page)
        assert reader.execute(COUNTS).fetchall() == [(64, 2)]
    assert rows(page, COUNTS) == [(96, 3)]
    assert {path.name for path in tmp_path.iterdir()} == {"store", "page.duckdb"}


OTHER_PROCESS = """
import duckdb, sys
try:
    duckdb.connect(sys.argv[1]).execute("CREATE TABLE theirs AS SELECT 1 AS x")
except duckdb.IOException as error:
    print("refused:", str(error))
else:
    print("let in")
"""


def test_nothing_we_do_drops_the_lock_of_a_file_that_we_have_open(store):
    path = snapshot(store)
    path.chmod(0o644)
    with duckdb.connect(str(path)) as ours:
        ours.execute("CREATE TABLE ours AS SELECT 1 AS x")
        store.recall(Scores(seed=9))
        snapshot(store)
        write_copy(store, store.root.parent / "page.duckdb")
        Store.open(store.root)
        command = [sys.executable, "-c", OTHER_PROCESS, str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert said.startswith("refused: "), said
        assert "lock" in said


def test_a_careless_writer_spoils_neither_catalog_nor_snapshot(store):
    first = snapshot(store)
    paths = [str(store.root / "catalog.duckdb"), str(first)]
    holder = Path(__file__).with_name("store_holder.py")
    with subprocess.Popen(
        [sys.executable, str(holder), "write", *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        if os.geteuid() == 0:
            assert list(store.root.glob("*.wal"))
        store.recall(Scores(seed=3))
        second = snapshot(store)
        process.kill()
    assert rows(store.root / "catalog.duckdb", COUNTS) == [(96, 3)]
    assert rows(second, COUNTS) == [(96, 3)]
