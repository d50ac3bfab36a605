"""Every number can be traced and cited: runs name their figures, the book says what it is."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import polars as pl
import pytest
import yaml

from book.charts import alternative
from book.citation import CFF, bibtex, citation_data, write_citation
from book.errors import BookError
from book.places import Place, shown_in
from book.runs_page import write_runs

from .book_sample import page, sample_folder

ROOT = Path(__file__).resolve().parents[2]


# runs and figures


def test_every_run_names_the_figures_that_link_to_it():
    runs = page(sample_folder(), "runs.html")
    for name in ("index.html", "01_controls.html"):
        for figure in page(sample_folder(), name).select("figure.hb-figure"):
            foot = figure.find_next_sibling(class_="hb-foot")
            linked = {link["href"].partition("#")[2] for link in foot.select(".hb-runs a")}
            assert linked, f"{figure['id']} of {name} names no run"
            for anchor in linked:
                shown = runs.find(id=anchor).select(".hb-shown a")
                assert f"{name}#{figure['id']}" in {link["href"] for link in shown}


def test_a_run_names_tables_and_texts_by_their_cell():
    runs = page(sample_folder(), "runs.html")
    shown = {link["href"]: link.get_text() for link in runs.select(".hb-shown a")}
    assert shown["index.html#cell-verdicts"] == "verdicts"
    assert shown["index.html"] == "Answers"
    assert shown["01_controls.html#fig-bars"] == "Fig. 1.1"


def test_the_overview_leads_to_every_run():
    runs = page(sample_folder(), "runs.html")
    linked = {link["href"] for link in runs.select(".hb-table td a")}
    assert linked == {f"runs.html#{entry['id']}" for entry in runs.select(".hb-run")}
    assert "3 runs of 1 experiments on 1 model took" in runs.get_text()


def test_an_entry_says_parameters_duration_and_machine():
    entry = page(sample_folder(), "runs.html").select_one(".hb-run")
    facts = {
        line.dt.get_text(): line.dd.get_text(" ", strip=True) for line in entry.select("dl > div")
    }
    assert facts["parameters"].startswith("layer ")
    assert " UTC, in " in facts["computed"]
    assert facts["hardware"].startswith("cpu") and "cores" in facts["hardware"]
    assert "polars" in facts["with"] and "cores" not in facts["with"]
    assert {"model", "weights", "text", "tokens", "shown in"} <= facts.keys()


def test_places_are_read_from_what_the_page_links_to(tmp_path):
    text = (
        "(x)=\n# A title\n\n```{hb-html} 0\n```\n\n```{hb-html} 1\n```\n\n"
        ":::{hb-figure} 2\n:name: fig-bars\n\n:::\n\n```{hb-html} 3\n```\n\n"
        "```{hb-html} 4\n```\n\nIn a line {hb-inline}`5`.\n"
    )
    link = '<a href="runs.html#run-{}">x</a>'
    anchor = '<span id="cell-{}" class="hb-anchor"></span>'
    fragments = [
        link.format("aa"),
        anchor.format("bars"),
        [{"captions": []}],
        link.format("bb"),
        anchor.format("table"),
        link.format("aa"),
    ]
    (tmp_path / "01_x.md").write_text(text, encoding="utf-8")
    (tmp_path / "01_x.fragments.json").write_text(json.dumps(fragments), encoding="utf-8")
    (tmp_path / "runs.md").write_text("# Runs\n", encoding="utf-8")
    first, table = (Place("01_x", "A title", cell, "") for cell in ("", "table"))
    figure = Place("01_x", "A title", "bars", "fig-bars")
    assert shown_in(tmp_path) == {"aa": [first, table], "bb": [figure]}
    assert [place.href for place in (first, table)] == ["01_x.html", "01_x.html#cell-table"]


class Kept:
    """A store with one run, of a question that hides markup and a long list."""

    root = Path()

    def runs(self):
        return ("ab" * 16,)

    def run_rows(self, runs):
        long = {"sets": [f"L{n}H0" for n in range(99)], "word": "<b>"}
        question = {"model": {}, "tokens": [], "parameters": long, "seed": 3}
        row = {
            "run": "ab" * 16,
            "experiment": "Sweep",
            "version": 2,
            "model": "m",
            "text": None,
            "parameters": json.dumps(question),
            "started": pl.Series(["2026-01-02 03:04:05"]).str.to_datetime()[0],
            "seconds": 1.5,
            "packages": json.dumps({"python": "3.11", "host": "secret", "processor": "P"}),
            "device": "cuda",
            "git": "",
            "model_name": "m",
            "text_name": None,
            "model_weights": "w" * 64,
        }
        return pl.DataFrame([row for _ in runs], infer_schema_length=None)


class Shown:
    """A record of a chapter that shows it."""

    runs = ("ab" * 16,)


def test_long_parameters_are_cut_short_and_the_whole_question_is_there(tmp_path):
    assert write_runs(tmp_path, {"01_x": Shown()}, Kept()) == 1  # pyright: ignore
    whole = "".join(json.loads((tmp_path / "runs.fragments.json").read_text("utf-8")))
    assert "L98H0" in whole and "…; word &lt;b&gt;; seed 3" in whole
    assert "cuda, P" in whole and "secret" not in whole.partition("<pre")[0]
    assert "no figure of its own" in whole and "<b>" not in whole


# citation


def test_the_citation_file_is_one_and_its_version_is_ours():
    data = citation_data(CFF)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert data["version"] == project["version"]
    assert data["cff-version"] == "1.2.0" and data["type"] == "software"
    assert all("name" in author or "family-names" in author for author in data["authors"])


def test_the_citation_file_is_published_beside_its_page():
    shipped = sample_folder() / "html" / "CITATION.cff"
    assert yaml.safe_load(shipped.read_text("utf-8")) == citation_data(CFF)
    links = page(sample_folder(), "citation.html").select("article a[download]")
    assert [link["href"] for link in links] == ["CITATION.cff"]


def test_the_page_says_which_state_of_the_results_it_shows(tmp_path):
    shown = page(sample_folder(), "citation.html").get_text()
    assert "This copy shows 3 runs" in shown and "@software{headbook," in shown
    states = set()
    for runs in ((), ("ab" * 16,)):
        write_citation(tmp_path, runs, Kept())  # pyright: ignore
        states.add((tmp_path / "citation.fragments.json").read_text("utf-8"))
    assert len(states) == 2, "other runs, another state"
    assert "weights wwwwwwwwwwww" in max(states, key=len)


def test_names_and_signs_survive_bibtex():
    people = [{"family-names": "de Vries", "given-names": "Ada"}, {"name": "The A & B Group"}]
    data = {"title": "50 % of #1", "version": "1", "authors": people}
    entry = bibtex(data, "2026", "")
    assert "author = {de Vries, Ada and {The A & B Group}}" in entry.replace("\\&", "&")
    assert "title = {{50 \\% of \\#1}}" in entry and "note" not in entry


@pytest.mark.parametrize(
    ("text", "got"),
    [("title: x\n", "none of cff-version"), ("a: [", "while parsing"), ("- a\n", "none of")],
)
def test_a_citation_file_that_says_too_little_is_refused(tmp_path, text, got):
    (tmp_path / "c.cff").write_text(text, encoding="utf-8")
    with pytest.raises(BookError, match=got):
        citation_data(tmp_path / "c.cff")


def test_a_missing_citation_file_is_named(tmp_path):
    with pytest.raises(BookError, match="restore CITATION"):
        citation_data(tmp_path / "none.cff")


# alternatives


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("L1H4 leads", "L1H4 leads. Scores."),
        ("Which?", "Which? Scores."),
        ({"text": ["Two", "lines"]}, "Two lines. Scores."),
        ("", "Scores."),
    ],
)
def test_the_alternative_of_a_chart_is_its_finding_and_its_caption(title, said):
    assert alternative({"title": title, "description": "Scores."}) == said
