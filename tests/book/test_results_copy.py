"""The copy of results for others: which runs, how large, the same bytes, in its own words."""

from pathlib import Path

import duckdb
import polars as pl
import pytest

from store import Store, StoreError, copied_tables, write_copy
from tests.store.store_fakes import MODEL, TEXT, Scores, Told, head_scores


def per_sequence(rows: int) -> pl.DataFrame:
    """An aggregate, and many rows of single sequences behind it."""
    single = head_scores(1, rows).with_columns(sequence=pl.int_range(pl.len()))
    return pl.concat([head_scores(1, 1), single], how="vertical_relaxed")


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "store")
    store.recall(Scores(seed=1))
    about = {"models": pl.DataFrame([MODEL]), "texts": pl.DataFrame([TEXT])}
    store.recall(Told(answer={"head_scores": per_sequence(40_000)}, about=about))
    return store


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_the_same_results_are_the_same_bytes(store, tmp_path):
    paths = [tmp_path / "one.duckdb", tmp_path / "two.duckdb"]
    for path in paths:
        write_copy(store, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_only_the_wanted_runs_are_copied_with_what_they_are_about(store, tmp_path):
    wanted = store.recall(Scores(seed=1)).runs
    other = {**MODEL, "model": "11000000000000aa", "name": "other"}
    store.recall(Told(answer={}, asked={"of": "another"}, about={"models": pl.DataFrame([other])}))
    path = tmp_path / "copy.duckdb"
    assert write_copy(store, path, wanted) == ()
    assert rows(path, "SELECT run FROM runs") == [(wanted[0],)]
    assert rows(path, "SELECT count(*), count(DISTINCT run) FROM head_scores") == [(32, 1)]
    assert rows(path, "SELECT name FROM models") == [("tiny",)]
    write_copy(store, path)
    assert rows(path, "SELECT count(*) FROM models") == [(2,)]


def test_the_machine_is_not_named(store, tmp_path):
    assert all('"host"' in packages for packages in store.sql("FROM runs")["packages"])
    path = tmp_path / "copy.duckdb"
    write_copy(store, path)
    for (packages,) in rows(path, "SELECT packages FROM runs"):
        assert '"host"' not in str(packages)
        assert '"duckdb"' in str(packages)


def test_a_copy_that_would_be_too_large_keeps_the_aggregates_and_says_so(store, tmp_path):
    path = tmp_path / "copy.duckdb"
    write_copy(store, path)
    large = path.stat().st_size
    (left_out,) = write_copy(store, path, most_bytes=large - 100_000)
    assert path.stat().st_size <= large - 100_000
    assert (left_out.table, left_out.rows) == ("head_scores", 40_000)
    assert rows(path, "SELECT count(*), count(sequence) FROM head_scores") == [(33, 0)]
    (table,) = (table for table in copied_tables(path) if table.name == "head_scores")
    assert table.comment.endswith("This copy leaves out 40,000 rows of single sequences")


def test_what_cannot_be_copied_is_said_and_leaves_nothing(store, tmp_path):
    path = tmp_path / "copy.duckdb"
    with pytest.raises(StoreError, match=r"expected runs of the store .* got \['absent'\]; run"):
        write_copy(store, path, ["absent"])
    with pytest.raises(StoreError, match=r"into 1000 bytes, got \d+ with empty tables; allow"):
        write_copy(store, path, most_bytes=1000)
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_a_failure_of_the_writer_is_one_line(store, tmp_path):
    with pytest.raises(StoreError, match=r"^expected .*absent") as refusal:
        write_copy(store, tmp_path / "absent" / "copy.duckdb")
    assert "\n" not in str(refusal.value)


def test_a_copy_tells_what_it_holds(store, tmp_path):
    path = tmp_path / "copy.duckdb"
    write_copy(store, path)
    tables = {table.name: table for table in copied_tables(path)}
    assert tables["head_scores"].rows == 40_033
    assert not [t.name for t in tables.values() if not t.comment]
    bare = [t.name for t in tables.values() if not t.view and not all(c.comment for c in t.columns)]
    assert bare == []
    layer = next(column for column in tables["head_atlas"].columns if column.name == "layer")
    assert tables["head_atlas"].view
    assert layer.comment == "Layer, from 0"
