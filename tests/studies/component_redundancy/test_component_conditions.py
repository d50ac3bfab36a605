"""Components ablated beside the target: where heads look, what is predicted, and the claims."""

from collections import Counter
from dataclasses import replace
from math import log

import numpy as np
import polars as pl
import pytest
import torch

from analysis.components import ablation
from analysis.components.ablation import Mode
from analysis.components.adversary import Ascent
from analysis.components.decomposed import logits
from analysis.models.files.card import read_card
from analysis.studies.component_redundancy import conditions as component_conditions
from analysis.studies.component_redundancy import views
from analysis.studies.component_redundancy.claims import (
    ComponentEvidence,
    ComponentRedundancyClaims,
    specificity,
)
from analysis.studies.component_redundancy.conditions import (
    ABLATED,
    NOWHERE,
    PUBLISHED,
    RECONSTRUCTION,
)
from analysis.studies.component_redundancy.offsets import ComponentOffsets
from analysis.studies.component_redundancy.predictions import ComponentPredictions, differences
from analysis.studies.predictions.question import PredictionTables
from analysis.studies.redundancy.query_offsets import CHANGE, PROFILE, TARGET, QueryOffsets
from tests.components.ablated_components import attention, saved_beside

LAYER, HEAD = 0, 2
PAIR = "h.0.attn.q_proj:3,h.0.attn.k_proj:5"
WITHIN = f"{ABLATED} in L0H2"
MODES = [Mode.DETERMINISTIC, Mode.STOCHASTIC, Mode.ADVERSARIAL]
EXPECTED = {
    Mode.DETERMINISTIC: {TARGET, RECONSTRUCTION, ABLATED, WITHIN},
    Mode.STOCHASTIC: {TARGET, RECONSTRUCTION, "stochastic masks", ABLATED, WITHIN, PUBLISHED},
    Mode.ADVERSARIAL: {TARGET, RECONSTRUCTION, "adversarial masks", ABLATED, WITHIN},
}


def silent(*_args) -> None:
    pass


@pytest.fixture(autouse=True)
def quick_adversary(monkeypatch):
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=3, step=0.1))


@pytest.fixture(scope="module")
def about(worded, tmp_path_factory) -> dict:
    place = saved_beside(worded, tmp_path_factory.mktemp("decomposed") / "worded")
    return {
        "model": str(place),
        "decomposition": str(place / "decomposition"),
        "text": "reference",
        "bos": True,
        "seed": 3,
        "n_tokens": 12,
        "head": f"L{LAYER}H{HEAD}",
    }


def looked(about, mode: Mode) -> ComponentOffsets:
    return ComponentOffsets(
        **about,
        n_sequences=6,
        n_measured=6,
        components=PAIR,
        mode=mode.value,
        n_draws=2 if mode is Mode.STOCHASTIC else 1,
        max_offset=11,
    )


@pytest.mark.parametrize("mode", MODES)
def test_attention_is_that_of_each_conditions_own_masks(about, mode):
    """Averaged over draws, and by offset; a pattern of the target instead would be found out."""
    asked = looked(about, mode)
    rows = asked.run(silent)["head_profiles"].filter(profile=PROFILE)
    assert set(rows["data"]) == EXPECTED[mode]
    made, _ = asked.made
    sums = {name: np.zeros((2, 4, 12)) for name in EXPECTED[mode]}
    counts = np.zeros(12)
    worst = asked.worst((NOWHERE, None, asked.head), silent)
    for t, at in asked.groups():
        ids = asked.opened(made.model, t, at)
        found = asked.importances(torch.from_numpy(asked.tokens.ids[at]).long(), t + 1)
        arms = worst.get(t, ())
        conditions = asked.side_by_side(ids, found, asked.head, asked.seed_of(t), arms)
        counts[: t + 1] += len(at)
        for name, draws in conditions.items():
            patterns = [attention(made, ids, masks).numpy() for masks in draws]
            sums[name][..., : t + 1] += np.mean(patterns, 0).sum(0)[..., ::-1]
    for name, total in sums.items():
        one = rows.filter(data=name)
        for layer, head, lag, value in one.select("layer", "head", "lag", "value").iter_rows():
            assert value == pytest.approx(total[layer, head, lag] / counts[lag], abs=1e-5)
        whole = one.group_by("layer", "head").agg((pl.col("value") * pl.col("n")).sum())
        np.testing.assert_allclose(whole["value"].to_numpy(), 6, atol=1e-4)
        moved = np.abs(total - sums[TARGET]).max()
        assert moved > 1e-3 or name == TARGET


def test_an_adversary_is_each_groups_own(about):
    """Prompts of one length, and sequences with one position, searched alone."""
    at_t = looked(about, Mode.ADVERSARIAL)
    worst = at_t.worst((NOWHERE, None, at_t.head), silent)
    assert len(worst) > 2
    for t, rows in at_t.groups():
        for where, arm in zip((NOWHERE, None, at_t.head), worst[t], strict=True):
            alone = at_t.ablation_at(t, rows, where)
            (expected,) = alone.worst(alone.removed)
            assert arm.trajectory == pytest.approx(expected.trajectory, rel=1e-3)
            # position 0 looks at itself alone, whatever its query is
            ours, theirs = (
                torch.cat([mask.components[:, 1:] for mask in found.draws[0].values()], -1)
                for found in (arm, expected)
            )
            assert ((ours - theirs).abs() > 1e-3).double().mean() < 0.02


def test_questions_share_what_they_search_and_nothing_else(about, monkeypatch):
    searched: list[int] = []

    def counted(conditions):
        searched.append(len(conditions))
        return ablation.worst_arms(conditions)

    monkeypatch.setattr(component_conditions, "worst_arms", counted)
    component_conditions._kept.cache_clear()
    asked = looked(about, Mode.ADVERSARIAL)
    n_groups = len(list(asked.groups()))
    first = asked.worst((NOWHERE, None), silent)
    assert searched == [2 * n_groups]
    again = replace(asked, max_offset=3).worst((NOWHERE, None, asked.head), silent)
    assert searched == [2 * n_groups, n_groups]
    for t, arms in first.items():
        assert all(one is other for one, other in zip(arms, again[t], strict=False))
    for other in ({"seed": 4}, {"components": "h.0.attn.q_proj:4"}, {"n_draws": 2}):
        searched.clear()
        replace(asked, **other).worst((NOWHERE, None), silent)
        assert searched, "another search"
    monkeypatch.setattr(component_conditions, "MOST_KEPT", 0)
    for _ in range(2):
        searched.clear()
        replace(asked, seed=5).worst((NOWHERE, None), silent)
        assert searched, "too large to be kept"
    assert looked(about, Mode.STOCHASTIC).worst((NOWHERE, None), silent) == {}


def test_changes_are_paired_with_their_own_baseline(about):
    for mode, baseline in ((Mode.DETERMINISTIC, TARGET), (Mode.STOCHASTIC, "stochastic masks")):
        rows = looked(about, mode).run(silent)["head_profiles"]
        where = ("layer", "head", "lag")
        levels = {
            name: rows.filter(profile=PROFILE, data=name).sort(where)["value"].to_numpy()
            for name in (ABLATED, baseline)
        }
        change = rows.filter(profile=CHANGE, data=ABLATED).sort(where)["value"].to_numpy()
        np.testing.assert_allclose(change, levels[ABLATED] - levels[baseline], atol=1e-6)
    within = rows.filter(profile=CHANGE, data=WITHIN, layer=LAYER)
    # a key component within head 2 reaches head 3, which reads the same keys
    others = within.filter(pl.col("head") < 2)
    assert others["value"].abs().max() < 1e-6
    assert within.filter(pl.col("head") >= 2)["value"].abs().max() > 1e-5


def test_the_target_looks_where_it_does_without_any_decomposition(about):
    rows = looked(about, Mode.DETERMINISTIC).run(silent)["head_profiles"]
    shared = {name: value for name, value in about.items() if name != "decomposition"}
    plain = QueryOffsets(**shared, n_sequences=6, max_offset=11).run(silent)["head_profiles"]
    kept = ("layer", "head", "lag", "value", "n")
    ours, theirs = (
        found.filter(profile=PROFILE, data=TARGET).select(kept).sort(kept[:3])
        for found in (rows, plain)
    )
    np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), atol=1e-5)


@pytest.fixture(scope="module")
def tables(about) -> dict[Mode, ComponentPredictions]:
    return {
        mode: ComponentPredictions(
            **about,
            n_samples=3,
            components=PAIR,
            mode=mode.value,
            n_draws=3 if mode is Mode.STOCHASTIC else 1,
        )
        for mode in MODES
    }


def test_probabilities_are_averaged_and_not_logits(tables):
    asked = tables[Mode.STOCHASTIC]
    lengths = Counter(tokens.ids.size for tokens in asked.data())
    (length, n_rows), *_ = lengths.most_common()
    ids = np.concatenate([tokens.ids for tokens in asked.data() if tokens.ids.size == length])
    assert len(ids) == n_rows > 1, "prompts of one length are computed together"
    found, tokens = asked.predictions(ids, ()), torch.from_numpy(ids).long()
    made, _ = asked.made
    importances = asked.importances(tokens, length)
    conditions = asked.side_by_side(tokens, importances, asked.head, asked.seed, ())
    assert set(found) == EXPECTED[Mode.STOCHASTIC] == set(conditions)
    for name, draws in conditions.items():
        with torch.no_grad():
            every = torch.stack([logits(made, tokens, m)[:, -1].double() for m in draws])
        mean = every.softmax(-1).mean(0)
        torch.testing.assert_close(found[name].exp(), mean, atol=1e-7, rtol=1e-4)
        if len(draws) > 1:
            assert (every.mean(0).softmax(-1) - mean).abs().max() > 1e-5


@pytest.mark.parametrize("mode", MODES)
def test_tables_of_every_mode_are_complete_and_begin_with_the_target(tables, about, mode):
    frames = tables[mode].run(silent)
    found = frames["predictions"]
    assert set(found["condition"]) == set(frames["ablations"]["condition"]) == EXPECTED[mode]
    baselines = dict(frames["ablations"].select("condition", "baseline").iter_rows())
    assert baselines == dict(found.select("condition", "baseline").unique().iter_rows())
    assert baselines[ABLATED] == (TARGET if mode is Mode.DETERMINISTIC else f"{mode.value} masks")
    shared = {name: value for name, value in about.items() if name != "decomposition"}
    plain = PredictionTables(**shared, n_samples=3).run(silent)["predictions"]
    tops = [
        rows.filter(condition=TARGET, kind="top").select("text", "token_id").sort("text")
        for rows in (found, plain)
    ]
    assert tops[0].equals(tops[1])
    means = frames["ablation_means"].filter(metric="kl_base_ablated")
    assert set(means["condition"]) == EXPECTED[mode] - {TARGET}
    assert means["value"].min() > 0


def test_differences_are_those_of_distributions():
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 50, generator=generator, dtype=torch.double).softmax(-1)
    found = differences(p.log(), q.log())
    middle = (p + q) / 2
    assert found["kl_base_ablated"] == pytest.approx(float((p * (p / q).log()).sum()))
    assert found["kl_ablated_base"] == pytest.approx(float((q * (q / p).log()).sum()))
    js = (p * (p / middle).log()).sum() / 2 + (q * (q / middle).log()).sum() / 2
    assert found["js"] == pytest.approx(float(js))
    assert 0 <= found["js"] <= log(2)
    assert found["top1_changed"] == float(p.argmax() != q.argmax())
    assert found["logit_change"] == pytest.approx(float((q / p).log()[p.argmax()]))
    assert set(differences(p.log(), p.log()).values()) == {0.0}


class Answer(dict):
    """Frames by table and one run."""

    runs = ("r",)


def answered(by_lag: dict[int, float], spread: float = 0.01, **totals: float) -> Answer:
    """R and log-ratio by lag, nearly the same on every sequence; numbers of A by metric."""
    rows = []
    for lag, value in by_lag.items():
        index = {"lag": lag, "condition": "A+B(all)", "reference": "A"}
        for layer, metric in ((LAYER, "redundancy"), (None, "log_ratio")):
            every = {"lower": value - spread, "upper": value + spread, "sequence": None, "n": 8}
            where = {**index, "layer": layer, "metric": metric}
            rows.append({**where, **every, "value": value})
            rows += [{**where, "sequence": i, "value": value + spread * (i - 2)} for i in range(8)]
    about_a = {"lag": None, "condition": "A", "reference": "base", "layer": None, "sequence": None}
    for metric, value in totals.items():
        ends = {"value": value, "lower": 0.9 * value, "upper": 1.1 * value}
        rows.append({**about_a, "metric": metric, **ends, "n": 8})
        each = {**about_a, "metric": metric}
        rows += [{**each, "sequence": i, "value": value * (0.98 + 0.01 * i)} for i in range(8)]
    types = {"layer": pl.Int16, "sequence": pl.Int32, "n": pl.Int32, "lag": pl.Int32}
    types |= {"lower": pl.Float64, "upper": pl.Float64}
    return Answer(comparisons=pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None))


def evidence(whole, within, zeroed, **modes) -> ComponentEvidence:
    plain = answered(whole, harm=0.1, effect=-0.1, kl=0.1)
    return ComponentEvidence(
        head="L0H2",
        pair=PAIR,
        modes={
            "deterministic": plain,
            "stochastic": answered(whole, effect_se=0.01, harm=0.1),
            "stochastic_apart": answered({1: 0.5}, effect_se=modes.get("apart", 0.05)),
            "stochastic_ci": answered({1: 0.5}, harm=0.1),
            "adversarial": answered(whole, harm=modes.get("adversary", 0.3)),
        },
        within={"deterministic": answered(within), "stochastic": answered(within)},
        outside={
            "h.0.attn.q_proj:1,h.0.attn.k_proj:2": answered(modes.get("outside", {1: 0, 2: 0}))
        },
        matched={"h.0.attn.q_proj:6,h.0.attn.k_proj:7": answered({1: 9.0, 2: 0.01})},
        zeroed=answered(zeroed),
    )


def verdicts(worded, found: ComponentEvidence) -> dict[str, str]:
    card = read_card(str(worded))
    rows = ComponentRedundancyClaims(card=card, seed=0, evidence=found).run(silent)
    return dict(rows["claims"].select("claim", "verdict").iter_rows()) if rows else {}


SPECIAL = ({1: 0.9, 2: 0.1}, {1: 0.9, 2: -0.1}, {1: 0.9, 2: -0.3})
"""Of the pair, of the pair within the head, and of the zeroed head."""


def test_claims_follow_the_numbers(worded):
    found = verdicts(worded, evidence(*SPECIAL))
    assert len(found) == 6
    assert set(found.values()) == {"supported"}
    flat = evidence(*[{1: 0.9, 2: 0.9}] * 3, adversary=0)
    found = verdicts(worded, flat)
    assert "supported" not in found.values()
    assert found["component_specific"] == "refuted"
    assert found["component_adversary"] == "not shown"


def test_pairs_outside_the_mechanism_are_controls_and_others_are_not(worded):
    """The nearest in norm take more than the chosen pair: shown, and no control."""
    rows = evidence(*SPECIAL)
    assert set(verdicts(worded, rows).values()) == {"supported"}
    beaten = verdicts(worded, evidence(*SPECIAL, outside={1: 2.0, 2: 0.0}))
    for place in ("attention", "predictions"):
        assert beaten[f"component_redundant_{place}"] == "not shown"
    assert beaten["component_specific"] == "not shown"


def test_an_adversary_is_compared_on_its_own_sequences(worded):
    """It has the first ones only, and on the others the ablation does more harm without it."""
    found = evidence(*SPECIAL)
    rows = found.modes["adversarial"]["comparisons"]
    fewer = Answer(comparisons=rows.filter(pl.col("sequence").is_null() | (pl.col("sequence") < 6)))
    plain = found.modes["deterministic"]["comparisons"]
    late = (pl.col("metric") == "harm") & (pl.col("sequence") >= 6)
    harder = plain.with_columns(value=pl.when(late).then(9.0).otherwise("value"))
    modes = {**found.modes, "adversarial": fewer, "deterministic": Answer(comparisons=harder)}
    assert verdicts(worded, replace(found, modes=modes))["component_adversary"] == "supported"


@pytest.mark.parametrize(("apart", "holds"), [(0.05, True), (0.01, True), (0.009, False)])
def test_shared_draws_are_a_check(worded, apart, holds):
    found = evidence({1: 0.9, 2: 0.6}, {1: 0.9, 2: 0.4}, {1: 0.9, 2: 0.1}, apart=apart)
    judged = ComponentRedundancyClaims(card=read_card(str(worded)), seed=0, evidence=found)
    (row,) = judged.run(silent)["checks"].iter_rows(named=True)
    assert (row["name"], row["holds"]) == ("component_shared_draws", holds)


def test_numbers_that_are_undefined_make_no_claim(worded):
    found = verdicts(worded, evidence({2: 0.5}, {2: 0.5}, {2: 0.5}))
    assert set(found) == {"component_adversary"}


def test_specificity_is_a_difference_from_the_mean_of_other_offsets():
    rows = answered({1: 0.5, 2: 0.0, 3: -9.0})
    values = specificity([rows])
    np.testing.assert_allclose(values, [0.5 - (0 - 9) / 2] * 8, atol=0.05)
    assert np.isnan(specificity([answered({2: 0.5})])).all()
    twice = specificity([rows, answered({1: 0.0, 2: 0.0})])
    np.testing.assert_allclose(twice, values / 2, atol=0.05)


def test_sequences_are_paired_by_number_where_some_have_no_index():
    """Each answer lacks another sequence: two of one length, of which none may slip."""
    rows = answered({1: 0.5, 2: 0.0})["comparisons"]
    first, last = (
        specificity([Answer(comparisons=rows.filter(pl.col("sequence") != i))]) for i in (0, 7)
    )
    assert np.isnan(first[0]) and first.size == 8 and last.size == 7
    np.testing.assert_allclose(first[1:7], last[1:])


def test_views_name_every_way_to_ablate():
    found = evidence({1: 0.9, 2: 0.6}, {1: 0.8, 2: 0.4}, {1: 0.7, 2: 0.1})
    assert list(views.ablations(found)) == [
        *(mode.value for mode in Mode),
        "deterministic, in L0H2",
        "stochastic, in L0H2",
    ]
    assert set(views.ablations(found)) - set(views.swept(found)) == {
        "stochastic_apart",
        "stochastic_ci",
    }
    rows = views.index_rows(found, "stochastic", LAYER)
    first = rows.filter(at=1)
    assert dict(first.select("role", "value").iter_rows()) == {
        "pair, stochastic": 0.9,
        "pair, deterministic, in L0H2": 0.8,
        "L0H2 zeroed": 0.7,
        views.OUTSIDE: 0.0,
        views.INSIDE: 9.0,
    }
    in_predictions = views.index_rows(found, "stochastic", None)
    assert in_predictions.height == rows.height
    ways = views.effects(views.ablations(found))
    assert views.way(ways, "adversarial", "KL(target")["value"] == 0.3
    pairs = pl.DataFrame(
        [("mean_contribution", 3, 5, 2.0), ("matched_norm_outside", 1, 2, 0.1)],
        schema=["measure", "first_component", "second_component", "value"],
        orient="row",
    )
    beside = views.beside_rows(found, pairs)
    assert beside.select("pair", "drawn from", "adds").rows() == [
        ("3,5", "chosen", 2.0),
        ("1,2", "outside the mechanism", 0.1),
        ("6,7", "all components", None),
    ]
    assert beside["log-ratio"].to_list() == [0.9, 0.0, 9.0]
    with pytest.raises(pl.exceptions.NoRowsReturnedError):
        views.way(ways, "deterministic", "its standard error")
