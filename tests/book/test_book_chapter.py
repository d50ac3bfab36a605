"""A chapter's page: title, code, runs, figures, and the ways a notebook can go wrong."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from book.chapter import compile_chapter
from book.errors import BookError
from book.provenance import SHOWN_RUNS, Origin, answer_runs, runs_line

from .book_sample import SETUP, compiled, html_of, write_notebook

ANSWERS = (
    SETUP
    + """
class Answer(dict):
    experiment = "Fake"
    def __init__(self, *runs):
        self.runs = runs

class Store:
    def __init__(self):
        self.log = []
    def recall(self, run):
        self.log.append(Answer(run))
        return Answer(run)
    def sql(self):
        self.log.append(Answer("all"))
        self.log[-1].experiment = "sql"

store = Store()
"""
)


def runs_under(chapter, marker: str) -> set[str]:
    """Runs that the link line under the output with a text leads to."""
    soup = BeautifulSoup(html_of(chapter), "html.parser")
    block = next(b for b in soup.find_all(["table", "span"]) if marker in b.get_text())
    line = block.find_next(class_="hb-runs")
    return {link["href"].partition("#run-")[2] for link in line.find_all("a")}


def test_the_first_output_is_the_title(tmp_path):
    chapter = compiled(tmp_path)
    assert chapter.title == "A title"
    assert chapter.text.startswith("(05_sample)=\n\n# A title")


def test_a_chapter_without_a_title_is_refused(tmp_path):
    notebook = write_notebook(tmp_path / "06_x.py")
    text = notebook.read_text(encoding="utf-8").replace("'# A title'", "'no title'")
    notebook.write_text(text, encoding="utf-8")
    with pytest.raises(BookError, match="a chapter to begin with its title"):
        compile_chapter(notebook, [], lambda done, total: None)


def test_code_is_folded_under_the_output_that_it_leads_to(tmp_path):
    cells = (("one", "x = 1"), ("two", "y = x + 1\nstr(y)"), ("three", "str(x)"))
    soup = BeautifulSoup(html_of(compiled(tmp_path, *cells)), "html.parser")
    folds = [fold.get_text() for fold in soup.select("details.hb-code")]
    assert len(folds) == 2
    assert "x = 1" in folds[0] and "y = x + 1" in folds[0] and "import polars" in folds[0]
    assert "str(x)" in folds[1] and "import" not in folds[1]


def test_a_figure_is_named_after_its_cell(tmp_path):
    chart = "import altair as alt\nalt.Chart(pl.DataFrame({'x': [1]}), description='D.').mark_bar()"
    named = compiled(tmp_path, ("heads", chart))
    assert "{hb-figure}" in named.text and ":name: fig-heads" in named.text
    assert "{hb-figure}" not in compiled(tmp_path, ("_", chart)).text


def test_a_notebook_is_linked(tmp_path):
    assert 'href="notebooks/05_sample.py"' in html_of(compiled(tmp_path))


def test_an_output_leads_to_the_runs_that_it_is_made_from(tmp_path):
    cells = (
        ("one", "first = store.recall('r1')"),
        ("two", "second = {'a': [Answer('r2')]}"),
        ("three", "both = (first, second)"),
        ("shown", "pl.DataFrame({'joined': [len(both)]})"),
        ("alone", "pl.DataFrame({'single': [len(first)]})"),
        ("none", "pl.DataFrame({'free': [1]})"),
        ("text", "mo.md(f'told {len(second)}')"),
    )
    chapter = compiled(tmp_path, *cells, setup=ANSWERS)
    assert runs_under(chapter, "joined") == {"r1", "r2"}
    assert runs_under(chapter, "single") == {"r1"}
    assert chapter.runs == ("r1", "r2")
    lines = BeautifulSoup(html_of(chapter), "html.parser").select(".hb-runs")
    assert len(lines) == 3, "two tables and the text, not the free table"


def test_an_answer_without_a_name_is_seen_in_the_stores_log(tmp_path):
    chapter = compiled(tmp_path, ("one", "_x = store.recall('r9')\nstr(len(_x))"), setup=ANSWERS)
    assert chapter.runs == ("r9",)


def test_the_runs_follow_the_state(tmp_path):
    cells = (
        ("control", "a = mo.ui.slider(0, 1)\na"),
        ("ask", "answer = store.recall(f'r{a.value}')"),
        ("shown", "pl.DataFrame({'n': [a.value + len(answer)]})"),
    )
    chapter = compiled(tmp_path, *cells, setup=ANSWERS)
    soup = BeautifulSoup(html_of(chapter), "html.parser")
    lines = {
        line.find_parent(class_="hb-state")["data-states"]: line.find("a")["href"]
        for line in soup.select(".hb-state .hb-runs")
    }
    assert lines == {"0": "runs.html#run-r0", "1": "runs.html#run-r1"}


def test_a_query_depends_on_the_whole_store(tmp_path):
    cells = (("ask", "_f = store.sql()\nstr(1)"),)
    chapter = compiled(tmp_path, *cells, setup=ANSWERS)
    assert chapter.whole_store and chapter.runs == ()
    assert "query over the whole store" in html_of(chapter)
    assert not compiled(tmp_path, setup=ANSWERS).whole_store


def test_controls_alone_have_no_source(tmp_path):
    cells = (
        ("ask", "answer = store.recall('r1')"),
        ("control", "a = mo.ui.slider(0, len(answer) + 1)\na"),
        ("shown", "str(a.value)"),
    )
    soup = BeautifulSoup(html_of(compiled(tmp_path, *cells, setup=ANSWERS)), "html.parser")
    assert len(soup.select(".hb-runs")) == 1


def test_many_runs_are_folded():
    runs = frozenset(f"r{i}" for i in range(SHOWN_RUNS + 3))
    soup = BeautifulSoup(runs_line(Origin(runs)), "html.parser")
    assert len(soup.find_all("a")) == len(runs)
    assert soup.find("summary").get_text() == "and 3 more"
    assert runs_line(Origin()) == ""


def test_only_answers_have_runs():
    assert answer_runs({"runs": ("a",)}) == answer_runs("runs") == answer_runs(None) == frozenset()


@pytest.mark.parametrize(
    "code", ["print(1)", "mo.output.append(1)", "mo.latex('x')", "f = mo.sql('select 1')"]
)
def test_output_that_the_page_would_miss_is_refused(tmp_path, code):
    with pytest.raises(BookError, match=r"outputs that a cell ends with.* in cell 'loud'"):
        compiled(tmp_path, ("loud", code))


def test_tests_inside_a_notebook_are_not_shown(tmp_path):
    code = "def test_it():\n    print(1)"
    assert "test_it" not in html_of(compiled(tmp_path, ("checks", code)))


def test_a_refused_output_names_notebook_and_cell(tmp_path):
    with pytest.raises(BookError) as error:
        compiled(tmp_path, ("diagram", "mo.mermaid('graph TD; A-->B')"))
    for part in ("05_sample.py", "'diagram'", "<marimo-mermaid>"):
        assert part in str(error.value)


def test_a_notebook_that_does_not_load_is_named(tmp_path):
    with pytest.raises(BookError, match=r"ModuleNotFoundError.*05_sample\.py"):
        compiled(tmp_path, setup="import marimo as mo\nimport no_such_module")


def test_a_token_in_prose_is_text_for_sphinx(tmp_path):
    chapter = compiled(tmp_path, ("token", "mo.md('a token `<s>` and <script>alert(1)</script>')"))
    assert "<script>alert(1)</script>" in chapter.text, "MyST's HTML is off: it stays text"
    assert "<script>alert" not in html_of(chapter)
