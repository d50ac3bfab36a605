"""Circuits as wholes: the built one is found, and sums of what is replaced are those of passes."""

from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional as F

from analysis.attention import Taps
from analysis.interventions import Head, Intervention, Method, taps
from analysis.interventions.heads import heads_of
from analysis.models.files.card import read_card
from analysis.models.load import hidden_states, unembed
from analysis.plots.levels import kept_curves
from analysis.studies.circuit_sets import views
from analysis.studies.circuit_sets.attribution import by_gradient
from analysis.studies.circuit_sets.claims import CircuitSetClaims
from analysis.studies.circuit_sets.measures import rises
from analysis.studies.circuit_sets.passes import eliminated, n_cut, n_tried
from analysis.studies.circuit_sets.question import ALL, CIRCUIT, MATCHED, CircuitSets
from store.schema import conformed
from tests.studies.circuit.circuit_model import COPIER, DECOY, PREVIOUS, circuit_model

BUILT = (Head(*PREVIOUS), Head(*COPIER))
METHODS = (Method.RESAMPLE, Method.MEAN)


def silent(*_args) -> None:
    pass


class Stored(dict):
    """Frames by table name, as the store answers them."""

    runs = ("0123456789abcdef",)


def asked(model: str, method: Method, **sizes: int) -> CircuitSets:
    ranked = [Head(*DECOY), *BUILT]
    every = heads_of(read_card(model))
    names = tuple(map(str, [*ranked, *(head for head in every if head not in ranked)]))
    given = {"n_sequences": 12, "block_len": 15, "n_draws": 50} | sizes
    return CircuitSets(model=model, method=method.value, by_attention=names, seed=1, **given)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> str:
    """Two heads copy; a third looks where the second of them does, and writes nothing."""
    return circuit_model(tmp_path_factory.mktemp("circuit") / "built", decoy=True)


@pytest.fixture(scope="module")
def answers(built) -> dict[str, Stored]:
    return {m.value: Stored(asked(built, m).run(silent)) for m in METHODS}


def test_rows_of_the_answer_are_the_tables_rows(answers):
    for answer in answers.values():
        for table, frame in answer.items():
            conformed(table, frame.with_columns(run=pl.lit("0123")))
        assert answer["ablations"]["condition"].is_unique().all()


@pytest.mark.parametrize("method", METHODS)
def test_the_built_circuit_is_found_and_the_decoy_is_not_in_it(answers, method):
    found = rises(answers[method.value])
    assert found.kept[CIRCUIT] == [tuple(map(str, BUILT))]
    curve = views.curve_rows(answers, 0).filter(method=method.value)
    looking = curve.filter(chosen="first by attention", kept=2)["value"].item()
    cut = curve.filter(chosen="cut one by one", kept=2)["value"].item()
    assert abs(cut - 1) < 0.02
    assert looking < 0.2, "a decoy and one of two heads copy next to nothing"
    assert curve.filter(chosen="first by gradient", kept=2)["heads"].item() == "L0H0, L1H0"


def test_every_number_of_a_claim_is_that_of_the_built_circuit(answers, built):
    claims = CircuitSetClaims(card=read_card(built), seed=0, sets=answers).run(silent)["claims"]
    found = {row["claim"]: row for row in claims.iter_rows(named=True)}
    for claim in ("circuit_enough", "circuit_needed"):
        assert found[claim]["lower"] > found[claim]["threshold"]
        assert found[claim]["estimate"] == pytest.approx(1, abs=0.02)
        assert found[claim]["control"] == pytest.approx(0, abs=0.02)
        # Of one other head in each layer there are 9 circuits, which are too few for a p.
        assert (found[claim]["n_null"], found[claim]["verdict"]) == (9, "not testable")
    assert found["circuit_minimal"]["lower"] > 0.5


def test_a_set_that_keeps_nothing_is_refuted_and_its_heads_are_not_tested(answers, built):
    """The same answers, but that the circuit costs what replacing everything costs."""
    spoilt = {}
    for method, answer in answers.items():
        all_of, own = (
            answer["ablations"].filter(family=family)["condition"].item()
            for family in (ALL, CIRCUIT)
        )
        effects = answer["ablation_effects"]
        floor = effects.filter(condition=all_of).with_columns(condition=pl.lit(own))
        kept = effects.filter(pl.col("condition") != own)
        spoilt[method] = Stored({**answer, "ablation_effects": pl.concat([kept, floor])})
    claims = CircuitSetClaims(card=read_card(built), seed=0, sets=spoilt).run(silent)["claims"]
    verdicts = dict(claims.select("claim", "verdict").iter_rows())
    assert verdicts["circuit_enough"] == "refuted"
    assert verdicts["circuit_minimal"] == "not testable"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bloom"])
def test_losses_are_those_of_whole_passes(saved, architecture, method):
    """Also of models whose layers cannot be called one by one."""
    question = asked(str(saved(architecture)), method, n_sequences=6, block_len=8)
    model, every = question.loaded_model(), heads_of(question.card)
    with torch.no_grad():
        (rows,) = question._rows(model, 1)
        replaced = (every[1], every[-1])  # below, beside and above what is tried
        more = [head for head in every if head not in replaced]
        together = rows.each_more(replaced, more)
        for head, losses in zip(more, together, strict=True):
            one = Intervention(method=method, heads=(*replaced, head), positions=None)
            hidden = hidden_states(model, rows.tokens, taps([one], rows.stand_ins, 3))
            logits = torch.stack([unembed(model, row) for row in hidden])
            whole = F.cross_entropy(logits[:, :-1].mT, rows.tokens[:, 1:], reduction="none")
            oracle = whole[:, -question.block_len + 1 :].mean(-1)
            np.testing.assert_allclose(losses, oracle.numpy(), rtol=1e-5)
        assert np.array_equal(rows.losses(()), rows.loss(hidden_states(model, rows.tokens, Taps())))


def test_heads_are_cut_from_all_to_none_each_once(saved):
    question = asked(str(saved("llama")), Method.MEAN, n_sequences=6, block_len=8)
    every, tried = heads_of(question.card), list[int]()
    with torch.no_grad():
        path = eliminated(every, [*question._rows(question.loaded_model(), 0)], tried.append)
    assert path[0] == every
    assert path[-1] == ()
    for larger, smaller in pairwise(path):
        assert set(smaller) < set(larger)
    assert tried[-1] == n_tried(len(every))


@pytest.mark.parametrize(("n_heads", "cuts"), [(1, 1), (16, 16), (32, 19), (270, 27)])
def test_many_heads_are_cut_in_few_steps(n_heads, cuts):
    for _ in range(cuts):
        n_heads -= n_cut(n_heads)
    assert n_heads == 0


def test_circuits_beside_the_circuit_have_its_heads_by_layer_and_none_of_it(saved):
    question = asked(str(saved("llama")), Method.RESAMPLE, n_sequences=6, block_len=8, n_draws=5)
    found = rises(Stored(question.run(silent)))
    (circuit,) = found.kept[CIRCUIT]
    layers = Counter(Head.parse(name).layer for name in circuit)
    assert found.kept[MATCHED]
    for drawn in found.kept[MATCHED]:
        assert not set(drawn) & set(circuit)
        assert Counter(Head.parse(name).layer for name in drawn) == layers


def test_a_gradient_finds_the_built_heads(built):
    """Which of all heads matter is known."""
    question = asked(built, Method.MEAN)
    every = heads_of(question.card)
    with torch.no_grad():
        (rows,) = question._rows(question.loaded_model(), 0)
    assert set(by_gradient([rows], every)[:2]) == set(BUILT)


def test_charts_show_every_set(answers):
    rows = views.curve_rows(answers, 0)
    assert kept_curves(rows, "t", "d").to_dict()
    assert rows.filter(chosen="in random order").height == 2 * 3 * 3
    heads = views.head_rows(answers, 0)
    assert set(heads["name"]) == set(map(str, BUILT))
    assert (heads["value"] > 0.5).all()
    assert heads["other half"].all()
    assert views.overlap(answers["mean"]) == "2 of 2"
    assert set(views.needs(answers, "mean", 0)) == set(heads["name"])
    assert views.kept_said(answers, 0).startswith(
        "With every other head replaced, L0H0, L1H0 keep 1."
    )
    assert (views.needs({}, "mean", 0), views.kept_said({}, 0)) == ({}, "")
