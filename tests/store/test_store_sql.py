from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from store import Store, StoreError

from .store_fakes import Scores, Sweep

PACKAGE = Path(__file__).parents[2] / "store"


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "store")
    store.recall(Sweep(seeds=(1, 2)))
    return store


def test_people_get_frames(store):
    rows = store.sql("SELECT n AS seed, count(*) AS rows FROM head_scores GROUP BY n ORDER BY n")
    assert rows.rows() == [(1, 32), (2, 32)]
    assert store.sql("SELECT count(*) FROM head_scores WHERE n = ?", [2]).item() == 32


@pytest.mark.parametrize(
    "query",
    [
        "FROM head_scores LIMIT 1",
        "WITH one AS (SELECT 1 AS x) FROM one",
        "DESCRIBE head_scores",
        "SHOW TABLES",
        "SUMMARIZE runs",
        "PIVOT head_scores ON n USING sum(value) GROUP BY layer",
        "EXPLAIN SELECT 1",
        "VALUES (1), (2)",
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'runs' -- every column;",
    ],
)
def test_every_way_of_asking_works(store, query):
    assert store.sql(query).height > 0


def test_an_answer_does_not_change_when_the_store_does(store):
    rows = store.sql("FROM runs")
    store.recall(Scores(seed=3))
    assert rows.height == 2
    assert store.sql("FROM runs").height == 3


def test_sql_reads_the_very_rows_that_recall_does(store):
    rows = store.recall(Sweep(seeds=(2, 1)))["head_scores"].sort("n", "layer", "head")
    assert_frame_equal(store.sql("FROM head_scores ORDER BY n, layer, head"), rows)


BEYOND = {
    "DATE '290000-01-01'": "290000-01-01",
    "DATE '10000-01-01'": "10000-01-01",
    "DATE '-5000-01-01'": "5001-01-01 (BC)",
    "DATE '0001-12-31 (BC)'": "0001-12-31 (BC)",
    "'infinity'::DATE": "infinity",
    "TIMESTAMP '290000-01-01'": "290000-01-01 00:00:00",
    "'-infinity'::TIMESTAMP": "-infinity",
    "TIMESTAMP_S '290000-01-01'": "290000-01-01 00:00:00",
    "'infinity'::TIMESTAMP_S": "infinity",
    "'infinity'::TIMESTAMP_MS": "infinity",
    "'-infinity'::TIMESTAMP_NS": "-infinity",
    "'infinity'::TIMESTAMPTZ": "infinity",
    "TIME '24:00:00'": "24:00:00",
    "TIME_NS '24:00:00'": "24:00:00",
    "340282366920938463463374607431768211455::UHUGEINT": "340282366920938463463374607431768211455",
    "[NULL, [DATE '290000-01-01']]": "[NULL, [290000-01-01]]",
    "['infinity'::DATE, '2020-01-01']::DATE[2]": "[infinity, 2020-01-01]",
    "{'a': [TIME '24:00:00']}": "{'a': ['24:00:00']}",
    "{'a': {'b': 'infinity'::TIMESTAMP}}": "{'a': {'b': infinity}}",
    "MAP {'a': DATE '290000-01-01'}": "{a=290000-01-01}",
}
"""What no date or time of Python is, and how DuckDB writes it."""


@pytest.mark.parametrize("cell", BEYOND)
def test_what_python_has_no_date_for_is_text(store, cell, capfd):
    rows = store.sql(
        f"SELECT {cell} AS x, DATE '2020-01-01' AS x, 'a' AS \"y\"\"\" UNION ALL FROM "
        "(VALUES (NULL, NULL, NULL))"
    )
    assert rows.rows() == [(BEYOND[cell], date(2020, 1, 1), "a"), (None, None, None)]
    assert capfd.readouterr().err == ""


WITHIN = {
    "DATE '0001-01-01'": date.min,
    "DATE '9999-12-31'": date.max,
    "TIMESTAMP '9999-12-31 23:59:59.999999'": datetime.max,
    "TIMESTAMP_MS '0001-01-01'": datetime.min,
    "TIMESTAMP_NS '2020-01-01'": datetime(2020, 1, 1),
    "TIMESTAMPTZ '2020-01-01 00:00:00+00'": datetime(2020, 1, 1, tzinfo=UTC),
    "[DATE '2020-01-01', NULL]": [date(2020, 1, 1), None],
    "[]::DATE[]": [],
    "{'a': DATE '2020-01-01'}": {"a": date(2020, 1, 1)},
    "NULL::TIMESTAMP": None,
}


@pytest.mark.parametrize("cell", WITHIN)
def test_what_python_has_a_date_for_is_one(store, cell):
    assert store.sql(f"SELECT {cell} AS x").to_dicts() == [{"x": WITHIN[cell]}]


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMPTZ"])
@pytest.mark.parametrize("given", ["infinity", "-infinity", "5001-01-01 (BC)", "290000-01-01"])
def test_a_parameter_may_be_beyond_dates(store, kind, given, capfd):
    for sql, parameter in ((f"SELECT ?::{kind}", given), (f"SELECT unnest(?::{kind}[])", [given])):
        assert store.sql(sql, [parameter]).item().startswith(given)
    assert capfd.readouterr().err == ""


def test_dates_drawn_at_random_are_one_answer(store):
    """A query is asked anew where its dates do not fit, and others may then not."""
    draw = "CASE WHEN random() < 0.5 THEN DATE '2020-01-01' ELSE 'infinity' END"
    for _ in range(20):
        rows = store.sql(f"SELECT {', '.join([draw] * 6)}")
        assert set(map(str, rows.row(0))) <= {"2020-01-01", "infinity"}


ESCAPES = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM read_parquet('{part}')",
    "COPY head_scores TO '{part}' (USE_TMP_FILE false)",
    "COPY (PIVOT head_scores ON n USING sum(value)) TO '{part}' (USE_TMP_FILE false)",
    "WITH x AS (COPY head_scores TO '{part}' (USE_TMP_FILE false)) SELECT 1",
    "WITH x AS (COPY head_scores TO '{out}') SELECT 1",
    "SELECT * FROM query('WITH x AS (COPY head_scores TO ''{out}'') FROM x')",
    "EXPLAIN ANALYZE COPY head_scores TO '{part}' (USE_TMP_FILE false)",
    "EXPORT DATABASE '{out}'",
    "ATTACH '{out}'",
    "ATTACH '{catalog}' (READ_ONLY)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET threads = 1",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "CALL enable_logging(storage = 'file', storage_config = {{'path': '{out}'}})",
    "SELECT * FROM enable_logging(storage := 'file')",
    "CREATE TABLE mine AS SELECT 1",
    "DROP VIEW head_scores",
    "INSERT INTO runs SELECT * FROM runs",
    "DELETE FROM runs",
    "WITH gone AS (DELETE FROM runs RETURNING *) FROM gone",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
    "SELECT * FROM secret",
]


@pytest.mark.parametrize("query", ESCAPES)
def test_a_query_reaches_nothing_but_the_tables(store, tmp_path, query):
    secret = pl.DataFrame({"word": ["swordfish"]})
    part = max(
        store.parts.folder.rglob("head_scores.parquet"), key=lambda path: path.stat().st_size
    )
    before = {path: path.read_bytes() for path in store.root.rglob("*.parquet")}
    out = tmp_path / "out"
    filled = query.format(part=part, out=out, catalog=store.root / "catalog.duckdb")
    with pytest.raises(StoreError, match=r"^expected ") as refusal:
        store.sql(filled)
    assert "\n" not in str(refusal.value)
    assert not out.exists()
    assert before == {path: path.read_bytes() for path in store.root.rglob("*.parquet")}
    assert store.sql("FROM runs").height == 2
    assert secret.height == 1


def test_refusals_tell_what_to_do(store):
    with pytest.raises(
        StoreError, match=r"expected one query such as SELECT, got COPY; .*read-only"
    ):
        store.sql("COPY runs TO 'x'")
    with pytest.raises(StoreError, match=r"reaches beyond them .*open catalog\.duckdb in a duckdb"):
        store.sql("FROM read_csv('/etc/passwd')")
    with pytest.raises(StoreError, match=r"that DuckDB can answer, got: .*nonsense"):
        store.sql("SELECT nonsense FROM runs")


def test_what_an_allowed_path_would_have_cost(store, tmp_path):
    """Why the sandbox hands parts over instead of allowing their paths."""
    path = tmp_path / "allowed.parquet"
    pl.DataFrame({"x": [1]}).write_parquet(path)
    with duckdb.connect() as connection:
        connection.execute(f"SET allowed_paths = ['{path}']; SET enable_external_access = false")
        connection.execute(
            f"WITH x AS (COPY (SELECT 2 AS x) TO '{path}' (USE_TMP_FILE false)) SELECT 1"
        ).fetchall()
    assert pl.read_parquet(path).item() == 2


def test_nothing_in_the_package_can_unpickle():
    sources = list(PACKAGE.glob("*.py"))
    assert sources
    for source in sources:
        text = source.read_text(encoding="utf-8")
        assert not any(word in text for word in ("pickle", "marshal", "shelve", "eval(", "exec("))
