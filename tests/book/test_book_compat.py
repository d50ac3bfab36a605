"""marimo's private API, held against its public one."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version

import altair as alt
import marimo as mo
import polars as pl
import pytest
from altair.utils.schemapi import SchemaValidationError
from marimo._entrypoints import registry as executors

from book import _compat
from book.charts import chart_spec, unchecked

from .book_sample import NOTEBOOKS, write_notebook


@pytest.fixture(autouse=True)
def store_and_search_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADBOOK_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_marimo_is_the_version_that_this_was_written_for():
    assert version("marimo") == "0.25.2"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_our_run_is_the_public_run_with_cell_ids(notebook):
    app = _compat.load_app(notebook)
    ours = _compat.run_cells(app)
    outputs, definitions = app.run()
    in_order = [cell.id for cell in _compat.notebook_cells(app) if cell.id in ours.outputs]
    assert [type(ours.outputs[cell]) for cell in in_order] == [type(output) for output in outputs]
    assert set(definitions) <= ours.globals.keys()


def test_cells_are_those_of_the_file(tmp_path):
    notebook = write_notebook(tmp_path / "n1.py", ("one", "x = 1"), ("two", "y = x + 1\ny"))
    cells = {cell.name: cell for cell in _compat.notebook_cells(_compat.load_app(notebook))}
    assert cells["two"].refs == {"x"} and cells["two"].defs == {"y"}
    assert cells["setup"].id == _compat.SETUP
    assert cells["two"].code == "y = x + 1\ny"


def test_overriding_agrees_with_the_public_overriding(tmp_path):
    notebook = write_notebook(tmp_path / "n2.py", ("one", "x = 1"), ("two", "y = x + 1\ny"))
    app = _compat.load_app(notebook)
    _, definitions = app.run(defs={"x": 41})
    assert _compat.run_cells(app, {"x": 41}).globals["y"] == definitions["y"] == 42


def test_only_the_chosen_cells_run(tmp_path):
    notebook = write_notebook(tmp_path / "n3.py", ("one", "x = 1"), ("two", "y = x + 1\ny"))
    app = _compat.load_app(notebook)
    two = next(cell.id for cell in _compat.notebook_cells(app) if cell.name == "two")
    run = _compat.run_cells(app, {"x": 5}, only={two})
    assert run.outputs == {two: 6}


def test_a_failing_cell_is_named(tmp_path):
    notebook = write_notebook(tmp_path / "n4.py", ("one", "x = 1 / 0"))
    app = _compat.load_app(notebook)
    one = next(cell.id for cell in _compat.notebook_cells(app) if cell.name == "one")
    with pytest.raises(_compat.CellError, match="ZeroDivisionError: division by zero") as failure:
        _compat.run_cells(app)
    assert failure.value.cell == one


def test_a_stopped_cell_is_told_from_one_that_did_not_run(tmp_path):
    stop = ("one", "mo.stop(True, 'not today')\nx = 1")
    notebook = write_notebook(tmp_path / "n5.py", stop, ("two", "x"))
    app = _compat.load_app(notebook)
    ids = {cell.name: cell.id for cell in _compat.notebook_cells(app)}
    run = _compat.run_cells(app)
    assert run.stopped == {ids["one"]} and run.outputs[ids["one"]] == "not today"
    assert ids["two"] not in run.outputs


def test_the_observer_sees_every_cell_after_it_ran(tmp_path):
    notebook = write_notebook(tmp_path / "n6.py", ("one", "x = 1"), ("two", "y = x + 1"))
    app = _compat.load_app(notebook)
    seen = []
    _compat.run_cells(app, observe=lambda cell, names: seen.append(("x" in names, "y" in names)))
    assert seen == [(False, False), (True, False), (True, True)]


def test_nested_objects_are_kept_and_marimo_is_left_as_it_was():
    frame = pl.DataFrame({"a": [1]})
    before = mo.vstack([frame]).text
    with _compat.keep_objects():
        slider = mo.ui.slider(0, 3)
        kept = mo.vstack([frame, mo.md("text"), slider]).text
        assert "marimo-table" not in kept and kept.count("hb-object") == 4
        keys = re.findall(r'data-key="(\d+)"', kept)
        assert _compat.kept_object(keys[0]) is frame
        assert "hb-object" in f"{slider}" and _compat.label_of(slider) == ""
    assert "marimo-table" in before and "marimo-table" in mo.vstack([frame]).text
    assert "hb-object" not in f"{mo.ui.slider(0, 3)}"


def test_a_file_without_an_app_is_refused(tmp_path):
    path = tmp_path / "n7.py"
    path.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(TypeError, match="expected a marimo notebook with an `app`"):
        _compat.load_app(path)


@pytest.mark.parametrize(
    "value",
    [
        *("a=b", "x<img src=x>", "--model", "-x", "a b", " a ", "", "é\n", "reference", "/a/b=c"),
        *("--text=other", "{{7*7}}", "a,b", "'", '"'),
    ],
)
def test_a_notebook_is_told_what_was_asked_for(tmp_path, value):
    notebook = write_notebook(tmp_path / "n8.py", ("one", "told = mo.cli_args().to_dict()"))
    told = _told(notebook, {"model": value, "text": "other"})
    assert told == {"model": value, "text": "other"}


@pytest.mark.parametrize("value", ["7", "007", "1e5", "true", "False", "nan", "1_0", "inf"])
def test_a_folder_that_is_called_like_a_number_is_a_path(tmp_path, value):
    notebook = write_notebook(tmp_path / "n9.py", ("one", "told = mo.cli_args().to_dict()"))
    assert _told(notebook, {"model": value}) == {"model": f"./{value}"}


def test_a_number_is_told_as_it_is(tmp_path):
    notebook = write_notebook(tmp_path / "n10.py", ("one", "told = mo.cli_args().to_dict()"))
    options = {"n_sequences": "4", "seed": "7", "model": "reference"}
    assert _told(notebook, options) == {"n_sequences": 4, "seed": 7, "model": "reference"}


def _told(notebook, options):
    """What `mo.cli_args()` holds in a notebook that gets these options."""
    argv = sys.argv
    sys.argv = [str(notebook), *_compat.arguments_of(options)]
    try:
        return _compat.run_cells(_compat.load_app(notebook)).globals["told"]
    finally:
        sys.argv = argv
        sys.modules.pop(notebook.stem, None)


def test_what_is_looked_up_once_is_what_is_found_again():
    rows = pl.DataFrame({"name": ["a", "b"], "value": [1.0, 2.0]})

    def spec() -> dict[str, object]:
        chart = alt.Chart(rows).mark_bar().encode(x="value:Q", y="name:N", tooltip=["name:N"])
        return chart_spec(chart)

    plain = spec()
    with _compat.remembered():
        assert spec() == spec() == plain
        names = [executors.get_entry_points("marimo.cell.executor") for _ in range(2)]
    assert names[0] is names[1]
    assert list(names[0]) == list(executors.get_entry_points("marimo.cell.executor"))


def test_each_shape_of_a_chart_is_held_against_the_schema_in_every_state(monkeypatch):
    def chart(value: float, title: str) -> alt.Chart:
        return alt.Chart(pl.DataFrame({"value": [value]}), title=title).encode(x="value:Q")

    held: list[object] = []
    plain = alt.Chart.validate
    monkeypatch.setattr(
        alt.Chart, "validate", classmethod(lambda _, spec, *a: held.append(spec) or plain(spec, *a))
    )
    with unchecked():
        for value, title in ((1.0, "one"), (2.0, "two")):
            assert chart_spec(chart(value, title).mark_bar())["title"] == title
        assert len(held) == 1
        chart_spec(chart(1.0, "one").mark_line())
        assert len(held) == 2
        wrong = chart(1.0, "one").mark_bar()
        wrong.width = "wide"
        for _ in range(2):
            with pytest.raises(SchemaValidationError):
                chart_spec(wrong)
