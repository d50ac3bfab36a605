"""The console in a real browser: it answers, refuses, links, saves, and asks no other host."""

from __future__ import annotations

import csv
import io
import shlex
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from shutil import copy
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from .browser import CHROMIUM, DRIVER, NO_BROWSER, browser, foreign_requests, served, visit
from .test_sql_console import built

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)

PATIENCE_S = 90
STATE = """
const of = (name) => document.querySelector('.hb-sql-' + name);
if (document.querySelector('.hb-sql').getAttribute('aria-busy') !== 'false') return null;
return {status: of('status').textContent, error: of('error').hidden ? '' : of('error').textContent,
  heads: [...document.querySelectorAll('.hb-sql-answer th')].map((cell) => cell.innerText.trim()),
  rows: [...document.querySelectorAll('.hb-sql-answer tbody tr')].map((row) =>
    [...row.cells].map((cell) => cell.textContent))};
"""


@contextmanager
def recorded_proxy() -> Generator[tuple[int, list[str]]]:
    """A proxy that lets nothing through and notes who was to be asked: workers use it too."""
    asked: list[str] = []

    class Refusal(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode(errors="replace"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built(tmp_path_factory.mktemp("asked"))


@pytest.fixture(scope="module")
def page(site):
    with (
        recorded_proxy() as (port, asked),
        browser(f"--proxy-server=127.0.0.1:{port}") as driver,
        served(site) as address,
    ):
        yield driver, f"{address}/11_ask.html", asked


def answer(driver):
    """What the console shows once it is done."""
    return WebDriverWait(driver, PATIENCE_S).until(lambda page: page.execute_script(STATE))


def ask(driver, sql):
    """Type a query and press Ctrl + Enter."""
    text = driver.find_element(By.CSS_SELECTOR, ".hb-sql-text")
    text.send_keys(Keys.CONTROL, "a")
    text.send_keys(sql)
    text.send_keys(Keys.CONTROL, Keys.ENTER)
    return answer(driver)


def linked(driver, url, sql):
    """Open the link to a query, and press Run."""
    visit(driver, f"{url}?sql={quote(sql)}")
    driver.find_element(By.CSS_SELECTOR, ".hb-sql-run").click()
    return answer(driver)


def saved(driver):
    """What `Copy as CSV` copies."""
    driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    driver.find_element(By.CSS_SELECTOR, ".hb-sql-copy").click()
    WebDriverWait(driver, 10).until(
        lambda page: page.find_element(By.CSS_SELECTOR, ".hb-sql-copy").text == "Copied"
    )
    return driver.execute_async_script(
        "navigator.clipboard.readText().then(arguments[0], (error) => arguments[0](String(error)))"
    )


def test_a_query_is_answered_and_becomes_the_address(page):
    driver, url, _ = page
    visit(driver, url)
    shown = ask(driver, "SELECT 6 * 7 AS x, count(*) AS n FROM head_scores")
    assert (shown["heads"], shown["rows"], shown["error"]) == (["x", "n"], [["42", "32"]], "")
    assert shown["status"].startswith("1 row, ")
    assert "?sql=SELECT+6" in driver.current_url
    assert foreign_requests(driver, url) == []


def test_a_permalink_shows_its_answer(page):
    driver, url, _ = page
    shown = linked(driver, url, "SELECT run FROM runs")
    run = driver.find_element(By.CSS_SELECTOR, ".hb-sql-answer td a").get_attribute("href")
    assert shown["rows"] == [[run.rpartition("#run-")[2][:8]]]
    driver.get(run)
    assert driver.execute_script("return document.querySelector(':target') !== null")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELEC 1", 'Parser Error: syntax error at or near "SELEC"'),
        ("SELECT nope FROM runs", 'Referenced column "nope" not found'),
        ("FROM headscores", 'Did you mean "head_scores"'),
        ("DELETE FROM runs", "Nothing can be written here"),
        ("SET threads = 2", "Settings are fixed here"),
        ("SELECT json_extract('1', 'a')", "This page loads no extensions"),
    ],
)
def test_a_wrong_query_is_told_what_is_wrong(page, sql, told):
    driver, url, _ = page
    shown = linked(driver, url, sql)
    assert told in shown["error"]
    assert shown["rows"] == []
    assert driver.find_element(By.CSS_SELECTOR, ".hb-sql-csv").get_attribute("disabled")


def test_no_query_asks_another_host(page):
    driver, url, asked = page
    for sql in (
        "FROM 'https://example.org/x.csv'",
        "FROM read_csv('https://example.org/x.csv')",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH 'https://example.org/x.duckdb'",
        "FROM read_parquet('x.parquet')",
    ):
        assert linked(driver, url, sql)["rows"] == []
    assert [line for line in asked if "example.org" in line or "duckdb" in line] == []
    driver.execute_async_script("fetch('http://example.org/').finally(arguments[0])")
    assert [line for line in asked if "example.org" in line]


def test_values_are_shown_and_saved_whole(page):
    driver, url, _ = page
    sql = (
        "SELECT 1.23456789::DOUBLE AS real, 9007199254740993 AS large, NULL AS nothing,"
        " true AS yes, 'a,\"b' AS text, TIMESTAMP '2020-01-02 03:04:05' AS time,"
        " DATE '2020-01-02' AS day, [1, 2] AS list"
    )
    row = linked(driver, url, sql)["rows"][0]
    day = ["2020-01-02 03:04:05", "2020-01-02", "[1,2]"]
    assert row == ["1.235", "9007199254740993", "–", "yes", 'a,"b', *day]
    rows = list(csv.reader(io.StringIO(saved(driver))))
    assert rows[0] == ["real", "large", "nothing", "yes", "text", "time", "day", "list"]
    assert rows[1] == ["1.23456789", "9007199254740993", "", "true", 'a,"b', *day]


def test_an_answer_is_sorted_by_its_heads(page):
    driver, url, _ = page
    shown = linked(driver, url, "SELECT * FROM (VALUES (2), (10), (1)) AS t(x)")
    assert shown["rows"] == [["2"], ["10"], ["1"]]
    head = driver.find_element(By.CSS_SELECTOR, ".hb-sql-answer th button")
    head.click()
    assert answer(driver)["rows"] == [["10"], ["2"], ["1"]]
    head.click()
    assert answer(driver)["rows"] == [["1"], ["2"], ["10"]]


def test_every_query_of_the_list_runs_in_this_duckdb(page):
    driver, url, _ = page
    visit(driver, url)
    choose = (
        "const pick = document.querySelector('.hb-sql select'); pick.selectedIndex = arguments[0];"
        "pick.dispatchEvent(new Event('change')); return pick.options.length;"
    )
    count = driver.execute_script(choose, 0)
    errors = {}
    for place in range(count - 1):
        driver.execute_script(choose, place)
        errors[place] = answer(driver)["error"]
    assert len(errors) >= 12
    assert not any(errors.values()), errors


def test_the_same_query_stands_there_for_other_tools(page, site, tmp_path):
    driver, url, _ = page
    visit(driver, url)
    ask(driver, "SELECT 'it''s' AS x")
    shown = driver.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.hb-sql-as')]"
        ".map((place) => [place.dataset.as, place.textContent]))"
    )
    assert shlex.split(shown["shell"])[-2:] == ["-c", "SELECT 'it''s' AS x"]
    assert "headbook sql 'SELECT '\\''it'\\'''\\''s'\\'' AS x'" in shown["headbook"]
    copy(site / "sql" / "results.duckdb.gz", tmp_path)
    command = [sys.executable, "-c", f"{shown['python']}\nprint(frame.rows())"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == '[("it\'s",)]\n'


def test_a_long_query_can_be_stopped(page):
    driver, url, _ = page
    visit(driver, url)
    assert ask(driver, "SELECT 1 AS x")["rows"] == [["1"]]
    text = driver.find_element(By.CSS_SELECTOR, ".hb-sql-text")
    text.send_keys(Keys.CONTROL, "a")
    text.send_keys("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b")
    text.send_keys(Keys.CONTROL, Keys.ENTER)
    driver.find_element(By.CSS_SELECTOR, ".hb-sql-stop").click()
    assert answer(driver)["status"] == "stopped"
    assert ask(driver, "SELECT 2 AS x")["rows"] == [["2"]]


def test_columns_are_found_and_written_into_the_query(page):
    driver, url, _ = page
    visit(driver, url)
    find = driver.find_element(By.CSS_SELECTOR, ".hb-sql-find input")
    find.send_keys("strongest_heads")
    tables = driver.find_elements(By.CSS_SELECTOR, ".hb-sql-tables > .hb-sql-table")
    (table,) = [table for table in tables if table.is_displayed()]
    table.find_element(By.TAG_NAME, "summary").click()
    text = driver.find_element(By.CSS_SELECTOR, ".hb-sql-text")
    text.send_keys(Keys.CONTROL, "a")
    text.send_keys("SELECT ")
    table.find_element(By.CSS_SELECTOR, ".hb-sql-name").click()
    assert text.get_attribute("value") == "SELECT model"


def test_from_disk_it_says_why_not(site):
    with browser() as driver:
        visit(driver, f"{(site / '11_ask.html').as_uri()}?sql=FROM+runs")
        error = driver.find_element(By.CSS_SELECTOR, ".hb-sql-error").text
        assert "opened from disk" in error and "headbook serve" in error
        assert not driver.find_element(By.CSS_SELECTOR, ".hb-sql-run").is_enabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_scrolls_only_downwards(page, theme):
    driver, url, _ = page
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False},
    )
    shown = linked(driver, url, "FROM head_scores")
    driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    assert len(shown["rows"]) == 32
    width = driver.execute_script("return document.documentElement.scrollWidth")
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert width <= 390


def test_a_query_from_a_link_waits_for_a_click(page):
    driver, url, _ = page
    visit(driver, f"{url}?sql={quote('SELECT 6 * 7 AS x')}")
    time.sleep(1)
    shown = driver.execute_script(
        "const of = (name) => document.querySelector('.hb-sql-' + name);"
        "return [of('text').value, of('status').textContent, of('answer').textContent,"
        " performance.getEntriesByType('resource').some(({name}) => name.includes('wasm'))]"
    )
    assert shown[0] == "SELECT 6 * 7 AS x"
    assert "came with the link" in shown[1] and "press Run" in shown[1]
    assert shown[2:] == ["", False]
    driver.find_element(By.CSS_SELECTOR, ".hb-sql-run").click()
    assert answer(driver)["rows"] == [["42"]]


def test_what_cannot_be_seen_is_shown_and_saved_as_it_is(page):
    driver, url, _ = page
    shown = linked(driver, url, "SELECT chr(27) || '[31m' AS \"a\u202eb\", chr(8238) || 'c' AS y")
    assert (shown["heads"], shown["rows"]) == (["a\\u202eb", "y"], [["\\x1b[31m", "\\u202ec"]])
    assert saved(driver) == "a\u202eb,y\n\x1b[31m,\u202ec\n"
