"""The book without a mouse, without colours, without a screen: axe-core, keyboard and paper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from .accessibility import AXE, contrast, findings
from .book_sample import page, sample_folder
from .browser import CHROMIUM, DRIVER, NO_BROWSER, browser, served, visit
from .test_book import CHAPTERS

ROOT = Path(__file__).resolve().parents[2]
THEMES = ("light", "dark")
PAGES = (
    "index.html",
    "01_controls.html",
    "02_elements.html",
    "runs.html",
    "citation.html",
    "references.html",
    "search.html",
)
BACKGROUNDS = {"light": "#ffffff", "dark": "#121212"}
"""Of the theme's pages."""

in_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)


@pytest.fixture(scope="module")
def driver():
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def site():
    with served(sample_folder()) as address:
        yield f"{address}/html"


# axe-core


def test_the_checker_is_a_version_that_knows_wcag_2_1():
    version = re.search(r"axe v(\d+)\.(\d+)", AXE)
    assert version is not None and tuple(map(int, version.groups())) >= (4, 4)


@in_browser
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_finding(driver, site, name, theme):
    assert findings(driver, f"{site}/{name}", theme) == []


@in_browser
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", [*CHAPTERS, "runs", "citation", "references"])
def test_a_page_of_the_real_book_has_no_serious_finding(driver, real_book, name, theme):
    assert findings(driver, (real_book.out / f"{name}.html").as_uri(), theme) == []


def test_every_claim_of_the_real_book_leads_to_the_cell_that_shows_it(real_book):
    """A claim without an entry in FIGURES would lead to the top of its chapter only."""
    start = BeautifulSoup((real_book.out / "index.html").read_text("utf-8"), "html.parser")
    first = start.select_one("#cell-claim_list ~ .hb-states .hb-state:not([hidden])")
    links = [link["href"] for link in first.select("td:first-child a")]
    assert len(links) > 20
    assert [link for link in links if "#cell-" not in link] == []


@in_browser
def test_the_checker_finds_what_is_wrong(driver, tmp_path):
    """A control: a page that breaks four rules must not pass."""
    bad = '<p style="color:#999;background:#fff">pale</p><img src="data:,"><select></select>'
    html = f"<!DOCTYPE html><html data-hb-ready='yes'><title>t</title><main>{bad}</main></html>"
    (tmp_path / "bad.html").write_text(html, encoding="utf-8")
    broken = findings(driver, (tmp_path / "bad.html").as_uri(), "light")
    assert findings(driver, (tmp_path / "bad.html").as_uri(), "dark"), "colours, there too"
    rules = {line.partition(":")[0] for line in broken}
    assert rules >= {"color-contrast", "image-alt", "select-name", "html-has-lang"}


# charts


def test_contrast_is_that_of_the_guidelines():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#777777") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
def test_every_colour_of_a_chart_stands_out_from_the_page(theme):
    sources = sorted((ROOT / "analysis" / "plots").glob("*.py"))
    found = {c for path in sources for c in re.findall(r'"(#[0-9a-f]{6})"', path.read_text())}
    middle = {"#f7f7f7"}  # of diverging scales: no effect, always beside a number
    assert len(found) > 8
    pale = {c for c in found - middle if contrast(c, BACKGROUNDS[theme]) < 3}
    assert not pale


def test_words_in_charts_take_their_colour_from_the_page():
    """A fixed grey would be too pale on one of the two backgrounds."""
    sources = sorted((ROOT / "analysis" / "plots").glob("*.py"))
    assert [
        p.name for p in sources if re.search(r"mark_text\([^)]*color=GREY", p.read_text())
    ] == []


@in_browser
def test_a_picture_says_its_finding_and_its_caption(driver, site):
    chart = page(sample_folder(), "01_controls.html").select_one("#fig-lines .hb-chart")
    assert chart["role"] == "img" and chart["aria-label"].endswith("one line a layer.")
    visit(driver, f"{site}/01_controls.html")
    box = driver.find_element(By.CSS_SELECTOR, "#fig-lines .hb-chart")
    driver.execute_script("arguments[0].scrollIntoView()", box)
    WebDriverWait(driver, 20).until(lambda _: box.get_attribute("data-done"))
    picture = box.find_element(By.CSS_SELECTOR, "svg.marks")
    assert picture.get_attribute("role") == "img"
    assert picture.get_attribute("aria-label") == chart["aria-label"]
    assert box.get_attribute("role") is None, "what it holds beside the picture can be reached"
    menu = box.find_element(By.CSS_SELECTOR, "summary")
    assert menu.get_attribute("aria-label") == "save this chart"


@in_browser
def test_the_menu_of_a_chart_opens_with_the_keyboard(driver, site):
    visit(driver, f"{site}/01_controls.html")
    box = driver.find_element(By.CSS_SELECTOR, "#fig-lines .hb-chart")
    driver.execute_script("arguments[0].scrollIntoView()", box)
    WebDriverWait(driver, 20).until(lambda _: box.get_attribute("data-done"))
    box.find_element(By.CSS_SELECTOR, "summary").send_keys("\n")
    link = box.find_element(By.CSS_SELECTOR, ".vega-actions a")
    WebDriverWait(driver, 20).until(lambda _: link.is_displayed())


# filters


def rows_shown(driver, selector: str) -> int:
    script = "return [...document.querySelectorAll(arguments[0])].filter((r) => !r.hidden).length"
    return driver.execute_script(script, f"{selector} tbody tr")


@in_browser
def test_a_long_table_is_filtered_by_words_and_says_how_many_are_left(driver, site):
    visit(driver, f"{site}/02_elements.html")
    field = driver.find_element(By.CSS_SELECTOR, "[data-rows] .hb-filter input")
    before = rows_shown(driver, "[data-rows]")
    field.send_keys("224.5")
    assert rows_shown(driver, "[data-rows]") == 1 < before
    status = driver.find_element(By.CSS_SELECTOR, "[data-rows] [role=status]")
    assert status.text == "1 of 450 rows"
    field.send_keys(" nowhere")
    assert rows_shown(driver, "[data-rows]") == 0
    field.clear()
    field.send_keys(" ")
    assert rows_shown(driver, "[data-rows]") == before


@in_browser
def test_a_short_table_needs_no_filter(driver, site):
    visit(driver, f"{site}/01_controls.html")
    assert driver.find_elements(By.CSS_SELECTOR, ".hb-filter") == []


# paper


@in_browser
@pytest.mark.parametrize("theme", THEMES)
def test_paper_shows_every_chart_and_table_and_no_navigation(driver, site, theme):
    visit(driver, f"{site}/02_elements.html")
    driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    visible = "[...document.querySelectorAll('.hb-chart')].filter((b) => b.offsetParent)"
    drawn = f"return {visible}.length && {visible}.every((box) => box.dataset.done)"
    WebDriverWait(driver, 20).until(lambda page: page.execute_script(drawn))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        gone = ".bd-sidebar-primary, .bd-sidebar-secondary, .prev-next-area, .hb-code, .hb-filter"
        shown = driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((part) => part.offsetParent !== null).map((part) => part.className)",
            gone,
        )
        assert shown == []
        clipped = driver.execute_script(
            "return [...document.querySelectorAll('.hb-scroll')].filter((b) => b.offsetParent)"
            ".filter((b) => b.scrollHeight > b.clientHeight + 1).length"
        )
        assert clipped == 0
        paper = "return getComputedStyle(document.body)[arguments[0]]"
        assert driver.execute_script(paper, "backgroundColor") == "rgb(255, 255, 255)"
        assert driver.execute_script(paper, "color") == "rgb(17, 17, 17)"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
