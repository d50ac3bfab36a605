"""The sample book's pages, the same bytes every time, and the parts they are made with."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import polars as pl
import pytest

from book.errors import BookError
from book.inputs import write_aside
from book.runs_page import write_runs
from book.serve import server_of
from book.site import build, work_folder

from .book_sample import FIXTURES, NOTEBOOKS, digests, page, sample_folder
from .browser import served

ROOT = Path(__file__).resolve().parents[2]


# the sample book


def test_chapter_00_is_the_start_page_and_the_others_follow():
    links = [link["href"] for link in page(sample_folder(), "index.html").select(".bd-links a")]
    chapters, appendix = ["01_controls", "02_elements"], ["runs", "citation", "references"]
    assert links == ["#", *(f"{name}.html" for name in [*chapters, *appendix])]


def test_pages_follow_each_other():
    chapter = page(sample_folder(), "01_controls.html")
    ends = chapter.select_one(".left-prev"), chapter.select_one(".right-next")
    assert [end["href"] for end in ends] == ["index.html", "02_elements.html"]


def test_figures_are_numbered_captioned_and_described():
    figure = page(sample_folder(), "01_controls.html").select_one("figure#fig-bars")
    assert figure.select_one(".caption-number").get_text(strip=True) == "Fig. 1.1"
    shown = figure.select_one(".caption-text .hb-state:not([hidden])").get_text()
    assert shown == "Scores of the heads of layer 1."
    assert {chart["aria-label"] for chart in figure.select(".hb-chart")} == {
        f"Scores. Scores of the heads of layer {layer}." for layer in range(3)
    }


def test_references_and_citations_are_resolved():
    start = page(sample_folder(), "index.html")
    targets = {link["href"]: link.get_text() for link in start.select("article p a.reference")}
    assert targets["01_controls.html#fig-bars"] == "Fig. 1.1"
    assert "Which head leads?" in targets.values()
    cited = next(href for href in targets if href.startswith("references.html#"))
    entry = page(sample_folder(), "references.html").find(id=cited.partition("#")[2])
    assert entry is not None and "induction heads" in entry.get_text()


def test_every_run_that_a_page_links_to_is_described():
    runs = page(sample_folder(), "runs.html")
    linked = {
        link["href"].partition("#")[2]
        for name in ("index.html", "01_controls.html")
        for link in page(sample_folder(), name).select('a[href^="runs.html#"]')
    }
    assert len(linked) == 3
    for anchor in linked:
        text = runs.find(id=anchor).get_text(" ")
        for fact in ("tiny <s>", "ab" * 32, "a story", "UTC", "polars", '"layer"', "Which head"):
            assert fact in text
        assert "host" not in text


def test_nothing_hostile_becomes_markup():
    for name in ("index.html", "01_controls.html", "02_elements.html", "runs.html"):
        text = (sample_folder() / "html" / name).read_text(encoding="utf-8")
        assert "<script>alert" not in text and "<s>" not in text
    elements = page(sample_folder(), "02_elements.html")
    assert elements.select_one("article p").get_text().count("<script>alert(1)</script>") == 2
    assert "<script>alert(1)</script>" in elements.select_one("td:nth-of-type(3)").get_text()


def test_the_notebook_is_shipped_with_its_page():
    link = page(sample_folder(), "01_controls.html").select_one(".hb-source a")["href"]
    shipped = (sample_folder() / "html" / link).read_bytes()
    assert shipped == (FIXTURES / "01_controls.py").read_bytes()


def test_options_reach_the_notebooks():
    assert "Options reach the notebook: m." in page(sample_folder(), "02_elements.html").get_text()


def test_formulas_and_charts_load_their_scripts_only_where_they_are():
    scripts = {
        name: {
            Path(tag["src"].partition("?")[0]).name
            for tag in page(sample_folder(), name).select("script[src]")
        }
        for name in ("index.html", "01_controls.html", "runs.html")
    }
    heavy = {"tex-svg.js", "vega-bundle.js", "charts.js"}
    assert scripts["01_controls.html"] >= heavy
    assert not scripts["index.html"] & heavy and not scripts["runs.html"] & heavy


def test_nothing_of_this_machine_is_published():
    for path in (sample_folder() / "html").glob("*.*"):
        content = path.read_bytes()
        assert str(sample_folder()).encode() not in content
        assert str(ROOT).encode() not in content


def test_two_builds_are_the_same_bytes(tmp_path):
    shutil.copytree(sample_folder() / "store", tmp_path / "store")
    build(
        tmp_path / "store",
        NOTEBOOKS,
        tmp_path / "html",
        check=False,
        options={"model": "m"},
    )
    assert digests(tmp_path / "html") == digests(sample_folder() / "html")


# parts


def test_a_file_is_only_written_when_it_changes(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    assert write_aside(path, b"1") and not write_aside(path, b"1") and write_aside(path, b"2")
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]


def test_the_work_folder_stands_beside_the_book():
    assert work_folder(Path("/a/_build/html")) == Path("/a/_build/html.work")


def test_a_book_without_runs_has_a_page_that_says_so(tmp_path):
    class Empty:
        root = tmp_path

        def runs(self):
            return ()

        def run_rows(self, runs):
            return pl.DataFrame({"run": list(runs)})

    assert write_runs(tmp_path, {}, Empty()) == 0
    assert (tmp_path / "runs.md").read_text(encoding="utf-8").startswith("(runs)=\n# Runs")


def test_a_book_is_served_to_this_machine_only():
    with served(sample_folder() / "html") as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/01_controls.html") as answer:
            assert answer.status == 200 and b"Which head leads?" in answer.read()


def test_there_must_be_a_book_and_a_free_port_to_serve(tmp_path):
    with pytest.raises(BookError, match="a built book"):
        server_of(tmp_path, 0)
    with served(sample_folder() / "html") as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(BookError, match=f"port {port} to be free"):
            server_of(sample_folder() / "html", port)
