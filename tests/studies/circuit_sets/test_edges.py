"""Paths between heads of a circuit: the built one runs through the keys alone."""

import numpy as np
import polars as pl
import pytest

from analysis.studies.circuit_sets import edge_views as views
from analysis.studies.circuit_sets.edges import EDGE, CircuitEdges
from store.schema import conformed
from tests.studies.circuit.circuit_model import COPIER, PREVIOUS, circuit_model

from .test_circuit_sets import Stored, silent


def asked(model: str, *circuit: str) -> CircuitEdges:
    given = {"n_sequences": 7, "block_len": 15, "seed": 1}
    return CircuitEdges(model=model, circuit=circuit, **given)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> str:
    return circuit_model(tmp_path_factory.mktemp("edges") / "built", decoy=True)


def test_the_built_circuit_runs_through_the_keys_of_its_second_head(built):
    names = [f"L{layer}H{head}" for layer, head in (PREVIOUS, COPIER)]
    question = asked(built, *names)
    answer = Stored(question.run(silent))
    for table, frame in answer.items():
        conformed(table, frame.with_columns(run=pl.lit("0123")))
    rows = views.edge_rows(answer)
    worth = dict(rows.select("panel", "value").iter_rows())
    assert rows.select("first", "second").unique().rows() == [tuple(names)]
    assert worth["keys"] > 2
    assert abs(worth["queries"]) < 0.01
    assert abs(worth["values"]) < 0.01
    assert abs(views.beside_edges(answer)) < 0.01
    assert views.edges_said(answer).startswith(f"{names[0]} into the keys of {names[1]} (")
    judged = answer["ablation_effects"]["sequence"].unique().to_numpy()
    assert set(judged) == {1, 3, 5}, "the even sequences chose the circuit"
    assert rows["n"].to_list() == [3, 3, 3]


def test_every_path_of_the_circuit_has_three_inputs_and_of_other_heads_one(saved):
    question = asked(str(saved("llama")), "L0H0", "L0H1", "L1H1")
    paths = list(question.paths())
    inner = [path for path in paths if path.family == EDGE]
    assert len(inner) == 2 * 3
    assert {str(path.sender) for path in paths} - {"L0H0", "L0H1"} == {
        str(path.sender) for path in paths if path.family != EDGE
    }
    losses = question.run(silent)["ablation_effects"]["loss_change"].to_numpy()
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("architecture", "circuit", "reason"),
    [("llama", ("L0H0", "L0H1"), "no head that lies above"), ("gemma2", ("L0H0", "L1H0"), "norm")],
)
def test_what_has_no_paths_says_why(saved, architecture, circuit, reason):
    answer = Stored(asked(str(saved(architecture)), *circuit).run(silent))
    assert views.edge_rows(answer).is_empty()
    assert reason in views.edges_said(answer)
    assert views.beside_edges(answer) == 0
