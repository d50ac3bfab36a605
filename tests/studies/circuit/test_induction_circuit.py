"""The induction circuit: found in a model where it was built, and not in one of random weights."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.interventions import Head, read_z, taps
from analysis.interventions.stand_ins import StandIns
from analysis.models.files.card import read_card
from analysis.models.load import hidden_states, load_model, unembed
from analysis.plots.bars import ablation_strip, composition_strip, place_bars
from analysis.plots.grids import path_grid
from analysis.scores import induction_score
from analysis.studies.atlas.induction_scores import InductionScores
from analysis.studies.atlas.text_scores import TextScores
from analysis.studies.circuit import views
from analysis.studies.circuit.claims import CircuitClaims
from analysis.studies.circuit.composition import Composition
from analysis.studies.circuit.controls import control_sets, upstream_of_copying
from analysis.studies.circuit.heads import CircuitHeads, circuit_heads
from analysis.studies.circuit.necessity import CircuitNecessity
from analysis.studies.circuit.path_patching import PathPatching
from analysis.studies.circuit.second_copy import SecondCopy

from .circuit_model import circuit_model

SIZES = {"n_sequences": 12, "block_len": 15, "seed": 1}


def silent(*_args) -> None:
    pass


class Stored(dict):
    """Frames by table name, as the store answers them."""

    runs = ("0123456789abcdef",)


def answers(model: str) -> dict[str, Stored]:
    """Everything that the circuit's claims are judged by."""
    text = TextScores(
        model=model,
        text="reference",
        bos=True,
        n_sequences=8,
        n_tokens=30,
        n_offsets=8,
        n_pictured=8,
        pictured=(),
        seed=0,
    )
    scores = InductionScores(model=model, n_sequences=12, block_len=15, max_shift=3, seed=0)
    found = {"text": Stored(text.run(silent)), "induction": Stored(scores.run(silent))}
    heads = circuit_heads(found["text"], found["induction"])
    names = {"previous": str(heads.previous), "copiers": tuple(map(str, heads.copiers))}
    asked = {
        "composition": Composition(model=model, seed=0),
        "necessity": CircuitNecessity(model=model, **names, **SIZES, n_draws=30),
        "paths": PathPatching(model=model, **names, **SIZES),
        "second_copy": SecondCopy(model=model, **SIZES),
    }
    return {**found, **{name: Stored(one.run(silent)) for name, one in asked.items()}}


def claims(model: str, found: dict[str, Stored]) -> pl.DataFrame:
    return CircuitClaims(card=read_card(model), seed=0, **found).run(silent)["claims"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> str:
    return circuit_model(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def known(built):
    return answers(built)


@pytest.fixture(scope="module")
def random(saved):
    return answers(str(saved("llama_simple_mlp")))


def test_the_built_heads_are_chosen(known):
    assert circuit_heads(known["text"], known["induction"]) == CircuitHeads(
        Head(0, 0), (Head(1, 0),)
    )


FEW = ("k_composition_outlier", "copiers_needed")
"""Claims with a null of other pairs or sets, of which a model of eight heads has too few."""


def test_every_claim_holds_where_the_circuit_was_built(built, known):
    found = claims(built, known)
    wanted = {
        **dict.fromkeys(
            ["previous_needed", "key_path", "key_path_through", "key_path_loss"], "supported"
        ),
        "key_path_specific": "supported",
        **dict.fromkeys(FEW, "not testable"),
        "copier_writes_next_token": "supported",
    }
    assert dict(zip(found["claim"], found["verdict"], strict=True)) == wanted
    for name, n in zip(FEW, (15, 6), strict=True):
        row = found.filter(claim=name).row(0, named=True)
        assert row["n_null"] == n
        assert f"{n} sets are too few for a p" in row["statistic"]
    assert {"zero", "mean", "resample", "uniform"} <= set(
        re.findall(r"\w+", found.filter(claim="previous_needed")["statistic"].item())
    )
    for row in found.iter_rows(named=True):
        assert row["statement"].count("L0H0") + row["statement"].count("L1H0") >= 1
        assert row["lower"] <= row["estimate"] <= row["upper"]


def test_no_claim_holds_for_random_weights(random, saved):
    found = claims(str(saved("llama_simple_mlp")), random)
    assert found.height == 8
    assert "supported" not in set(found["verdict"])


# negative control: the largest other head on the even sequences alone is not the control's merit
def test_the_largest_other_head_is_chosen_on_even_sequences(built, known):
    """L0H1 does on odd sequences what L0H0 does, L0H2 a little more than others on even ones."""
    changes = known["paths"]["head_effects"]
    path = pl.col("condition").str.extract(r"path resample (L0H\d) -> L1H0.k$")
    odd = pl.col("sequence") % 2 == 1
    value = (
        pl.when((path == "L0H1") & odd)
        .then(-1.0)
        .when((path == "L0H2") & ~odd)
        .then(-0.01)
        .when(path.is_in(["L0H1", "L0H2", "L0H3"]))
        .then(0.0)
        .otherwise("value")
    )
    paths = Stored(known["paths"], head_effects=changes.with_columns(value=value))
    row = claims(built, {**known, "paths": paths}).filter(claim="key_path_specific")
    assert "L0H2" in row["statistic"].item()
    assert row["control"].item() == 0


def test_shuffled_repeats_leave_the_score_at_chance(known):
    rows = known["necessity"]["head_scores"].filter(pl.col("sequence").is_null())
    score = {row["data"]: row["value"] for row in rows.iter_rows(named=True)}
    assert score["repeated"] > 0.6
    assert score["shuffled"] < 0.15
    falls = views.score_falls(known["necessity"], "L1H0")
    for row in falls.filter(role="the same, second copy shuffled").iter_rows(named=True):
        assert abs(row["value"]) < 0.1
    for row in falls.filter(role="other heads of its layer").iter_rows(named=True):
        assert abs(row["value"]) < 0.02
    for row in falls.filter(role="previous-token head").iter_rows(named=True):
        assert row["value"] < -0.5


def test_the_sequences_are_apart_from_those_that_chose_the_heads(built):
    asked = CircuitNecessity(model=built, previous="L0H0", copiers=("L1H0",), **SIZES, n_draws=3)
    repeated, shuffled, reference = (tokens.ids for tokens in asked.data())
    chosen = InductionScores(model=built, n_sequences=12, block_len=15, max_shift=3, seed=1)
    blocks = {tuple(row) for row in chosen.data()[0].ids}
    assert not blocks.intersection(map(tuple, repeated))
    assert not {*map(tuple, reference)}.intersection(map(tuple, repeated))
    assert (repeated[:, 1:16] == repeated[:, 16:]).all()
    assert (shuffled[:, :16] == repeated[:, :16]).all()
    assert (np.sort(shuffled[:, 16:]) == np.sort(repeated[:, 16:])).all()
    assert (shuffled[:, 16:] != repeated[:, 16:]).any(1).all()
    other = SecondCopy(model=built, **SIZES)
    assert [t.sha256 for t in other.data()] == [t.sha256 for t in asked.data()[:2]]


@pytest.mark.parametrize("method", ["zero", "resample", "uniform"])
def test_passes_from_a_layer_on_are_whole_passes(saved, method):
    """Scores and losses of a condition, against a pass through the whole model."""
    asked = CircuitNecessity(
        model=str(saved("llama")),
        previous="L0H1",
        copiers=("L1H2", "L1H3"),
        n_sequences=4,
        block_len=7,
        seed=1,
        n_draws=2,
    )
    (condition,) = [c for c in asked.conditions() if c.name == f"{method} L0H1"]
    model = load_model(asked.model)
    ids = torch.from_numpy(asked.repeated.ids).long()
    donors = read_z(model, ids.roll(1, 0))
    edits = taps(condition.interventions, StandIns(means=None, donors=donors), 4).edits
    patterns: list[torch.Tensor] = []
    with torch.inference_mode():
        start = asked.start(model, asked.repeated, slice(0, 4))
        found = start.reading(0, Taps(edits=edits), asked.heads.copiers)
        late = start.reading(1, Taps(), asked.heads.copiers)
        base = start.reading(0, Taps(), asked.heads.copiers)
        whole = Taps(edits=edits, watch=lambda _where, pattern: patterns.append(pattern))
        logits = unembed(model, hidden_states(model, ids, whole))
    expected = induction_score(patterns[1], 1)[:, [2, 3]]
    torch.testing.assert_close(found.scores, expected, atol=1e-5, rtol=1e-4)
    loss = -logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(found.losses, loss, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(late.losses, base.losses, atol=1e-5, rtol=1e-5)
    assert (found.losses - base.losses).abs().max() > 1e-3


def test_sets_are_enumerated_where_there_are_few(known):
    every = known["necessity"]["ablations"]
    anywhere = set(every.filter(family="random_set")["heads"])
    assert anywhere == {f"L{layer}H{head}" for layer in (0, 1) for head in (1, 2, 3)}
    assert set(every.filter(family="below")["heads"]) == {"L0H1", "L0H2", "L0H3"}
    sets = every.filter(family="layer_matched_set")
    assert set(sets["heads"]) == {"L1H1", "L1H2", "L1H3"}
    assert sets["draw"].to_list() == [0, 1, 2]


def test_sets_that_hold_a_head_that_copying_needs_anyway_judge_nothing(known):
    """Were L0H2, below the induction head, to cost as much, no set with it would be a control."""
    heads = CircuitHeads(Head(0, 0), (Head(1, 0),))
    assert upstream_of_copying(known["necessity"], heads) == ()
    rise = pl.when(pl.col("condition") == "resample L0H2 alone").then(9.0)
    frame = known["necessity"]["ablation_effects"].with_columns(
        loss_change=rise.otherwise("loss_change")
    )
    planted = Stored(known["necessity"], ablation_effects=frame)
    assert upstream_of_copying(planted, heads) == (Head(0, 2),)
    for answer, n_sets in ((known["necessity"], 6), (planted, 5)):
        held = {head for _, names in control_sets(answer, heads) for head in names}
        assert len(held) == n_sets
        assert ("L0H2" in held) == (n_sets == 6)
        assert not held & {"L0H0", "L1H0"}, "circuit heads are no control"
    rows = views.null_sets(planted, heads)
    assert rows["upstream heads in the set"].to_list() == ["none", "L0H2", "any"]


def test_a_circuit_takes_two_layers(known):
    one = Stored(known["induction"])
    one["head_scores"] = one["head_scores"].filter(layer=0)
    with pytest.raises(UserError, match="expected a model of at least 2 layers that attend, got 1"):
        circuit_heads(known["text"], one)


def test_heads_are_chosen_on_even_sequences(known):
    lucky = (pl.col("layer") == 1) & (pl.col("head") == 3) & (pl.col("sequence") % 2 == 1)
    frame = known["induction"]["head_scores"]
    value = pl.when(lucky).then(1.0).otherwise(pl.col("value"))
    odd = Stored(known["induction"], head_scores=frame.with_columns(value=value))
    assert circuit_heads(known["text"], odd).copiers == (Head(1, 0),)


def test_charts_stand_with_and_without_paths(known):
    previous, copier = Head(0, 0), Head(1, 0)
    absent = Stored(absences=pl.DataFrame())
    for paths in (known["paths"], absent):
        path_grid(views.path_falls(paths, str(copier), "zero"), "t", "d").to_dict()
        rows = views.path_losses(paths, str(copier))
        ablation_strip(rows, ("x", "y"), "t", "d").to_dict()
    falls = views.path_falls(known["paths"], str(copier), "zero")
    assert set(falls["into"]) == {"keys", "queries", "all three"}
    assert falls.filter(into="keys", role="previous-token head").height == 1
    assert falls.filter(into="keys").height == 4
    pairs = known["composition"]["head_pairs"]
    rows = views.compositions(pairs, previous, [copier])
    assert rows["circuit"].sum() == rows["strongest"].sum() == 3
    composition_strip(rows, "t", "d").to_dict()
    where = views.places(known["second_copy"]["head_scores"], ["L1H0"])
    assert where.filter(data="repeated")["value"].sum() == pytest.approx(1)
    assert views.largest_elsewhere(where)["place"] != "the target"
    place_bars(where, "t", "d").to_dict()
    strip = views.loss_rises(known["necessity"])
    assert set(strip["role"]) == {"one induction head", "all of them", "as many other heads"}
    ablation_strip(strip, ("x", "y"), "t", "d").to_dict()


def test_a_pair_whose_composition_is_absent_is_undecided(built, known):
    pairs = known["composition"]["head_pairs"]
    rest = pairs.filter((pl.col("from_head") != 0) | (pl.col("to_head") != 0))
    found = claims(built, {**known, "composition": Stored(head_pairs=rest)})
    row = found.filter(claim="k_composition_outlier").row(0, named=True)
    assert (row["verdict"], row["estimate"]) == ("not testable", None)
    others = pl.col("claim") != "k_composition_outlier"
    assert found.filter(others).equals(claims(built, known).filter(others))


def test_a_line_says_estimate_interval_control_and_verdict(built, known):
    found = claims(built, known)
    row = found.filter(claim="key_path").row(0, named=True)
    line = str(views.said(found, "key_path"))
    for part in (f"{row['estimate']:.2f}", f"{row['lower']:.2f}", row["verdict"]):
        assert part in line
    assert views.said(found.clear(), "key_path_zero").verdict == views.UNTESTED


def test_the_question_is_the_runs_that_are_judged(built, known):
    asked = CircuitClaims(card=read_card(built), seed=0, **known)
    other = Stored(known["paths"])
    other.runs = ("fedcba9876543210",)
    assert asked.question() == replace(asked).question()
    assert asked.question() != replace(asked, paths=other).question()
