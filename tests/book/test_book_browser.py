"""The sample book in a real browser: offline, drawn, and working in every state."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from .book_sample import sample_folder
from .browser import (
    CHROMIUM,
    DRIVER,
    NO_BROWSER,
    browser,
    controls_of,
    dead_controls,
    page_problems,
    press,
    served,
    shown_states,
    visit,
)

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)

CHAPTERS = ("index.html", "01_controls.html", "02_elements.html")
PAGES = (*CHAPTERS, "runs.html", "citation.html", "references.html")


@pytest.fixture(scope="module")
def driver():
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def site():
    with served(sample_folder()) as address:
        yield f"{address}/html"


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_page_works_from_here_alone(driver, site, scheme, page):
    place = site if scheme == "http" else (sample_folder() / "html").as_uri()
    assert page_problems(driver, f"{place}/{page}") == []


_BARE_ICONS = """
return (async () => {
await document.fonts.ready;
const icons = [...document.querySelectorAll("i[class*='fa-']")];
return icons.filter(icon => {
  const {content, fontFamily, fontWeight} = getComputedStyle(icon, "::before");
  const font = [...document.fonts].find(
    face => fontFamily.includes(face.family) && face.weight == fontWeight);
  return !/^".+"$/.test(content) || font?.status !== "loaded";
}).map(icon => icon.className);
})();
"""


def test_every_icon_is_a_sign_of_a_font_that_is_here(driver, site):
    visit(driver, f"{site}/index.html")
    assert driver.execute_script("return document.querySelectorAll(\"i[class*='fa-']\").length") > 2
    assert driver.execute_script(_BARE_ICONS) == []
    driver.execute_script(
        "document.querySelector(\"i[class*='fa-']\").className = 'fa-solid fa-x0'"
    )
    assert driver.execute_script(_BARE_ICONS) == ["fa-solid fa-x0"]


def test_no_control_is_dead(driver, site):
    assert dead_controls(driver, f"{site}/01_controls.html") == []
    assert set(controls_of(driver)) == {"layer", "order", "unit", "intervals", "rounded"}


def test_a_control_changes_chart_caption_text_and_runs(driver, site):
    visit(driver, f"{site}/01_controls.html")
    before = shown_states(driver, "layer")
    press(driver, controls_of(driver)["layer"])
    after = shown_states(driver, "layer")
    assert len(before) == len(after) == 7, "chart and caption, table, text, and the runs of each"
    assert not set(before) & set(after)
    assert any("Scores of the heads of layer 2." in text for text in after)
    assert driver.find_element(By.CSS_SELECTOR, "[data-control=layer] output").text == "2"


def test_places_of_one_control_move_together(driver, site):
    visit(driver, f"{site}/01_controls.html")
    places = (
        "return [...document.querySelectorAll('[data-control=intervals] input')]"
        ".map((input) => input.checked)"
    )
    assert set(driver.execute_script(places)) == {False}
    press(driver, controls_of(driver)["intervals"])
    assert set(driver.execute_script(places)) == {True}
    heads = driver.find_elements(By.CSS_SELECTOR, ".hb-state:not([hidden]) .hb-table th")
    assert "lower" in [head.text for head in heads]


def test_the_keyboard_stays_on_a_control_whose_block_is_exchanged(driver, site):
    visit(driver, f"{site}/01_controls.html")
    for name in ("unit", "intervals", "rounded"):
        press(driver, controls_of(driver)[name])
        focus = driver.switch_to.active_element
        assert focus.is_displayed()
        place = focus.find_element(By.XPATH, "ancestor::*[@data-control]")
        assert place.get_attribute("data-control") == name


def test_charts_are_drawn_again_in_the_colours_of_the_theme(driver, site):
    visit(driver, f"{site}/01_controls.html")
    chart = "document.querySelector('.hb-state:not([hidden]) .hb-chart')"
    colour = (
        f"return {chart}.dataset.done && {chart}.querySelector('svg text').getAttribute('fill')"
    )
    wait = WebDriverWait(driver, 20)
    seen = {}
    for theme in ("light", "dark"):
        driver.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
        driver.execute_script(f"{chart}.scrollIntoView()")
        wait.until(
            lambda page, seen=seen: page.execute_script(colour) not in {None, *seen.values()}
        )
        seen[theme] = driver.execute_script(colour)
    assert seen["light"] != seen["dark"]


def test_a_chart_can_be_exported_and_its_legend_selects(driver, site):
    visit(driver, f"{site}/01_controls.html")
    figure = driver.find_element(By.ID, "fig-lines")
    driver.execute_script("arguments[0].scrollIntoView()", figure)
    wait = WebDriverWait(driver, 20)
    wait.until(lambda _: figure.find_elements(By.CSS_SELECTOR, ".hb-chart[data-done]"))
    names = [
        a.get_attribute("download")
        for a in figure.find_elements(By.CSS_SELECTOR, ".vega-actions a")
    ]
    assert names == ["fig-lines.svg", "fig-lines.png"]
    faint = (
        "return document.querySelectorAll('#fig-lines .mark-line path[opacity=\"0.15\"]').length"
    )
    assert driver.execute_script(faint) == 0
    figure.find_elements(By.CSS_SELECTOR, ".role-legend-symbol path")[0].click()
    wait.until(lambda page: page.execute_script(faint) == 2)


def test_a_link_to_a_run_opens_the_fold_that_it_lies_in(driver, site):
    visit(driver, f"{site}/runs.html")
    entries = driver.find_elements(By.CSS_SELECTOR, ".hb-run")
    assert not any(entry.is_displayed() for entry in entries), "folded"
    link = driver.find_element(By.CSS_SELECTOR, ".hb-table a")
    run = link.get_attribute("href").partition("#")[2]
    link.click()
    assert driver.find_element(By.ID, run).is_displayed()
    driver.get("about:blank")
    visit(driver, f"{site}/runs.html#{run}")
    assert driver.find_element(By.ID, run).is_displayed()


def test_a_hostile_token_is_text_in_a_tooltip(driver, site):
    visit(driver, f"{site}/02_elements.html")
    figure = driver.find_element(By.ID, "fig-hostile-chart")
    driver.execute_script("arguments[0].scrollIntoView()", figure)
    wait = WebDriverWait(driver, 20)
    wait.until(lambda _: figure.find_elements(By.CSS_SELECTOR, ".hb-chart[data-done]"))
    labels = [text.text for text in figure.find_elements(By.CSS_SELECTOR, "svg text")]
    assert "<script>alert(1)</script>" in labels
    assert driver.execute_script("return document.querySelectorAll('figure script').length") == 0


def column(driver, selector: str, place: int) -> list[str]:
    script = (
        "return [...document.querySelector(arguments[0]).querySelectorAll('tbody tr')]"
        ".map((row) => row.cells[arguments[1]].textContent)"
    )
    return driver.execute_script(script, selector, place)


def test_a_table_sorts_with_what_is_missing_last(driver, site):
    visit(driver, f"{site}/02_elements.html")
    table = "#cell-small ~ .hb-table"
    head = driver.find_elements(By.CSS_SELECTOR, f"{table} th button")[1]
    head.send_keys("\n")
    assert column(driver, table, 1) == ["0.1235", "2e-07", "–"]
    head.send_keys("\n")
    assert column(driver, table, 1) == ["2e-07", "0.1235", "–"]
    sorts = driver.find_elements(By.CSS_SELECTOR, f"{table} th[aria-sort]")
    assert [sort.get_attribute("aria-sort") for sort in sorts] == ["ascending"]


def test_every_row_of_a_long_table_can_be_reached(driver, site):
    visit(driver, f"{site}/02_elements.html")
    table = "[data-rows]"
    seen = column(driver, table, 0)
    forth = driver.find_element(By.CSS_SELECTOR, f"{table} .hb-pager button:last-child")
    while forth.is_enabled():
        driver.execute_script("arguments[0].click()", forth)
        seen += column(driver, table, 0)
    assert seen == [str(row) for row in range(450)]
    driver.find_elements(By.CSS_SELECTOR, f"{table} th button")[1].send_keys("\n")
    assert column(driver, table, 1)[:2] == ["224.5", "224"]
    assert "rows 1–100 of 450" in driver.find_element(By.CSS_SELECTOR, f"{table} .hb-pager").text


def test_tabs_move_with_arrow_keys(driver, site):
    visit(driver, f"{site}/02_elements.html")
    tabs = driver.find_elements(By.CSS_SELECTOR, "[role=tab]")
    tabs[0].send_keys("\ue012")
    assert [tab.get_attribute("aria-selected") for tab in tabs] == ["false", "false", "true"]
    panes = driver.find_elements(By.CSS_SELECTOR, "[role=tabpanel]")
    assert [pane.is_displayed() for pane in panes] == [False, False, True]


def test_nothing_is_wider_than_a_phone(driver, site):
    driver.set_window_size(500, 900)
    try:
        for page in PAGES:
            visit(driver, f"{site}/{page}")
            wide = (
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert driver.execute_script(wide) <= 0, page
    finally:
        driver.set_window_size(1300, 1000)
