"""Tables: every row, numbers kept whole, links by convention, data never markup."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import date

import polars as pl
import pytest
from bs4 import BeautifulSoup

from book.errors import BookError
from book.page import Page
from book.render import Renderer
from book.tables import LONG_ROWS, PAGE_ROWS, table_html, value_text


def soup_of(frame: pl.DataFrame, page: Page | None = None) -> BeautifulSoup:
    return BeautifulSoup(table_html(frame, page or Page()), "html.parser")


def cells(soup: BeautifulSoup) -> list[list[str]]:
    return [[cell.get_text() for cell in row.find_all("td")] for row in soup.select("tbody tr")]


def test_every_row_of_a_short_table_is_in_the_page():
    soup = soup_of(pl.DataFrame({"a": range(LONG_ROWS)}))
    assert cells(soup) == [[str(i)] for i in range(LONG_ROWS)]


def test_every_row_of_a_long_table_is_in_its_island():
    page, height = Page(), LONG_ROWS + 1
    soup = soup_of(pl.DataFrame({"a": range(height), "b": [i / 3 for i in range(height)]}), page)
    (kept,) = page.tables.values()
    assert kept["height"] == height
    assert kept["columns"][0]["texts"] == [str(i) for i in range(height)]
    assert kept["columns"][1]["keys"][100] == pytest.approx(100 / 3)
    assert len(cells(soup)) == PAGE_ROWS
    assert f"of {height}" in soup.get_text()


def test_a_number_is_shown_short_and_kept_whole():
    (cell,) = soup_of(pl.DataFrame({"a": [0.123456789]})).select("td")
    assert cell.get_text() == "0.1235" and float(cell["data-key"]) == 0.123456789


def test_every_type_has_a_text():
    values = [None, True, 1.5, 3, "x", [1, None], {"b": 1}, date(2026, 1, 2), float("nan")]
    expected = ["–", "yes", "1.5", "3", "x", "1, –", '{"b": 1}', "2026-01-02", "nan"]
    assert [value_text(value) for value in values] == expected


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "</td>", '"><i>', "&lt;"])
def test_data_and_names_are_never_markup(hostile):
    page = Page()
    frame = pl.DataFrame({hostile: [hostile] * (LONG_ROWS + 1)})
    soup = soup_of(frame, page)
    assert cells(soup)[0] == [hostile] and soup.find("th").get_text() == hostile
    assert soup.find(["script", "i"]) is None
    island = page.island()
    assert "<" not in island.removeprefix("<script").removesuffix("</script>")
    text = BeautifulSoup(island, "html.parser").find("script").string
    assert json.loads(text)["tables"]["t0"]["columns"][0]["texts"][-1] == hostile


def test_a_link_column_links_the_column_it_is_named_after():
    page, run = Page(), "ab" * 16
    frame = pl.DataFrame(
        {
            "claim": ["one", "two"],
            "claim_link": ["02_induction#strongest", None],
            "runs_link": [[f"run:{run}"], []],
        }
    )
    soup = soup_of(frame, page)
    assert [head.get_text() for head in soup.select("th")] == ["claim", "runs"]
    links = {link.get_text(): link["href"] for link in soup.select("a")}
    assert links == {
        "one": "02_induction.html#cell-strongest",
        run[:8]: f"runs.html#run-{run}",
    }
    assert page.runs == {run}


def test_chapter_00_is_the_start_page():
    soup = soup_of(pl.DataFrame({"a_link": ["00_claims", "#here"]}))
    hrefs = [link["href"] for link in soup.select("a")]
    assert hrefs == ["index.html", "#cell-here"]


@pytest.mark.parametrize("target", ["https://a.b", "javascript:alert(1)", "", "run:x/y"])
def test_a_link_column_holds_only_targets_inside_the_book(target):
    with pytest.raises(BookError, match="expected a link target"):
        table_html(pl.DataFrame({"a_link": [target]}), Page())


def test_columns_that_marimo_added_are_left_out():
    soup = soup_of(pl.DataFrame({"_marimo_row_id": [0], "a": [1]}))
    assert [head.get_text() for head in soup.select("th")] == ["a"]


def test_an_empty_table_says_so():
    assert "no rows" in soup_of(pl.DataFrame({"a": []})).get_text()


def test_a_long_table_of_html_waits_in_the_island():
    page = Page()
    short, long = ("<table><tr><td>" + "a" * n + "</td></tr></table>" for n in (10, 3_000))
    assert Renderer(page).clean(short) == short
    placed = [Renderer(page).clean(long) for _ in range(2)]
    assert [BeautifulSoup(html, "html.parser").div["data-html"] for html in placed] == ["h0"] * 2
    assert json.loads(BeautifulSoup(page.island(), "html.parser").string)["later"] == {"h0": long}


def test_a_long_island_is_packed_and_the_same_whenever_it_is_made():
    page = Page()
    page.table({"texts": [f"{i}" for i in range(20_000)]})
    packed = BeautifulSoup(page.island(), "html.parser").find("script")
    assert packed["type"] == "application/gzip"
    unpacked = json.loads(gzip.decompress(base64.b64decode(packed.string)))
    assert unpacked["tables"] == page.tables
    assert page.island() == page.island()
