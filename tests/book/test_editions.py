"""Several models in one book: who gets which chapters, and links that stay with a model."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from analysis.errors import UserError
from book.chapters import Record
from book.cli import cli
from book.edition_pages import EditionPages
from book.editions import Subject, editions, listed_models, planned, subject_of
from book.links import page_name
from book.page import Page, changed

from .book_sample import page, write_notebook
from .browser import CHROMIUM, DRIVER, NO_BROWSER, browser, page_problems, served, visit
from .edition_sample import BESIDE, BOXED, both_models, build_editions, edition_folder, model_folder
from .test_notebooks import NOTEBOOKS

in_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=NO_BROWSER)
FIRST = ("index", "01_bars", "02_rules", "03_beside")
OTHERS = ("index-beta-one", "01_bars-beta-one")


# which chapters there are


def test_a_chapter_is_about_what_it_takes_from_the_command_line(tmp_path):
    setups = {Subject.MODEL: BOXED, Subject.MODELS: BESIDE, Subject.BOOK: "import marimo as mo"}
    for number, (subject, setup) in enumerate(setups.items()):
        path = write_notebook(tmp_path / f"0{number}_chapter.py", setup=setup)
        assert subject_of(path) is subject
    (tmp_path / "broken.py").write_text("def")
    assert subject_of(tmp_path / "broken.py") is Subject.BOOK


def test_the_books_own_chapters_are_about_a_model_but_for_four():
    others = {path.stem: subject_of(path) for path in NOTEBOOKS}
    about = {name: subject for name, subject in others.items() if subject is not Subject.MODEL}
    assert about == {
        "11_ask_the_store": Subject.BOOK,
        "13_models_compared": Subject.MODELS,
        "14_speed": Subject.BOOK,
        "15_training": Subject.BOOK,
    }


def test_one_model_has_neither_a_switch_nor_a_comparison():
    notebooks = sorted((edition_folder() / "notebooks").glob("*.py"))
    plan = planned(notebooks, {"model": "anything", "text": "t"})
    assert [one.name for one in plan] == ["00_start", "01_bars", "02_rules"]
    assert {tuple(one.options.items()) for one in plan} == {(("model", "anything"), ("text", "t"))}


def test_every_model_gets_its_chapters_and_the_book_one_of_the_others():
    html = edition_folder() / "html"
    assert {path.stem for path in html.glob("*.html")} >= {*FIRST, *OTHERS}
    assert not (html / "02_rules-beta-one.html").exists()
    assert not (html / "03_beside-beta-one.html").exists()
    shown = {name: page(edition_folder(), f"{name}.html").article.get_text() for name in FIRST}
    assert "About alpha." in shown["index"] and "About alpha." in shown["01_bars"]
    assert "2 models." in shown["03_beside"]
    for name in OTHERS:
        assert "About Beta_one." in page(edition_folder(), f"{name}.html").article.get_text()


def test_a_book_of_two_models_is_kept():
    again = build_editions(edition_folder(), check=False)
    assert not again.written and again.compiled == ()
    assert again.kept == ("00_start", "01_bars", "02_rules", "03_beside",
                          "00_start-beta-one", "01_bars-beta-one")  # fmt: skip


def test_no_page_names_a_folder_of_this_machine():
    assert "/models/Beta_one" in " ".join(
        editions({"models": both_models(edition_folder())})[1].options.values()
    )
    for path in (edition_folder() / "html").rglob("*.*"):
        assert str(edition_folder()).encode() not in path.read_bytes(), path.name
    box = page(edition_folder(), "03_beside.html").select_one(".hb-fixed b")
    assert box.get_text() == "alpha,Beta_one"


# the switch, and links


def switch(name: str) -> list[tuple[str, str | None]]:
    """Texts and targets of a page's model switch."""
    (nav,) = page(edition_folder(), f"{name}.html").select("nav.hb-models")
    return [(item.get_text(), item.get("href")) for item in nav.select("li > *")]


def test_the_switch_leads_to_the_same_chapter_of_the_other_model():
    side = ("side by side", "03_beside.html")
    assert switch("01_bars") == [("alpha", None), ("Beta_one", "01_bars-beta-one.html"), side]
    assert switch("01_bars-beta-one") == [("alpha", "01_bars.html"), ("Beta_one", None), side]
    assert switch("index-beta-one")[0] == ("alpha", "index.html")
    assert switch("03_beside") == [
        ("alpha", "index.html"), ("Beta_one", "index-beta-one.html"), ("side by side", None),
    ]  # fmt: skip
    rules = page(edition_folder(), "02_rules.html")
    assert not rules.select("nav.hb-models"), "no model, no switch"


def test_the_switch_stands_under_the_title():
    for name in ("01_bars", *OTHERS):
        title = page(edition_folder(), f"{name}.html").select_one("article h1")
        assert title.find_next_sibling().name == "nav"


@pytest.mark.parametrize(("start", "mark"), [("index", ""), ("index-beta-one", "-beta-one")])
def test_links_stay_with_the_model(start, mark):
    article = page(edition_folder(), f"{start}.html").article
    cells = {link.get_text(): link["href"] for link in article.select("td a")}
    assert cells == {"bars": f"01_bars{mark}.html#cell-chart", "rules": "02_rules.html"}
    references = [link["href"] for link in article.select("p a.reference")]
    assert [target.partition("#")[0] for target in references] == [
        f"01_bars{mark}.html", f"01_bars{mark}.html", "02_rules.html",
    ]  # fmt: skip
    figure = page(edition_folder(), references[1].partition("#")[0]).find(
        id=references[1].partition("#")[2]
    )
    assert figure is not None and figure.name == "figure"


@pytest.mark.parametrize("rows", [1, 5_000])
def test_links_in_the_pages_data_stay_with_the_model_packed_or_not(rows):
    island, row = Page(), [["bars", "01_bars.html#cell-chart"], ["rules", "02_rules.html"]]
    island.table({"links": [row] * rows})
    island.later["h0"] = '<a href="index.html">start</a>'
    notebooks = sorted((edition_folder() / "notebooks").glob("*.py"))
    plan = planned(notebooks, {"models": both_models(edition_folder())})
    kept = edition_folder() / "html.work" / "chapters"
    made = {one.name: json.loads((kept / f"{one.name}.json").read_text()) for one in plan}
    records = {
        name: Record(**{**one, "fragments": [island.island()]}) for name, one in made.items()
    }
    (second,) = (one for one in plan if one.name == "01_bars-beta-one")
    _, fragments = EditionPages(plan, records).page(second)
    seen: list[str] = []
    changed(fragments[0], lambda text: seen.append(text) or text)
    assert len(seen) == 1 + (rows > 1)
    assert seen[-1].count("01_bars-beta-one.html#cell-chart") == rows
    assert seen[-1].count('"02_rules.html"') == rows
    assert seen[-1].count("index-beta-one.html") == 1
    assert "01_bars.html" not in seen[-1]


def test_pages_of_other_models_say_so_where_titles_are_listed():
    index = (edition_folder() / "html" / "searchindex.js").read_text(encoding="utf-8")
    titles = json.loads(re.search(r"\"titles\":(\[.*?\])", index).group(1))
    assert titles.count("A title") == 4
    assert titles.count("A title · Beta_one") == 2
    sidebar = page(edition_folder(), "01_bars.html").select_one(".bd-links")
    links = [link["href"] for link in sidebar.select("a")]
    assert links[:4] == ["index.html", "#", "02_rules.html", "03_beside.html"]
    assert "index-beta-one.html" in links
    assert "Other models" in sidebar.get_text()


def test_a_page_is_named_by_notebook_and_model():
    assert [page_name(name) for name in ("00_claims", "05_kinds")] == ["index", "05_kinds"]
    assert [page_name(name) for name in ("00_claims-a-b", "05_kinds-a")] == [
        "index-a-b", "05_kinds-a",
    ]  # fmt: skip


# which models


def test_models_of_one_name_are_told_apart(tmp_path):
    paths = [model_folder(tmp_path / place / "model", seed) for seed, place in enumerate("ab")]
    first, second = editions({"models": f"{paths[0]}, {paths[1]}", "text": "t"})
    assert first.mark == "" and first.name != second.name
    assert re.fullmatch(r"model [0-9a-f]{4}", second.name)
    assert second.mark == "-" + second.name.replace(" ", "-")
    assert dict(second.options) == {"text": "t", "model": str(paths[1])}


def test_the_same_model_twice_and_none_are_refused(tmp_path):
    one = model_folder(tmp_path / "one", 1)
    same = model_folder(tmp_path / "same", 1)
    with pytest.raises(UserError, match=r"expected different models, got .*one twice"):
        editions({"models": f"{one},{one}"})
    with pytest.raises(UserError, match="the weights of one twice"):
        editions({"models": f"{one},{same}"})
    with pytest.raises(UserError, match="name at least one"):
        listed_models(" , ")
    with pytest.raises(UserError, match="found no folder"):
        editions({"models": f"{one},{tmp_path / 'gone'}"})
    like = model_folder(tmp_path / "o_n_e", 2), model_folder(tmp_path / "o-n-e", 3)
    with pytest.raises(UserError, match="differ in letters or digits"):
        editions({"models": f"{one},{like[0]},{like[1]}"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "reference", "--models", "reference,gpt2"), "--model or --models, got both"),
        (("--models", "reference,reference"), "got reference twice"),
        (("--models", ","), "name at least one"),
    ],
)
def test_the_command_says_what_it_expects(tmp_path, options, message):
    done = CliRunner().invoke(cli, ["build", "--out", str(tmp_path / "html"), *options])
    assert done.exit_code == 2
    assert message in done.stderr


# in a browser


@pytest.fixture(scope="module")
def driver():
    with browser() as chromium:
        yield chromium


@in_browser
@pytest.mark.parametrize("name", [*FIRST, *OTHERS])
def test_a_page_of_a_book_of_two_models_works_from_here_alone(driver, name):
    with served(edition_folder() / "html") as address:
        assert page_problems(driver, f"{address}/{name}.html") == []


@in_browser
def test_a_reader_goes_to_the_other_model_and_back(driver):
    with served(edition_folder() / "html") as address:
        for width in (500, 1300):
            driver.set_window_size(width, 1000)
            visit(driver, f"{address}/01_bars.html")
            for text in ("Beta_one", "alpha"):
                links = driver.find_elements("css selector", "nav.hb-models a")
                next(link for link in links if link.text == text).send_keys("\n")
                wide = "return document.documentElement.scrollWidth"
                assert driver.execute_script(wide) <= width
            assert driver.current_url.endswith("/01_bars.html")
