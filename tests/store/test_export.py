"""`headbook export`: the same tables as Parquet, CSV and DuckDB, with their comments."""

import json

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

from book.cli import cli
from store import FORMS, Store, StoreError, described, export_tables
from tests.book.book_sample import digests

from .store_fakes import Sweep


def invoke(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store.open(tmp_path / "store")
    store.recall(Sweep(seeds=(1, 2, 3)))
    return store


def test_all_forms_hold_the_same_rows(store, tmp_path):
    done = invoke("export", tmp_path / "out", "--store", store.root)
    assert done.exit_code == 0, done.output
    assert "parquet, csv, duckdb" in done.output
    told = "SELECT * FROM head_scores ORDER BY ALL"
    wanted = store.sql(told)
    assert wanted.height == 96
    assert_frame_equal(pl.read_parquet(tmp_path / "out/parquet/head_scores.parquet"), wanted,
                       check_row_order=False)  # fmt: skip
    read = pl.read_csv(tmp_path / "out/csv/head_scores.csv", schema=wanted.schema)
    assert_frame_equal(read, wanted, check_row_order=False)
    with duckdb.connect(tmp_path / "out/results.duckdb", read_only=True) as connection:
        assert_frame_equal(connection.sql(told).pl(), wanted)
        heads = connection.sql("SELECT count(*) FROM strongest_heads").fetchall()
    assert heads[0][0] > 0, "views come with the tables"


def test_every_table_is_there_and_says_what_it_means(store, tmp_path):
    rows = export_tables(store, tmp_path / "out", ["parquet"])
    tables = described().filter(pl.col("column").is_null(), kind="table")
    assert rows.keys() == set(tables["table"])
    files = {path.stem: path for path in (tmp_path / "out" / "parquet").iterdir()}
    assert files.keys() == rows.keys()
    for table, comment in tables.select("table", "comment").iter_rows():
        told = pq.read_schema(files[table]).metadata
        assert told[b"comment"].decode() == comment
        columns = json.loads(told[b"columns"])
        assert list(columns) == pq.read_schema(files[table]).names
        assert all(columns.values())
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| `head_scores` | 96 |" in readme
    assert "csv/" not in readme
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "parquet", "schema.sql",
    ]  # fmt: skip


def test_two_exports_are_the_same_tables(store, tmp_path):
    for name in ("one", "two"):
        export_tables(store, tmp_path / name, ["parquet", "csv"])
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_no_file_names_this_machine(store, tmp_path):
    (host,) = store.sql("SELECT DISTINCT packages->>'host' FROM runs").to_series()
    assert host
    export_tables(store, tmp_path / "out", FORMS)
    for path in (tmp_path / "out").rglob("*.*"):
        assert f'"host": "{host}"' not in path.read_bytes().decode(errors="ignore")
    runs = pl.read_parquet(tmp_path / "out" / "parquet" / "runs.parquet")
    assert not runs["packages"].str.contains("host").any()


def test_a_folder_with_files_is_left_alone(store, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    done = invoke("export", tmp_path / "out", "--store", store.root)
    assert done.exit_code == 2
    assert "expected a new or empty folder" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    mixed = invoke("export", tmp_path / "new", "--format", "csv", "--format", "published",
                   "--store", store.root)  # fmt: skip
    assert "expected published alone" in mixed.stderr


@pytest.mark.parametrize("forms", [[], ["parquet", "excel"]])
def test_an_unknown_form_is_refused_and_nothing_is_left_behind(store, tmp_path, forms):
    with pytest.raises(StoreError, match="expected some of parquet, csv, duckdb, got"):
        export_tables(store, tmp_path / "out", forms)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_failed_export_leaves_nothing(store, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("store.exported._write_texts", full)
    with pytest.raises(StoreError, match="got a full disk"):
        export_tables(store, tmp_path / "out", FORMS)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_every_column_of_every_table_is_described():
    tables = described().filter(kind="table")
    assert tables["comment"].null_count() == 0
    assert described().filter(pl.col("column").is_null())["comment"].null_count() == 0
