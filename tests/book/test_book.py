"""The book of the reference model, as `make book` makes it: strict, offline, and working."""

import re
import time

import pytest

from book.editions import Subject, subject_of
from store import Store

from .browser import (
    CHROMIUM,
    DRIVER,
    NO_BROWSER,
    browser,
    dead_controls,
    drawn_again,
    page_problems,
    phone,
    served,
    visit,
)
from .test_notebooks import NOTEBOOKS, ROOT

in_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)
OF_ONE_MODEL = [path for path in NOTEBOOKS[1:] if subject_of(path) is not Subject.MODELS]
CHAPTERS = ["index", *(path.stem for path in OF_ONE_MODEL)]
PAGES = [*CHAPTERS, "runs", "citation", "references"]


def test_the_queries_of_the_readme_have_answers(real_book):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```sql\n(.*?)```", readme, re.DOTALL)
    queries = [query for query in block[1].split(";") if query.strip()] if block else []
    assert len(queries) == 6
    store = Store.open(real_book.store)
    assert [query for query in queries if store.sql(query).is_empty()] == []
    by_model = [query for query in queries if "GROUP BY model" in query]
    assert [store.sql(query).height for query in by_model] == [1, 1]


def test_every_notebook_is_a_chapter(real_book):
    assert [page for page in PAGES if not (real_book.out / f"{page}.html").is_file()] == []


def test_nothing_changed_writes_nothing(real_book):
    assert "unchanged; 0 chapters run" in real_book.build()


@pytest.fixture(scope="module")
def driver():
    with browser() as chromium:
        yield chromium


@in_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_served_page_asks_no_other_host_draws_every_chart_and_works(driver, real_book, page):
    with served(real_book.out) as address:
        url = f"{address}/{page}.html"
        assert dead_controls(driver, url) == []
        assert page_problems(driver, url) == []


@in_browser
@pytest.mark.parametrize("page", PAGES)
def test_a_page_from_the_disk_fits_a_phone_in_every_theme(driver, real_book, page):
    with phone(driver) as width:
        assert page_problems(driver, (real_book.out / f"{page}.html").as_uri()) == []
        for theme in ("light", "dark"):
            assert drawn_again(driver, theme) == []
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_whole_site_is_small(real_book):
    files = [path for path in real_book.out.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25_000_000


@in_browser
def test_a_claim_leads_to_its_run(driver, real_book):
    visit(driver, (real_book.out / "index.html").as_uri())
    link = driver.execute_script("return document.querySelector('td a[href*=\"run-\"]').href")
    visit(driver, link)
    run = link.rsplit("#", 1)[1]
    shown = driver.execute_script(f"return document.getElementById('{run}').innerText")
    assert run.removeprefix("run-") in shown
    assert "the whole question" in shown


@in_browser
def test_search_finds_a_word_of_a_chapter(driver, real_book):
    with served(real_book.out) as address:
        driver.get(f"{address}/search.html?q=induction")
        for _ in range(100):
            found = driver.execute_script("return document.querySelectorAll('.search li').length")
            if found:
                break
            time.sleep(0.1)
    assert found
