"""The chapters are thin, and run as scripts against a store."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
assert NOTEBOOKS, "found no notebooks; a check of nothing must not pass"

LAB = ROOT / "notebooks" / "lab.py"
"""Live only: it has no finding, and is no chapter."""

by_name = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
and_lab = pytest.mark.parametrize("notebook", [*NOTEBOOKS, LAB], ids=lambda path: path.stem)


def cells(notebook: Path) -> list[ast.FunctionDef]:
    """The notebook's cells, as marimo writes them."""
    tree = ast.parse(notebook.read_text(encoding="utf-8"))
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


@and_lab
def test_cells_are_named_short_and_hold_no_logic(notebook):
    found = cells(notebook)
    assert found
    for cell in found:
        assert cell.name != "_", f"{notebook.name}: a cell without a name"
        assert not cell.name.startswith("test"), "a test inside a cell never runs"
        lines = (cell.end_lineno or 0) - cell.lineno
        assert lines <= 24, f"{notebook.name}: {cell.name} has {lines} lines"
        kinds = (ast.FunctionDef, ast.Try, ast.If, ast.For, ast.While, ast.With)
        inside = [node for part in cell.body for node in ast.walk(part)]
        assert not [node for node in inside if isinstance(node, kinds)], cell.name


@by_name
def test_the_finding_comes_first(notebook):
    assert cells(notebook)[0].name == "finding"


@and_lab
def test_a_notebook_keeps_its_main_guard(notebook):
    assert isinstance(ast.parse(notebook.read_text(encoding="utf-8")).body[-1], ast.If)


@and_lab
def test_a_notebook_runs_as_a_script(notebook, real_book):
    done = subprocess.run(
        [sys.executable, str(notebook), "--", "--profile", "tiny"],
        env={**os.environ, "HEADBOOK_STORE": str(real_book.store)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
