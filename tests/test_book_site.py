"""Building: only what changed, the same bytes every time, and nothing foreign touched."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import polars as pl
import pytest
from bs4 import BeautifulSoup

from book.errors import BookError
from book.inputs import write_aside
from book.runs_page import write_runs
from book.serve import server_of
from book.site import build, find_notebooks, work_folder
from tests.book_sample import FIXTURES, NOTEBOOKS, build_sample, sample_folder, write_notebook
from tests.browser import served

ROOT = Path(__file__).resolve().parents[1]


def page(folder: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((folder / "html" / name).read_text(encoding="utf-8"), "html.parser")


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def workshop(tmp_path):
    """The notebooks and their module, copied so that they can be changed, and built once."""
    shutil.copytree(FIXTURES, tmp_path / "notebooks")
    build_sample(tmp_path, find_notebooks(tmp_path / "notebooks"))
    return tmp_path


def rebuild(folder: Path):
    return build_sample(folder, find_notebooks(folder / "notebooks"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# the sample book


def test_chapter_00_is_the_start_page_and_the_others_follow():
    links = [link["href"] for link in page(sample_folder(), "index.html").select(".bd-links a")]
    assert links == ["#", "01_controls.html", "02_elements.html", "runs.html", "references.html"]


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
        f"Scores of the heads of layer {layer}." for layer in range(3)
    }


def test_references_and_citations_are_resolved():
    start = page(sample_folder(), "index.html")
    targets = {link["href"]: link.get_text() for link in start.select("article p a.reference")}
    assert targets["01_controls.html#fig-bars"] == "Fig. 1.1"
    assert targets["01_controls.html"] == "Which head leads?" or any(
        text == "Which head leads?" for text in targets.values()
    )
    cited = next(href for href in targets if href.startswith("references.html#"))
    entry = page(sample_folder(), "references.html").find(id=cited.partition("#")[2])
    assert entry is not None and "Induction Heads" in entry.parent.get_text()


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
        jobs=1,
        options={"model": "m"},
    )
    assert digests(tmp_path / "html") == digests(sample_folder() / "html")


# what is built again


def test_only_what_changed_is_built_again(workshop):
    before = digests(workshop / "html")
    again = rebuild(workshop)
    assert again.compiled == () and not again.written
    assert again.kept == ("00_answers", "01_controls", "02_elements")
    edit(workshop / "notebooks" / "02_elements.py", "Every element", "Each element")
    changed = rebuild(workshop)
    assert changed.compiled == ("02_elements",) and changed.written
    start = page(workshop, "index.html").select_one(".bd-links").get_text()
    assert "Each element" in start, "a new title reaches the other pages"
    edit(workshop / "notebooks" / "02_elements.py", "Each element", "Every element")
    rebuild(workshop)
    assert digests(workshop / "html") == before


def test_a_module_rebuilds_the_notebooks_that_import_it(workshop):
    edit(workshop / "notebooks" / "00_answers.py", "What the heads do", "What heads do")
    module = workshop / "notebooks" / "fixture_scores.py"
    edit(module, "A bar a head", "One bar a head")
    extra = write_notebook(workshop / "notebooks" / "03_alone.py")
    assert rebuild(workshop).compiled == ("00_answers", "01_controls", "02_elements", "03_alone")
    edit(module, "One bar a head", "A bar a head")
    assert "03_alone" not in rebuild(workshop).compiled
    extra.unlink()
    assert rebuild(workshop).kept[-1] == "02_elements"
    assert not (workshop / "html" / "03_alone.html").exists()
    assert not (workshop / "html" / "notebooks" / "03_alone.py").exists()


def test_a_run_that_left_the_store_is_computed_again_or_refused(workshop):
    shutil.rmtree(workshop / "store")
    notebooks = find_notebooks(workshop / "notebooks")
    with pytest.raises(BookError, match=r"the runs that 00_answers\.py shows in the store"):
        build(workshop / "store", notebooks, workshop / "html", check=True, jobs=2, options={})
    assert rebuild(workshop).compiled == ("00_answers", "01_controls")


def test_options_rebuild_every_chapter(workshop):
    notebooks = find_notebooks(workshop / "notebooks")
    report = build_sample(workshop, notebooks, model="other")
    assert len(report.compiled) == 3
    assert "Options reach the notebook: other." in page(workshop, "02_elements.html").get_text()


def test_a_chapter_with_queries_follows_the_store(tmp_path):
    setup = "import marimo as mo\nfrom store import Store\nstore = Store.open()"
    query = ("ask", "_runs = store.sql('SELECT count(*) AS n FROM runs')\n_runs")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "01_sql.py", query, setup=setup)
    assert rebuild(tmp_path).compiled == ("01_sql",)
    assert rebuild(tmp_path).compiled == ()
    shutil.copytree(
        sample_folder() / "store" / "parts", tmp_path / "store" / "parts", dirs_exist_ok=True
    )
    assert rebuild(tmp_path).compiled == ("01_sql",)
    assert "3" in page(tmp_path, "01_sql.html").select_one("td").get_text()
    assert page(tmp_path, "index.html").select_one("h1").get_text().startswith("Headbook")


def test_an_unchanged_book_needs_neither_notebooks_nor_sphinx():
    script = (
        "import sys, time; start = time.perf_counter()\n"
        "from pathlib import Path\n"
        "from book.site import build, find_notebooks\n"
        "folder, notebooks = Path(sys.argv[1]), find_notebooks(Path(sys.argv[2]))\n"
        "report = build(folder / 'store', notebooks, folder / 'html', check=False, jobs=2,"
        " options={'model': 'm'})\n"
        "assert not report.written and not report.compiled, report\n"
        "heavy = {'torch', 'transformers', 'marimo', 'sphinx', 'altair'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    sample_folder()
    start = time.perf_counter()
    command = [sys.executable, "-c", script, str(sample_folder()), str(FIXTURES)]
    subprocess.run(command, check=True, cwd=ROOT)
    assert time.perf_counter() - start < 6


# what is refused


def test_a_folder_of_somebody_else_is_not_touched(tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(BookError, match="a new, empty or built folder"):
        build_sample(tmp_path)
    assert [path.name for path in (tmp_path / "html").iterdir()] == ["thesis.txt"]


def test_a_failing_chapter_leaves_the_book_as_it_was(workshop):
    before = digests(workshop / "html")
    edit(
        workshop / "notebooks" / "02_elements.py",
        'mo.callout("Plain words.", kind="warn")',
        "1 / 0",
    )
    with pytest.raises(BookError, match=r"02_elements\.py") as error:
        rebuild(workshop)
    assert "cell 'notes'" in str(error.value) and "ZeroDivisionError" in str(error.value)
    assert digests(workshop / "html") == before


def test_a_reference_to_nothing_fails_the_check_and_warns_otherwise(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_notebook(folder / "01_refs.py", ("text", "mo.md('see {ref}`nowhere`')"))
    report = rebuild(tmp_path)
    assert any("nowhere" in warning for warning in report.warnings)
    with pytest.raises(BookError, match="nowhere"):
        build(
            tmp_path / "store", [folder / "01_refs.py"], tmp_path / "html",
            check=True, jobs=1, options={},
        )  # fmt: skip


def test_a_link_to_nothing_fails_the_check(tmp_path):
    notebook = write_notebook(
        tmp_path / "01_links.py", ("links", "pl.DataFrame({'a_link': ['09_gone#here']})")
    )
    with pytest.raises(BookError, match=r"link 09_gone\.html#cell-here leads to no file"):
        build(tmp_path / "store", [notebook], tmp_path / "html", check=True, jobs=1, options={})


@pytest.mark.parametrize("notebooks", [[], ["gone.py"], ["00_a.py", "00_b.py"]])
def test_a_wrong_list_of_notebooks_is_refused(tmp_path, notebooks):
    for name in ("00_a.py", "00_b.py"):
        (tmp_path / name).touch()
    paths = [tmp_path / name for name in notebooks]
    with pytest.raises(BookError, match="notebook"):
        build(tmp_path / "store", paths, tmp_path / "html", check=False, jobs=1, options={})
    with pytest.raises(BookError, match="NN_question"):
        find_notebooks(tmp_path / "nowhere")


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
