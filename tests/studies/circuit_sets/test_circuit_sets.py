"""Circuits as wholes: the built one is found, and sums of what is replaced are those of passes."""

import re
from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional as F

from analysis.attention import Taps
from analysis.interventions import (
    Head,
    Intervention,
    Method,
    Pooling,
    derangement,
    means,
    read_z,
    taps,
)
from analysis.interventions.heads import heads_of
from analysis.models.files.card import read_card
from analysis.models.load import hidden_states, unembed
from analysis.plots.levels import kept_curves
from analysis.studies.circuit_sets import views
from analysis.studies.circuit_sets.attribution import by_gradient, integrated
from analysis.studies.circuit_sets.claims import CircuitSetClaims
from analysis.studies.circuit_sets.conditions import ALL, CIRCUIT, MATCHED, Goal
from analysis.studies.circuit_sets.gates import grid, moved_loss
from analysis.studies.circuit_sets.measures import SetRises, rises
from analysis.studies.circuit_sets.passes import eliminated, n_cut, n_tried
from analysis.studies.circuit_sets.question import BY_PLACE, BY_TOKEN, SCOPES, CircuitSets, by_part
from analysis.text.repeats import at_another_lag
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


def pairs(found: SetRises, goal: Goal):
    """What gates chose from each start, and what it costs."""
    return zip(found.kept[goal.value], found.of[goal.value], strict=True)


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
    looking = curve.filter(chosen="first by attention").sort("kept")["value"].to_list()
    cut = curve.filter(chosen="cut one by one", kept=2)["value"].item()
    assert abs(cut - 1) < 0.02
    assert abs(looking[0]) < 1e-6, "a decoy keeps nothing"
    assert looking[1] < 0.5, "and does not make one of two heads a circuit"
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
        (rows,) = question.half(model, 1, "other lag")
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
        even = question.half(question.loaded_model(), 0, "other lag")
        path = eliminated(every, even, lambda done, *_: tried.append(done))
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
        (rows,) = question.half(question.loaded_model(), 0, "other lag")
    assert set(by_gradient([rows], every)[:2]) == set(BUILT)


@pytest.mark.parametrize("method", METHODS)
def test_what_replacing_each_head_adds_is_all_that_replacing_all_costs(saved, method):
    """A gradient over the whole way loses nothing, whatever heads read of one another."""
    question = asked(str(saved("llama")), method, n_sequences=6, block_len=8)
    every = heads_of(question.card)
    with torch.no_grad():
        (rows,) = question.half(question.loaded_model(), 0, "other lag")
        whole = rows.losses(every) - rows.losses(())
    np.testing.assert_allclose(integrated(rows, every, 60).sum(1), whole, rtol=5e-3, atol=1e-6)


def test_heads_moved_nowhere_or_all_the_way_are_none_or_all_replaced(saved):
    question = asked(str(saved("llama")), Method.RESAMPLE, n_sequences=6, block_len=8)
    every = heads_of(question.card)
    with torch.no_grad():
        (rows,) = question.half(question.loaded_model(), 0, "other lag")
        for share, heads in ((0.0, ()), (1.0, every)):
            moved = moved_loss(rows, grid(rows, every) + share).numpy()
            np.testing.assert_allclose(moved, rows.losses(heads), rtol=1e-5)
            whole = rows.token_losses(every, share).mean(-1)
            np.testing.assert_allclose(whole, rows.losses(heads), rtol=1e-5)
        half = grid(rows, every)
        half[:, every[0].layer, every[0].head] = 0.5
        np.testing.assert_allclose(
            moved_loss(rows, half).numpy(), rows.token_losses(every[:1], 0.5).mean(-1), rtol=1e-5
        )


def test_stand_ins_are_read_where_the_first_copy_is_elsewhere(saved):
    """Where every block were shown twice, a head that says where it was would replace itself."""
    model = str(saved("llama"))
    resample, mean = (asked(model, m, n_sequences=6, block_len=8) for m in METHODS)
    loaded, donors = resample.loaded_model(), derangement(3, resample.seed)
    for one in (resample, mean):
        first, second = np.split(one.stand_in_rows("shuffled").ids[:, -16:], 2, axis=1)
        assert (np.sort(first) == np.sort(second)).all()
        assert (first != second).any(axis=1).all()
        for row in one.stand_in_rows("other lag").ids[:, -16:]:
            lags = [lag for lag in range(1, 9) if (row[lag:] == row[:-lag]).all()]
            assert 4 <= min(lags) < 8
            assert 8 not in lags or min(lags) == 4
    drawn, apart = resample.stand_in_rows("other lag"), mean.stand_in_rows("other lag")
    assert set(drawn.ids.flat) != set(apart.ids.flat), "means are taken over other blocks"
    with torch.no_grad():
        for parity, what in ((0, "other lag"), (1, "other lag"), (1, "shuffled")):
            (rows,) = resample.half(loaded, parity, what)
            read_on = resample.stand_in_rows(what).ids[parity::2][donors].astype(np.int64)
            torch.testing.assert_close(
                rows.stand_ins.donors, read_z(loaded, torch.from_numpy(read_on))
            )
        (rows,) = mean.half(loaded, 0, "other lag")
    taken = means(loaded, apart.ids, Pooling.PER_POSITION)
    torch.testing.assert_close(rows.stand_ins.means.z, taken.z)


def test_lags_differ_from_block_to_block():
    rng = Random(0)
    rows = [at_another_lag(rng, range(10)) for _ in range(40)]
    assert {row.index(0, 1) for row in rows} == {5, 6, 7, 8, 9}
    assert at_another_lag(rng, range(2)) == [0, 0, 0, 0]


def test_some_sequences_lose_what_they_lose_among_all(saved):
    question = asked(str(saved("llama")), Method.RESAMPLE, n_sequences=12, block_len=8)
    some = heads_of(question.card)[1:3]
    with torch.no_grad():
        (rows,) = question.half(question.loaded_model(), 0, "other lag")
        picked = rows.some([1, 3]).losses(some)
        np.testing.assert_allclose(picked, rows.losses(some)[[1, 3]], rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_gates_find_the_built_heads_and_one_of_them_is_enough_to_break_copying(answers, method):
    found = rises(answers[method.value])
    floor = found.of[ALL][0].mean()
    for heads, rise in pairs(found, Goal.ENOUGH):
        assert set(map(str, BUILT)) <= set(heads)
        assert abs(rise.mean() / floor) < 0.05
    for heads, rise in pairs(found, Goal.NEEDED):
        assert set(heads) <= set(map(str, BUILT)), "a decoy writes nothing that could be needed"
        assert rise.mean() / floor > 0.5


def test_quarters_make_up_the_second_copy(answers):
    effects = answers["mean"]["ablation_effects"].sort("condition", "sequence")
    parts = [effects.filter(scope=scope)["loss_change"].to_numpy() for scope in SCOPES]
    sizes = [len(part) for part in np.array_split(np.arange(14), 4)]
    places = np.average(parts[1:5], axis=0, weights=sizes)
    np.testing.assert_allclose(places, parts[0], atol=1e-12)


def test_parts_of_a_copy_are_those_of_places_and_of_tokens():
    changes, quarters = np.array([[[1.0, 2, 3], [4, 5, 6]]]), np.array([[0, 3, 3], [1, 1, 1]])
    found = dict(zip(SCOPES, by_part(changes, quarters)[0], strict=True))
    nowhere = [np.nan, np.nan]
    expected = [[2, 5], [1, 4], [2, 5], [3, 6], nowhere, [1, np.nan], [np.nan, 5], nowhere]
    np.testing.assert_array_equal(list(found.values()), [*expected, [2.5, np.nan]])


def test_tokens_are_told_by_how_frequent_they_are(built):
    question = asked(built, Method.MEAN)
    pool = question.pool
    where = np.isin(question.repeated.ids[:, -14:], pool.ranked[: pool.size // 4])
    answer = question.run(silent)["ablation_effects"]
    told = answer.filter(scope=BY_TOKEN[0])["sequence"].unique().to_list()
    assert told == [i for i in range(1, 12, 2) if where[i].any()]


def test_a_short_copy_has_fewer_quarters(built):
    answer = Stored(asked(built, Method.MEAN, block_len=3).run(silent))
    rest = views.rest_rows({"mean": answer}, BY_PLACE, 0)
    assert rest["at"].to_list() == [1, 2]
    assert views.at(rest, 2.0).endswith(" (mean)")


def test_views_say_what_was_measured(answers):
    areas = views.area_rows(answers, 0)
    assert areas["chosen"].to_list()[0] == "cut one by one"
    curve = views.curve_rows(answers, 0).filter(method="resample", chosen="cut one by one")
    kept = dict(curve.select("kept", "value").iter_rows()) | {0: 0.0, 8: 1.0}
    expected = np.trapezoid([kept[n] for n in range(9)]) / 8
    assert float(areas["resample"][0].split()[0]) == pytest.approx(expected, abs=6e-4)
    doses = views.dose_rows(answers, 0).filter(series="mean")
    assert doses["at"].to_list() == [0, 0.25, 0.5, 0.75, 1]
    assert doses["value"].to_list()[0] == 0
    assert doses["value"].to_list()[1] < 0.9 * doses["value"].to_list()[-1]
    assert doses["value"].to_list()[-1] == pytest.approx(1, abs=0.02)
    for parts in (BY_PLACE, BY_TOKEN):
        rest = views.rest_rows(answers, parts, 0)
        assert (rest["value"].abs() < 0.05).all()
    strict = views.shuffled_said(answers, 0)
    assert re.fullmatch(r"(0\.9|1\.0)\d \(.* resample\) and (0\.9|1\.0)\d \(.* mean\)", strict)
    gated = views.gate_rows(answers, 0)
    assert gated.height == 2 * 2 * 1, "twelve sequences are enough for one start"
    assert set(gated.filter(pl.col("chosen for") == "enough alone")["of the circuit"]) == {"2 of 2"}
    said = views.gates_said(answers, Goal.ENOUGH)
    assert said.count("2 of the circuit's 2") == 2


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


def test_a_circuit_of_all_heads_is_no_small_one(tmp_path):
    """Of two heads at most one is a circuit, and one alone copies nothing."""
    model = circuit_model(tmp_path / "model", heads=1)
    given = {"n_sequences": 12, "block_len": 15, "n_draws": 20, "seed": 1}
    names = tuple(map(str, BUILT))
    sets = {
        m.value: Stored(
            CircuitSets(model=model, method=m.value, by_attention=names, **given).run(silent)
        )
        for m in METHODS
    }
    found = CircuitSetClaims(card=read_card(model), seed=0, sets=sets).run(silent)["claims"]
    told = {row["claim"]: row for row in found.iter_rows(named=True)}
    assert told["circuit_enough"]["verdict"] == "refuted"
    assert told["circuit_enough"]["upper"] < 0.9
    assert told["circuit_minimal"]["verdict"] == "not testable"
    curve = views.curve_rows(sets, 0)
    assert set(curve.filter(chosen="cut one by one")["kept"]) == {1}
    assert kept_curves(curve, "t", "d").to_dict()
    assert "keep" in views.kept_said(sets, 0)
