"""SQL from anyone: it reads the store's tables, and nothing else, whatever it is wrapped in."""

import json
import os
from types import SimpleNamespace

import duckdb
import polars as pl
import pytest
from bs4 import BeautifulSoup
from click.testing import CliRunner
from hypothesis import strategies as st

from book.cli import cli
from book.shell import ask
from book.sql_console import Console, console_html
from book.sql_queries import QUERIES, Query
from store import Store
from store.sandbox import answer, sandbox
from store.schema import schema
from tests.store.store_fakes import Sweep

from .hostile import BROKEN_TEXT, NAME, Place, hostile, refused

WORD = "swordfish"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Files that a query may know of, and a secret in the environment."""
    place = Place(tmp_path_factory.mktemp("sql"))
    store = Store.open(place.work / "store")
    store.recall(Sweep(seeds=(1, 2)))
    words = pl.DataFrame({"word": [WORD]})
    words.write_parquet(place.work / "secret.parquet")
    words.write_csv(place.work / "secret.csv")
    (place.work / "secret.json").write_text('{"word": "swordfish"}')
    with duckdb.connect(str(place.work / "secret.duckdb")) as connection:
        connection.execute("CREATE TABLE secret AS SELECT 'swordfish' AS word")
    return place


@pytest.fixture(scope="module")
def store(place):
    return Store.open(place.work / "store")


@pytest.fixture(scope="module")
def locked(store):
    """One sandbox for many queries, so that what one unlocks helps the next."""
    with sandbox(store.pins(), schema().tables) as connection:
        yield connection


def files(place) -> dict[str, tuple[int, int]]:
    """Every file that there is, with its size and time."""
    paths = [path for path in place.root.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


SOURCES = (
    *("read_csv('{csv}')", "read_csv_auto(['{csv}'])", "read_text('{csv}')", "read_blob('{csv}')"),
    *("read_json('{json}')", "read_ndjson_objects('{json}')", "read_json_auto('{json}')"),
    *("read_parquet('{pq}')", "parquet_scan(['{pq}'])", "parquet_metadata('{pq}')"),
    *(
        "parquet_schema('{pq}')",
        "parquet_kv_metadata('{pq}')",
        "parquet_bloom_probe('{pq}', 'a', 1)",
    ),
    *("sniff_csv('{csv}')", "glob('{dir}/*')", "'{csv}'", "'{pq}'", '"{csv}"', '"{pq}"', "'{db}'"),
    *("query('FROM ''{csv}''')", "query_table('{csv}')", "query_table(['{pq}'])", "'file://{csv}'"),
    *("sqlite_scan('{db}', 'secret')", "postgres_scan('', '', '')", "read_xlsx('{csv}')"),
    *("read_duckdb('{db}', table_name := 'secret')", "secret.secret", "words", "store", "pl"),
    *("arrow_scan(1, 2, 3)", "pandas_scan(1)", "iceberg_scan('{dir}')", "'s3://x/{csv}'"),
    *("json_execute_serialized_sql(json_serialize_sql('FROM ''{csv}'''))", "duckdb_secrets()"),
    *("read_csv('/proc/self/environ')", "read_text('/dev/stdin')", "'http://127.0.0.1:9/x.csv'"),
)
SCALAR = (
    *("getenv('HOSTILE_SECRET')", "current_setting('HOSTILE_SECRET')", "getvariable('x')"),
    *(
        "(SELECT word FROM '{csv}')",
        "(SELECT content FROM read_text('{csv}'))",
        "file_exists('{csv}')",
    ),
    *(
        "pg_read_file('{csv}')",
        "load_file('{csv}')",
        "system('touch {out}')",
        "shell('touch {out}')",
    ),
    *("write_log('x', level := 'error')", "add_parquet_key('a', 'b')", "nextval('x')"),
)
STATEMENTS = (
    *("COPY runs TO '{out}'", "COPY (FROM runs) TO '{out}' (FORMAT csv)", "COPY runs FROM '{csv}'"),
    *("COPY FROM DATABASE memory TO x", "EXPORT DATABASE '{out}'", "IMPORT DATABASE '{dir}'"),
    *("ATTACH '{db}' AS secret", "ATTACH ':memory:' AS x", "DETACH memory", "USE memory.main"),
    *("INSTALL httpfs", "LOAD '{out}'", "FORCE INSTALL json FROM '{dir}'", "UPDATE EXTENSIONS"),
    *("SET enable_external_access = true", "SET GLOBAL lock_configuration = false", "RESET ALL"),
    *("SET allowed_paths = ['{csv}']", "SET temp_directory = '{out}'", "SET VARIABLE x = 1"),
    *("PRAGMA database_list", "PRAGMA enable_profiling='json'", "PRAGMA profiling_output='{out}'"),
    *("CREATE SECRET s (TYPE s3)", "CREATE MACRO m() AS TABLE FROM '{csv}'", "CHECKPOINT"),
    *("CREATE TABLE x AS FROM '{csv}'", "DROP VIEW runs", "INSERT INTO runs FROM runs"),
    *(
        "UPDATE runs SET run = 'x'",
        "DELETE FROM runs",
        "TRUNCATE runs",
        "ALTER VIEW runs RENAME TO x",
    ),
    *("PREPARE p AS FROM '{csv}'", "EXECUTE p", "CALL enable_logging(storage := 'file')", "VACUUM"),
    *(
        "CALL pragma_version()",
        "BEGIN; COPY runs TO '{out}'; COMMIT",
        "CREATE VIEW x AS FROM '{csv}'",
    ),
    *("COMMENT ON VIEW runs IS 'x'", "GRANT ALL ON runs TO x", "LISTEN x", "DO $$ $$", ".shell ls"),
)
WRAPS = (
    *("{q}", "{q};", ";{q}", "/* x */ {q} -- y", "-- x\n{q}", "({q})", "/*/**/{q}", "\ufeff{q}"),
    *("FROM ({q})", "SELECT * FROM ({q}) AS t", "WITH x AS ({q}) FROM x", "EXPLAIN {q}"),
    *(
        "WITH x AS MATERIALIZED ({q}) SELECT 1",
        "EXPLAIN ANALYZE {q}",
        "DESCRIBE {q}",
        "SUMMARIZE {q}",
    ),
    *(
        "SELECT EXISTS ({q})",
        "PREPARE p AS {q}",
    ),
    *(
        "SELECT 1 WHERE 1 IN ({q})",
        "FROM runs, LATERAL ({q})",
        "FROM query($${q}$$)",
        "SELECT 1; {q}",
    ),
    *(
        "PIVOT ({q}) ON run",
        "UNPIVOT ({q}) ON COLUMNS(*)",
        "FROM runs UNION BY NAME {q}",
        "TABLE ({q})",
    ),
    *("CREATE TEMP TABLE x AS {q}", "SELECT (SELECT to_json(t) FROM ({q}) t)", "VALUES (({q}))"),
    *(
        "FROM histogram_values(({q}), run)",
        "SELECT list_transform([1], lambda x: ({q}))",
        "EXECUTE {q}",
    ),
)
INNER = (
    st.sampled_from(SOURCES).map(lambda source: f"SELECT * FROM {source}")
    | st.sampled_from(SCALAR).map(lambda call: f"SELECT {call}")
    | st.sampled_from(STATEMENTS)
    | st.sampled_from([query.sql for query in QUERIES])
    | st.sampled_from(
        ["FROM test_all_types()", "SELECT 'infinity'::DATE, {{'a': 1}}", "SHOW TABLES"]
    )
    | st.builds("SELECT '{}', {}".format, BROKEN_TEXT, NAME).map(lambda q: q.replace("{", "{{"))
    | st.text(max_size=20).map(lambda text: text.replace("{", "{{").replace("}", "}}"))
)
WRAPPED = st.recursive(
    INNER,
    lambda inner: st.builds(lambda w, q: w.replace("{q}", q), st.sampled_from(WRAPS), inner),
    max_leaves=3,
)


def filled(place, query: str) -> str:
    """The query with real paths in it."""
    names = {kind: place.work / f"secret.{kind}" for kind in ("csv", "json")}
    names |= {"pq": place.work / "secret.parquet", "db": place.work / "secret.duckdb"}
    names |= {"dir": place.work, "out": place.root / "out"}
    for name, path in names.items():
        query = query.replace(f"{{{name}}}", str(path))
    return query.replace("{{", "{").replace("}}", "}")


def test_the_secrets_are_there_for_a_connection_without_a_sandbox(place):
    """Without this, never finding them would show nothing."""
    for source in ("read_csv('{csv}')", "'{csv}'", "'{pq}'", "read_json('{json}')"):
        assert WORD in str(duckdb.sql(filled(place, f"SELECT * FROM {source}")).fetchall())
    duckdb.sql(filled(place, "COPY (SELECT 1) TO '{out}'"))
    (place.root / "out").unlink()


@hostile(1500, query=WRAPPED, parameters=st.lists(NAME | BROKEN_TEXT | st.integers(), max_size=1))
def test_no_query_reads_or_writes_anything_else(place, locked, query, parameters):
    before = files(place)
    asked = filled(place, query)
    given = parameters if "?" in asked else ()
    frame, _ = refused(lambda: answer(locked, asked, given))
    if frame is not None:
        told = asked + "".join(map(str, given))
        assert WORD not in told
        texts = pl.selectors.by_dtype(pl.String, pl.List(pl.String))
        assert WORD not in str(frame.select(texts).rows())
    assert files(place) == before
    assert answer(locked, "SELECT count(*) FROM runs", ()).item() == 2


@hostile(30, query=WRAPPED, form=st.sampled_from(["--csv", "--json", None]))
def test_the_command_answers_or_says_why_not(place, query, form, monkeypatch):
    monkeypatch.setenv("HOSTILE_SECRET", WORD)
    before = files(place)
    asked = filled(place, query)
    options = [form] if form else []
    command = ["sql", *options, "--store", str(place.work / "store"), "--", asked]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code in {0, 2}, done.exception
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert WORD not in done.stdout or WORD in asked
    assert files(place) == before and os.environ["HOSTILE_SECRET"] == WORD


VALUES = (
    *("NULL", "1", "1.5", "'a'", "'<b>'", "'infinity'::DATE", "'-infinity'::TIMESTAMP", "true"),
    *("'\\xff'::BLOB", "'101'::BIT", "INTERVAL 1 MONTH", "[1, NULL]", "{'a': [1]}", "MAP {'a': 1}"),
    *("uuid()", "1::HUGEINT", "1::BIGNUM", "1::VARIANT", "'NaN'::DOUBLE", "union_value(a := 1)"),
    *("TIMETZ '00:00:00+01'", "TIME '24:00:00'", "1.5::DECIMAL(38, 10)", "'a'::ENUM('a')", "[[1]]"),
    *("TIMESTAMPTZ '2020-01-01'", "TIMESTAMP_NS '2020-01-01'", "'POINT(1 1)'::GEOMETRY", "[]"),
)


@hostile(300, cells=st.lists(st.sampled_from(VALUES), min_size=1, max_size=3), data=st.data())
def test_values_of_every_type_are_written_or_refused(locked, cells, data):
    store = SimpleNamespace(sql=lambda query: answer(locked, query, ()))
    query = f"SELECT {', '.join(cells)}"
    form = data.draw(st.sampled_from(["csv", "json", None]))
    text, _ = refused(lambda: ask(store, query, form))
    plain = all(cell in {"NULL", "1", "1.5", "'a'", "true", "INTERVAL 1 MONTH"} for cell in cells)
    assert text or not plain


def page(title: str, sql: str) -> BeautifulSoup:
    return BeautifulSoup(console_html(Console((Query(title, sql),))), "html.parser")


PLAIN = [tag.name for tag in page("x", "y").find_all(True)]


@hostile(500, title=NAME | st.text(), sql=NAME | st.text())
def test_a_query_on_the_page_stays_text(title, sql):
    shown = page(title, sql)
    assert [tag.name for tag in shown.find_all(True)] == PLAIN
    assert shown.find("option").text.split() == title.split()
    assert shown.find("textarea").text.split() == sql.split()
    kept = shown.find("script", class_="hb-sql-queries").string
    assert "<" not in kept and json.loads(kept) == [sql]
