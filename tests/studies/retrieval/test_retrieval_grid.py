"""The grid of models, questions and lengths: every cell stored, and none computed twice."""

from dataclasses import replace

import polars as pl
import pytest
from click.testing import CliRunner

from analysis.errors import UserError
from analysis.questions.asked import Asked, Profile
from analysis.studies.retrieval import study as module
from analysis.studies.retrieval.ranking.curves import RetrievalCurves
from analysis.studies.retrieval.views import grid_sizes
from book.retrieval_command import grid
from store import Store

ASKED = ("--question", "employees", "--length", "96", "--store")


@pytest.fixture
def tiny(monkeypatch):
    """One item each, two levels, two draws."""
    sizes = replace(
        module.SIZES[Profile.QUICK],
        n_tokens=96,
        n_detection=2,
        n_draws=2,
        levels=(1, 2),
        n_per_length=6,
    )
    monkeypatch.setitem(module.SIZES, Profile.QUICK, sizes)


def test_a_grid_is_stored_and_goes_on_where_it_stopped(tiny, tmp_path, monkeypatch):
    first = CliRunner().invoke(grid, [*ASKED, str(tmp_path)], catch_exceptions=False)
    lines = [line for line in first.output.splitlines() if "summed_attention" in line]
    assert len(lines) == 1
    assert "0: 1.00" in lines[0]
    n_runs = len(Store.open(tmp_path).runs())
    monkeypatch.setattr(RetrievalCurves, "run", None)
    again = CliRunner().invoke(grid, [*ASKED, str(tmp_path)], catch_exceptions=False)
    assert again.stdout == first.stdout
    assert len(Store.open(tmp_path).runs()) == n_runs


def test_a_question_that_nobody_asks_is_named(tmp_path):
    with pytest.raises(UserError, match=r"expected questions among .*, got colour; choose"):
        CliRunner().invoke(
            grid, ["--question", "colour", "--store", str(tmp_path)], catch_exceptions=False
        )


def test_a_length_beyond_the_context_is_refused(tiny):
    asked = module.RetrievalStudy(Asked(model="reference"))
    with pytest.raises(UserError, match=r"expected lengths up to 502, .* got 512; choose shorter"):
        asked.cell(lambda _: None, "employees", 512, ())


def test_sizes_of_the_grid_are_those_that_every_ranking_has():
    """What all rankings share may be of any number of heads."""
    rankings = ["qr_score", "qr_score", "overlap"]
    curves = pl.DataFrame({"ranking": rankings, "family": "top", "size": [0, 4, 7]})
    assert grid_sizes([{"retrieval_curves": curves}]) == [0, 4]
