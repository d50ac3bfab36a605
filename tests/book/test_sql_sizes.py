"""Answers of any size on the page: bounded in rows and bytes, shown in part, saved whole."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from .browser import CHROMIUM, DRIVER, NO_BROWSER, browser, served
from .test_sql_browser import linked, saved
from .test_sql_console import built

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser() as driver, served(built(tmp_path_factory.mktemp("sizes"))) as address:
        yield driver, f"{address}/11_ask.html"


LARGE = {
    "SELECT repeat('x', 100000000) AS x": "the first row, ",
    "SELECT repeat('x', 1000000) AS x FROM range(200)": "the first 32 rows, ",
    "SELECT x.range AS x, y.range AS y FROM range(2000) x, range(2000) y": "the first 100,",
}


@pytest.mark.parametrize("sql", LARGE)
def test_no_answer_is_too_large_for_the_page(page, sql):
    driver, url = page
    shown = linked(driver, url, sql)
    assert shown["status"].startswith(LARGE[sql])
    assert "stops reading at" in shown["status"]
    assert max(len(cell) for row in shown["rows"] for cell in row) < 2_100
    assert len(driver.find_element(By.CSS_SELECTOR, ".hb-sql-answer").text) < 250_000


def test_a_long_text_is_shown_in_part_and_saved_whole(page):
    driver, url = page
    shown = linked(driver, url, "SELECT repeat('x', 3000) AS x, repeat('y', 2000) AS y")
    assert shown["rows"] == [["x" * 2000 + " … (3,000 characters)", "y" * 2000]]
    assert saved(driver) == f"x,y\n{'x' * 3000},{'y' * 2000}\n"


@pytest.mark.parametrize(
    "cell", ["repeat('x', 300000000)", "range(2000000)", "repeat('x', 9000000)::BLOB"]
)
def test_what_the_page_cannot_hold_is_refused_by_its_size(page, cell):
    driver, url = page
    shown = linked(driver, url, f"SELECT {cell} AS x")
    assert shown["rows"] == []
    assert " MB at once" in shown["error"]
