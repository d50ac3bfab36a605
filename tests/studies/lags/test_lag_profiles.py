"""Lag profiles: a planted circuit, stacked conditions against plain passes, tables, requests."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from analysis.errors import UserError
from analysis.interventions import Method, Pooling, StandIns, derangement, means, read_z, taps
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.questions.asked import Asked, Profile
from analysis.studies.lags import study
from analysis.studies.lags import views as lag_views
from analysis.studies.lags.claims import Case
from analysis.studies.lags.question import LagProfiles, Layers
from analysis.studies.lags.recall import recall
from analysis.studies.lags.study import LagStudy, induction_ranking, set_sizes
from analysis.studies.published import lag_csv
from tests.models.listed_model import listed_model
from tests.questions.test_experiments import silent
from tests.studies.atlas.test_claims import Stored
from tests.studies.circuit.circuit_model import COPIER, PREVIOUS

METHODS = ("zero", "uniform", "mean", "resample")
NAMES = {head: f"L{head[0]}H{head[1]}" for head in (PREVIOUS, COPIER)}


@pytest.fixture(scope="module")
def listed(tmp_path_factory) -> str:
    return listed_model(tmp_path_factory.mktemp("listed") / "listed")


def asked(model, **changes) -> LagProfiles:
    question = LagProfiles(
        model=str(model),
        design="probe",
        shown="items",
        n_words=8,
        n_permutations=16,
        method="zero",
        layers="all",
        family="base",
        sets=((),),
        first_draw=None,
        seed=1,
    )
    return replace(question, **changes)


def profile(frames: dict[str, pl.DataFrame], column: str = "p") -> dict[int, float]:
    return dict(frames["lag_profiles"].select("lag", column).iter_rows())


@pytest.mark.parametrize("design", ["probe", "serial"])
def test_the_planted_circuit_recalls_the_successor(listed, design):
    found = profile(asked(listed, design=design).run(silent))
    assert list(found) == list(range(-6, 8))
    others = {lag: p for lag, p in found.items() if lag not in (0, 1)}
    assert found[1] > 0.2
    assert max(others.values()) < found[1] / 5
    odds = profile(asked(listed, design=design).run(silent), "log_odds")
    assert max(odds, key=lambda lag: odds[lag] if lag else -np.inf) == 1


@pytest.mark.parametrize("design", ["probe", "serial"])
def test_the_profile_is_flat_without_the_copier_and_after_other_words(listed, design):
    """Uniform, the head raises all items alike; with nothing to follow, none."""
    whole = profile(asked(listed, design=design).run(silent))
    uniform = asked(listed, design=design, method="uniform", family="top", sets=((NAMES[COPIER],),))
    other = asked(listed, design=design, shown="other words")
    for question in (uniform, other):
        flat = profile(question.run(silent))
        apart = [p for lag, p in flat.items() if lag]
        assert max(apart) < 1.6 * min(apart)
        assert flat[1] < whole[1] / 4


def test_recall_takes_both_heads_of_the_circuit_and_no_other(listed):
    answer = asked(
        listed, family="single", sets=tuple((f"L{i}H{j}",) for i in range(2) for j in range(4))
    ).run(silent)
    odds = answer["lag_measures"].filter(pl.col("sequence").is_null(), measure="log_odds")
    fall = dict(odds.select("condition", "value").iter_rows())
    base = asked(listed).run(silent)["lag_measures"]
    start = base.filter(pl.col("sequence").is_null(), measure="log_odds")["value"].item()
    for condition, value in fall.items():
        needed = condition.split()[-1] in NAMES.values()
        assert (start - value > 1) == needed, condition


@pytest.mark.parametrize("method", [method.value for method in Method])
@pytest.mark.parametrize("design", ["probe", "serial"])
def test_stacked_conditions_are_single_plain_passes(worded, design, method):
    sets = ((), ("L0H1",), ("L1H2",), ("L0H0", "L1H3", "L1H0"))
    question = asked(
        worded, design=design, method=method, family="top", sets=sets, n_permutations=5
    )
    model, lists = load_model(str(worded)), question.lists
    conditions = question.conditions()
    found = recall(model, lists, conditions, question.source(model), silent)
    ids = torch.from_numpy(lists.tokens.ids).long()
    donors = read_z(model, ids[torch.from_numpy(derangement(5, question.seed))])
    average = means(model, question.reference.tokens.ids, Pooling.PER_POSITION)
    stand_ins = StandIns(means=average, donors=donors)
    for i, condition in enumerate(conditions):
        edits = taps(condition.interventions, stand_ins, len(ids))
        with torch.inference_mode():
            logits = model.net(ids, use_cache=False, taps=edits).logits.double()
        p = logits.softmax(-1).numpy()
        expected = np.full(found.p[i].shape, np.nan)
        for row in range(5):
            cells: dict[int, list[float]] = {}
            for position, slot in zip(lists.tokens.targets, lists.slots[row], strict=True):
                for at, item in enumerate(lists.items[row]):
                    cells.setdefault(at - int(slot), []).append(p[row, position, item])
            for lag, values in cells.items():
                expected[row, lag + 7] = np.mean(values)
        np.testing.assert_allclose(found.p[i], expected, atol=1e-5)


def test_rows_are_bootstrap_means_over_permutations(worded):
    question = asked(worded, family="top", sets=(("L0H1",), ("L1H0", "L1H1")))
    frames = question.run(silent)
    each = frames["lag_measures"].filter(pl.col("sequence").is_not_null(), measure="log_odds")
    values = each.filter(condition="zero L0H1")["value"].to_numpy()
    assert len(values) == 16
    before = frames["lag_measures"].filter(measure="predecessor", condition="zero L0H1")
    assert before["sequence"].count() == 13, "probes in the first slot have no predecessor"
    row = frames["lag_measures"].filter(
        pl.col("sequence").is_null(), measure="log_odds", condition="zero L0H1"
    )
    assert row["value"].item() == pytest.approx(values.mean())
    assert row["n"].item() == 16
    assert row["lower"].item() <= row["value"].item() <= row["upper"].item()
    successor = frames["lag_profiles"].filter(condition="zero L0H1", lag=1).row(0, named=True)
    same = frames["lag_measures"].filter(
        pl.col("sequence").is_null(), measure="successor", condition="zero L0H1"
    )
    for mine, other in (("p", "value"), ("lower", "lower"), ("upper", "upper"), ("n", "n")):
        assert successor[mine] == pytest.approx(same[other].item())


def test_random_sets_have_one_profile_with_the_band_of_their_draws(worded):
    sets = (*((f"L0H{i}",) for i in range(4)), ("L0H0", "L1H1"), ("L0H1", "L1H2"))
    question = asked(worded, family="random", sets=sets, first_draw=0)
    units = question.units()
    assert [len(unit.sets) for unit in units] == [4, 2]
    frames = units[0].run(silent)
    rows = frames["lag_profiles"]
    assert rows.filter(lag=1)["n"].item() == 4
    singles = asked(worded, family="single", sets=sets[:4]).run(silent)["lag_profiles"]
    one = singles.filter(lag=1)["p"].to_numpy()
    assert rows.filter(lag=1)["p"].item() == pytest.approx(one.mean())
    assert rows.filter(lag=1)["upper"].item() == pytest.approx(np.quantile(one, 0.975))
    each = frames["lag_measures"].filter(pl.col("sequence").is_not_null())
    assert set(each["condition"]) == set(rows["condition"])
    assert each.filter(measure="log_odds").height == question.n_permutations
    of_draws = asked(worded, family="single", sets=sets[:4]).run(silent)["lag_measures"]
    own = of_draws.filter(pl.col("sequence") == 2, measure="mass")["value"]
    assert each.filter(sequence=2, measure="mass")["value"].item() == pytest.approx(own.mean())
    assert frames["ablations"]["draw"].to_list() == [0, 1, 2, 3]


def test_conditions_go_over_the_same_permutations(worded):
    plain = asked(worded)
    for changes in ({"method": "uniform"}, {"family": "top", "sets": (("L0H1",),)}):
        other = asked(worded, **changes)
        assert other.data()[0].sha256 == plain.data()[0].sha256
    mean = asked(worded, method="mean", sets=(("L0H1",),)).data()
    assert len(mean) == 2
    assert not (mean[0].ids == mean[1].ids).all(1).any(), "a mean is over other permutations"


def test_halves_split_the_layers_exactly(saved, worded):
    for n_layers in (2, 4, 12):
        card = replace(read_card(str(worded)), n_layers=n_layers)
        lower, upper = (list(half.of(card)) for half in (Layers.LOWER_HALF, Layers.UPPER_HALF))
        assert [*lower, *upper] == list(Layers.ALL.of(card))
        assert len(lower) == len(upper) == n_layers / 2
    odd = replace(read_card(str(worded)), n_layers=3)
    assert list(Layers.ALL.of(odd)) == [0, 1, 2]
    with pytest.raises(UserError, match=r"even number of layers.*ask for all layers"):
        Layers.UPPER_HALF.of(odd)
    with pytest.raises(UserError, match=r"heads of layers 1 to 1 \(upper half\), got L0H1"):
        asked(worded, layers="upper half", sets=(("L0H1", "L1H0"),)).conditions()


def test_set_sizes_are_capped_at_a_third():
    assert set_sizes(32) == [1, 5, 10]
    assert set_sizes(16) == [1, 5]
    assert set_sizes(8) == set_sizes(3) == [1]
    assert set_sizes(150) == [1, 5, 10, 20, 50]


@pytest.fixture(scope="module")
def told(worded):
    """Every answer of a request for short lists, and what was asked."""
    small = study.LagSizes(n_words=6, n_permutations=4, n_longer=2, everywhere=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study.SIZES, Profile.QUICK, small)
        patch.setattr(study, "LENGTHS", (5,))
        questions = []

        def ask(question):
            questions.append(question)
            parts = [unit.run(silent) for unit in question.units()]
            return Stored({name: pl.concat([p[name] for p in parts]) for name in parts[0]})

        request = LagStudy(Asked.of(str(worded), {}))
        evidence = request.evidence(ask)
        claims = request.claims(evidence).run(silent)["claims"]
        yield evidence, claims, questions


def test_a_request_asks_every_condition_of_the_same_lists(told):
    evidence, claims, questions = told
    assert set(evidence.base) == set(evidence.control) == {"probe", "serial"}
    assert len(evidence.top) == 2 * 4 * 3
    assert set(evidence.random) == {
        Case("probe", "zero", "all"),
        *(Case("probe", method, "all") for method in METHODS[1:]),
        *(Case("probe", "zero", f"{half} half") for half in ("lower", "upper")),
        Case("serial", "zero", "all"),
    }
    assert sorted(evidence.lengths) == [5, 62]
    lists = [q for q in questions if isinstance(q, LagProfiles) and q.n_words == 6]
    assert len({(q.n_permutations, q.seed) for q in lists}) == 1
    assert claims.height == 2 * (1 + 1 + 1 + 1)
    assert set(claims.filter(pl.col("claim").str.starts_with("lag_top"))["verdict"]) <= {
        "not testable",
        "refuted",
    }
    assert claims["claim"].is_unique().all()


def test_random_sets_have_none_of_the_heads_that_they_stand_beside(told):
    evidence, _, _ = told
    for case, answer in evidence.random.items():
        top = set(evidence.top[case]["ablations"]["heads"])
        drawn = answer["ablations"]["heads"].to_list()
        assert top.isdisjoint(drawn)
        above = set(map(str, evidence.upstream(case)))
        assert above.isdisjoint(drawn)
        left = (8 if case.layers == "all" else 4) - 1 - len(above)
        assert len(drawn) == len(set(drawn)) == left


def test_views_show_every_condition(told):
    evidence, _, _ = told
    case = Case("probe", "zero", "all")
    shown = lag_views.profiles(evidence, case, "p", 3)
    assert shown["series"].unique(maintain_order=True).to_list() == [
        lag_views.AS_IT_IS,
        "1 random head",
        "1 induction head",
    ]
    assert shown["lag"].abs().max() == 3
    levels = lag_views.levels(evidence, case)
    assert levels.select("family", "size").rows() == [("top", 0), ("top", 1), ("random", 1)]
    assert lag_views.measures(evidence, case)["size"].to_list() == [0, 1]
    assert lag_views.falls(evidence, "serial").height == 12
    assert lag_views.by_length(evidence).height == 6


def test_the_csv_has_two_columns_and_every_lag(told):
    evidence, _, _ = told
    rows = evidence.base["probe"]["lag_profiles"]
    head, *lines = lag_csv(rows).splitlines()
    assert head == "Lag,Mean Probability"
    parsed = [line.split(",") for line in lines]
    assert [int(lag) for lag, _ in parsed] == rows["lag"].to_list()
    np.testing.assert_allclose([float(p) for _, p in parsed], rows["p"].to_numpy())


def test_the_longest_list_is_bounded(worded, monkeypatch):
    lags = LagStudy(Asked(model=str(worded), profile=Profile.TINY))
    for fitting, longest in [(700, 700), (8_000, 1_000)]:
        monkeypatch.setattr(LagStudy, "_longest", lambda _study, _design, n=fitting: n)
        assert list(lags.lengths(("L0H0", "L1H0", "L1H1"))) == [*study.LENGTHS, longest]


def test_the_ranking_is_by_even_sequences():
    sequences = np.tile(np.arange(4), 2)
    values = np.where(sequences % 2 == 0, [0.9] * 4 + [0.1] * 4, [0.0] * 4 + [1.0] * 4)
    scores = pl.DataFrame(
        {
            "score": "induction",
            "data": "repeated",
            "layer": [0] * 4 + [1] * 4,
            "head": 0,
            "sequence": sequences,
            "value": values,
        }
    )
    assert induction_ranking(Stored(head_scores=scores)) == ("L0H0", "L1H0")
