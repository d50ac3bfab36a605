"""The console of chapter 11: its queries, its markup, and what a book ships for it."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import duckdb
import pytest
from bs4 import BeautifulSoup

from book.sql_console import CONTENTS, Console, console_html
from book.sql_files import ENGINE, MOST_BYTES, PACKED, contents_html
from book.sql_queries import QUERIES, Query
from store import CopiedColumn, CopiedTable, LeftOut, Store

from .book_sample import build_sample, digests, write_notebook

SETUP = """\
import marimo as mo
from book.sql_console import Console
from book.sql_queries import QUERIES
from store import Store
from tests.store.store_fakes import Scores"""
CELLS = (
    ("some_scores", "scores = Store.open().recall(Scores(seed=1))\nscores['head_scores'].head(3)"),
    ("console", "Console(QUERIES)"),
)


def built(folder: Path) -> Path:
    """A book with a console over the one run that it shows; the store holds another."""
    folder.mkdir(exist_ok=True)
    Store.open(folder / "store").recall(_other())
    notebook = write_notebook(folder / "11_ask.py", *CELLS, setup=SETUP)
    build_sample(folder, (notebook,), model="m")
    return folder / "html"


def _other():
    from tests.store.store_fakes import Scores  # noqa: PLC0415 - the notebook's own is another module

    return Scores(seed=2)


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("console"))


def test_there_are_a_dozen_queries_with_names_of_their_own():
    assert len(QUERIES) >= 12
    assert len({query.title for query in QUERIES}) == len(QUERIES)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
def test_a_query_fits_the_tables(query, tmp_path_factory):
    empty = Store.open(tmp_path_factory.getbasetemp() / "empty-store")
    assert empty.sql(query.sql).is_empty()


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
def test_a_query_has_an_answer_in_the_real_store(query, real_book):
    assert Store.open(real_book.store).sql(query.sql).height > 0


@pytest.mark.parametrize(
    "query", [q for q in QUERIES if "AS heads" in q.sql], ids=lambda q: q.title
)
def test_every_head_counts_once(query, real_book):
    """Though several experiments store a score of it on the same kind of data."""
    store = Store.open(real_book.store)
    (n_heads,) = store.sql("SELECT count(*) AS n FROM head_atlas")["n"]
    assert store.sql(query.sql)["heads"].max() == n_heads


def test_what_a_query_says_stays_text():
    query = Query("</option><script>1</script>", "SELECT '</script></textarea><b>'")
    soup = BeautifulSoup(console_html(Console((query,))), "html.parser")
    option, area = soup.find("option"), soup.find("textarea")
    assert option is not None and option.text == query.title
    assert area is not None and area.text == query.sql
    assert [tag["type"] for tag in soup.find_all("script")] == ["application/json"]
    assert soup.find("b") is None


def test_what_a_copy_holds_stays_text_and_says_what_is_missing():
    column = CopiedColumn("x", "VARCHAR", "a <b> & more")
    tables = (
        CopiedTable("runs", False, "<i>", 3, (column,)),
        CopiedTable("bare", True, "", 0, (column,)),
    )
    shown = contents_html(tables, (LeftOut("runs", 7, "rows"),), 1_500_000)
    soup = BeautifulSoup(shown, "html.parser")
    assert soup.find("b") is None and soup.find("i") is None
    text = soup.get_text(" ", strip=True)
    for told in ("1 tables and 0 views of the 3 runs", "1.5 MB", "leaves out rows of runs"):
        assert told in text
    assert "1 without rows in this book" in text


def test_a_book_ships_the_engine_and_the_runs_that_it_shows(html, tmp_path):
    assert {path.name for path in (html / "sql").iterdir()} == {*ENGINE, PACKED}
    copy = tmp_path / "results.duckdb"
    copy.write_bytes(gzip.decompress((html / "sql" / PACKED).read_bytes()))
    assert copy.stat().st_size < MOST_BYTES
    with duckdb.connect(str(copy), read_only=True) as connection:
        runs = connection.execute("SELECT run FROM runs").fetchall()
    page = (html / "11_ask.html").read_text(encoding="utf-8")
    assert len(runs) == 1
    assert f"run-{runs[0][0]}" in page
    assert CONTENTS not in page
    assert re.search(r"of the 1 runs that this book shows", page)


def test_two_builds_are_the_same_bytes(html, tmp_path):
    first = digests(html)
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "store").symlink_to(html.parent / "store")
    notebook = html.parent / "11_ask.py"
    build_sample(folder, (notebook,), model="m")
    assert digests(folder / "html") == first


def test_nothing_changed_writes_nothing(html):
    report = build_sample(html.parent, (html.parent / "11_ask.py",), model="m")
    assert not report.written


def test_a_book_without_a_console_ships_nothing_of_it(tmp_path):
    notebook = write_notebook(tmp_path / "01_plain.py", ("text", "mo.md('plain')"))
    build_sample(tmp_path, (notebook,), model="m")
    assert not (tmp_path / "html" / "sql").exists()
    assert "sql.js" not in (tmp_path / "html" / "01_plain.html").read_text(encoding="utf-8")
