"""Building again: only what changed, nothing foreign touched, nothing half done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from book.errors import BookError
from book.inputs import chapter_key
from book.site import build, find_notebooks

from .book_sample import (
    FIXTURES,
    NOTEBOOKS,
    OPTIONS,
    build_sample,
    digests,
    page,
    sample_folder,
    write_notebook,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workshop(tmp_path):
    """The sample book and its notebooks, copied so that they can be changed."""
    shutil.copytree(sample_folder(), tmp_path, dirs_exist_ok=True)
    shutil.copytree(FIXTURES, tmp_path / "notebooks")
    return tmp_path


def rebuild(folder: Path):
    return build_sample(folder, find_notebooks(folder / "notebooks"), model="m")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


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


def test_a_module_rebuilds_the_notebooks_that_import_it(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "told.py").write_text("WORD = 'one'\n", encoding="utf-8")
    setup = "import marimo as mo\nfrom told import WORD"
    write_notebook(folder / "01_a.py", ("word", "WORD"), setup=setup)
    write_notebook(folder / "02_b.py", ("word", "str(1)"))
    assert rebuild(tmp_path).compiled == ("01_a", "02_b")
    edit(folder / "told.py", "one", "two")
    (folder / "02_b.py").unlink()
    write_notebook(folder / "03_c.py")
    assert rebuild(tmp_path).compiled == ("01_a", "03_c")
    assert "two" in page(tmp_path, "01_a.html").select_one("article").get_text()
    for gone in ("02_b.html", "notebooks/02_b.py"):
        assert not (tmp_path / "html" / gone).exists()


def test_a_page_depends_on_the_modules_that_compiled_it_and_on_no_others(tmp_path):
    """Those of the compiler, too: what names models stands on pages, what serves them does not."""
    setup = "import marimo as mo\nfrom book.live import boxes"
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / "notebooks" / "01_a.py", ("word", "str(1)"), setup=setup)
    rebuild(tmp_path)
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
    (inputs,) = (one["inputs"] for one in records if isinstance(one, dict) and "inputs" in one)
    assert {"book/editions.py", "book/render.py", "book/chapter.py"} <= set(inputs)
    assert not {"book/serve.py", "book/site.py", "book/cli.py", "book/check.py"} & set(inputs)


def test_a_run_that_left_the_store_is_computed_again_or_refused(workshop):
    shutil.rmtree(workshop / "store")
    notebooks = find_notebooks(workshop / "notebooks")
    with pytest.raises(BookError, match=r"the runs that 00_answers\.py shows in the store"):
        build(workshop / "store", notebooks, workshop / "html", check=True, options=OPTIONS)
    assert rebuild(workshop).compiled == ("00_answers", "01_controls")


def test_options_are_part_of_the_key():
    notebook = NOTEBOOKS[0]
    keys = [chapter_key(notebook, [], options) for options in ({}, {"model": "a"}, {"model": "b"})]
    assert len(set(keys)) == 3 and chapter_key(notebook, [], {}) == keys[0]


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
        "import sys\n"
        "from pathlib import Path\n"
        "from book.site import build, find_notebooks\n"
        "folder, notebooks = Path(sys.argv[1]), find_notebooks(Path(sys.argv[2]))\n"
        "report = build(folder / 'store', notebooks, folder / 'html', check=False,"
        " options={'model': 'm'})\n"
        "assert not report.written and not report.compiled, report\n"
        "heavy = {'torch', 'transformers', 'marimo', 'sphinx', 'altair'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    sample_folder()
    command = [sys.executable, "-c", script, str(sample_folder()), str(FIXTURES)]
    subprocess.run(command, check=True, cwd=ROOT)


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
            check=True, options={},
        )  # fmt: skip


def test_a_link_to_nothing_fails_the_check(tmp_path):
    notebook = write_notebook(
        tmp_path / "01_links.py", ("links", "pl.DataFrame({'a_link': ['09_gone#here']})")
    )
    with pytest.raises(BookError, match=r"link 09_gone\.html#cell-here leads to no file"):
        build(tmp_path / "store", [notebook], tmp_path / "html", check=True, options={})


@pytest.mark.parametrize("notebooks", [[], ["gone.py"], ["00_a.py", "00_b.py"]])
def test_a_wrong_list_of_notebooks_is_refused(tmp_path, notebooks):
    for name in ("00_a.py", "00_b.py"):
        (tmp_path / name).touch()
    paths = [tmp_path / name for name in notebooks]
    with pytest.raises(BookError, match="notebook"):
        build(tmp_path / "store", paths, tmp_path / "html", check=False, options={})
    with pytest.raises(BookError, match="NN_question"):
        find_notebooks(tmp_path / "nowhere")
