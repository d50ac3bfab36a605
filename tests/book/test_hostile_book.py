"""Every chapter about a model whose names are attacks: all of them are text, on every page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from analysis.text.shown import visible_text
from book.build_command import NOTEBOOKS, chosen
from book.site import find_notebooks

from .browser import (
    CHROMIUM,
    DRIVER,
    NO_BROWSER,
    browser,
    foreign_requests,
    page_problems,
    served,
    visit,
)
from .hostile_book import ATTACKS, ELSEWHERE, LONG, hostile_model
from .real_book import HEADBOOK
from .test_sql_browser import linked, recorded_proxy

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)

CHAPTERS = {
    "index" if path.stem.startswith("00_") else path.stem
    for path in chosen(find_notebooks(NOTEBOOKS), "")
}
SEEN = """
const made = ['iframe, object, embed, base, [onerror], [onload], [onmouseover], [onfocus]',
  'a[href^="javascript:" i], [src*=evil], [href*=evil], [src="x"]'].join();
const odd = [...document.querySelectorAll('b, u, s')]
  .filter((tag) => /^(s|u|x+)$/.test(tag.innerText));
return {sung: typeof globalThis.sung, title: document.title,
  made: [...document.querySelectorAll(made), ...odd].map((tag) => tag.outerHTML.slice(0, 200)),
  text: document.documentElement.textContent};
"""


def headbook(*arguments: object) -> str:
    command = [*HEADBOOK, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def html(worded, tmp_path_factory) -> Path:
    """The book, from an empty store, checked."""
    folder = tmp_path_factory.mktemp("hostile-book")
    model, text = hostile_model(worded, folder)
    about = ("--model", model, "--text", text)
    sizes = ("--steps", 10, "--components", 8)
    headbook("decompose", *about, *sizes, "--out", model / "decomposition")
    places = ("--store", folder / "store", "--out", folder / "html")
    headbook("build", *about, *places, "--check", "--profile", "tiny")
    return folder / "html"


@pytest.fixture(scope="module")
def page(html):
    with (
        recorded_proxy() as (port, asked),
        browser(f"--proxy-server=127.0.0.1:{port}") as driver,
        served(html) as address,
    ):
        yield driver, address, asked


def pages(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.html")}


def test_every_chapter_is_there(html):
    missing = {"13_models_compared"}  # it is about several models
    assert CHAPTERS - missing <= pages(html)
    told = (html / "01_head_atlas.html").read_text(encoding="utf-8")
    assert "2 layers" in told or "8 heads" in told


@pytest.mark.parametrize("name", sorted({*CHAPTERS, "runs", "citation", "genindex", "search"}))
def test_nothing_of_it_runs_or_is_fetched_and_all_is_text(page, html, name):
    driver, address, asked = page
    if name not in pages(html):
        assert name in {"13_models_compared", "genindex"}
        return
    url = f"{address}/{name}.html"
    assert page_problems(driver, url) == []
    seen = driver.execute_script(SEEN)
    assert seen["sung"] == "undefined"
    assert seen["made"] == []
    assert "sung" not in seen["title"]
    assert [line for line in asked if ELSEWHERE in line] == []


def test_attacks_are_read_as_they_are(page):
    driver, address, _ = page
    visit(driver, f"{address}/10_prediction_tables.html")
    text = " ".join(driver.execute_script(SEEN)["text"].split())
    found = [
        attack for attack in (*ATTACKS, LONG) if " ".join(visible_text(attack).split()) in text
    ]
    assert len(found) > 20
    assert LONG in found


def test_the_console_shows_them_too(page):
    driver, address, asked = page
    sql = "SELECT DISTINCT token FROM predictions UNION SELECT name FROM texts"
    shown = linked(driver, f"{address}/11_ask_the_store.html", sql)
    cells = " ".join(cell for row in shown["rows"] for cell in row)
    assert shown["error"] == "" and "<script>" in cells
    seen = driver.execute_script(SEEN)
    assert (seen["sung"], seen["made"]) == ("undefined", [])
    assert [line for line in asked if ELSEWHERE in line] == []


def test_the_attacks_are_attacks(tmp_path):
    """Without this, their silence would show nothing."""
    ran = [attack for attack in ATTACKS if re.search("sung=1|//", attack)]
    (tmp_path / "index.html").write_text(
        "<html data-hb-ready=yes><title>x</title><body>" + "<p>".join(ran), encoding="utf-8"
    )
    with browser() as driver, served(tmp_path) as address:
        visit(driver, f"{address}/index.html")
        seen = driver.execute_script(SEEN)
        assert seen["sung"] == "number" and len(seen["made"]) >= 3
        assert any(ELSEWHERE in request for request in foreign_requests(driver, address))
