"""Random components beside chosen ones, how few carry an effect, and claims that follow."""

from collections import Counter
from random import Random

import numpy as np
import polars as pl
import pytest

from analysis.components.ablation import Part
from analysis.models.files.card import read_card
from analysis.studies.circuit_components.claims import ComponentEffectClaims, closeness
from analysis.studies.circuit_components.measures import (
    MATCHED,
    ONE_EACH,
    SUM,
    TOP,
    concentration,
    condition,
)
from analysis.studies.circuit_components.passes import N_NEAREST, matched_sets


def silent(*_: object) -> None:
    """Report nothing."""


def test_matched_components_are_of_the_same_weights_and_nearest_in_norm():
    rng = Random(0)
    weights = [f"h.{layer}.attn.{p}_proj" for layer in (0, 1) for p in "qkvo"]
    norms = {Part(name, c): rng.uniform(1, 9) for name in weights for c in range(16)}
    chosen = tuple(sorted(norms)[::9])
    drawn = matched_sets(chosen, norms, 40, seed=3)
    assert drawn == matched_sets(chosen, dict(reversed(norms.items())), 40, seed=3)
    assert drawn != matched_sets(chosen, norms, 40, seed=4)
    for parts in drawn:
        assert not set(parts) & set(chosen)
        assert len(set(parts)) == len(chosen)
        assert Counter(p.layer for p in parts) == Counter(p.layer for p in chosen)
    one = chosen[0]
    others = [part for part in norms if part.layer == one.layer and part not in chosen]
    near = sorted(others, key=lambda part: abs(norms[part] - norms[one]))[:N_NEAREST]
    assert len(near) < len(others)
    assert {parts[0] for parts in matched_sets(chosen, norms, 300, 0)} == set(near)
    alone = {one: norms[one]}
    assert matched_sets((one,), alone, 2, 0) == [(), ()], "a weight without others"


def test_concentration_by_hand():
    even = np.array([[3.0, -3.0], [0.1, 0.1], [2.0, 2.0]])
    odd = np.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, -4.0, 0.0]])
    norms = np.array([1.0, 2.0, 2.0])
    found = concentration(even, odd, norms, 2)
    nan = np.nan
    np.testing.assert_allclose(found["component_share_one"], [4 / 5, 0, nan])
    np.testing.assert_allclose(found["component_share_few"], [1, 16 / 25, nan])
    np.testing.assert_allclose(found["component_norm_share"], [5 / 9, 5 / 9, nan])
    entropies = [-sum(p * np.log(p) for p in ps) for ps in ((0.8, 0.2), (0.36, 0.64))]
    np.testing.assert_allclose(found["component_entropy"], [*entropies, nan])
    equal = concentration(np.ones((8, 2)), np.ones((8, 2)), np.ones(8), 2)
    np.testing.assert_allclose(equal["component_entropy"], np.log([8, 8]))
    np.testing.assert_allclose(equal["component_share_few"], [1 / 4, 1 / 4])


def test_closeness_is_the_smaller_sum_over_the_larger():
    rng = np.random.default_rng(0)
    falls = rng.uniform(0.4, 0.6, 40)
    same = closeness(falls, falls, 0)
    assert same == pytest.approx((1, 1, 1))
    for a, b in ((falls, 2 * falls), (2 * falls, falls)):
        assert closeness(a, b, 0) == pytest.approx((0.5, 0.5, 0.5))
    assert closeness(falls, -falls, 0).estimate == 0
    noisy = closeness(falls, falls + rng.normal(0, 0.05, 40), 0)
    assert noisy.lower < noisy.estimate <= noisy.upper == 1
    assert noisy.lower > 0.9
    assert np.isnan(closeness(falls, 0 * falls, 0).estimate)


class Answer(dict):
    """Frames by table and one run."""

    runs = ("r",)


def evidence(
    top: float, alone: tuple[float, float], matched: float, shares=(0.9, 0.1), n_different=45
) -> Answer:
    """What `ComponentEffects` would answer if it found these falls, the same in nats.

    Args:
        top: Without the few components together.
        alone: Without each, summed; without the first alone.
        matched: Without random ones.
        shares: Of the few largest effects, and by their norms.
        n_different: Random sets that differ from each other, of 45.
    """
    noise = np.random.default_rng(0).normal(0, 0.01, 20)
    sets = {(TOP, ONE_EACH, None): top, (TOP, 1, None): alone[1], (SUM, ONE_EACH, None): alone[0]}
    sets |= {(MATCHED, ONE_EACH, draw): matched + 0.002 * draw for draw in range(45)}
    named = {condition(*key): value for key, value in sets.items()}
    ablations = [
        {
            **{"condition": c.name, "family": c.family, "draw": c.draw, "size": size},
            "heads": "" if c.draw is None else f"q:{c.draw % n_different},k:0",
        }
        for c, (_, size, _) in zip(named, sets, strict=True)
    ]
    effects = [
        {"condition": c.name, "sequence": i, "value": -value - noise[i]}
        for c, value in named.items()
        for i in range(20)
    ]
    scores = [
        {"score": score, "layer": 1, "head": 2, "sequence": i, "value": share + noise[i] / 10}
        for score, share in zip(
            ("component_share_few", "component_norm_share"), shares, strict=True
        )
        for i in range(20)
    ]
    changed = pl.DataFrame(effects).with_columns(score=pl.lit("induction"))
    return Answer(
        ablations=pl.DataFrame(ablations, infer_schema_length=None),
        head_effects=changed,
        ablation_effects=changed.select("condition", "sequence", loss_change=-pl.col("value")),
        head_scores=pl.DataFrame(scores),
        component_scores=pl.DataFrame({"score": ["norm"] * 60}),
    )


def verdicts(worded, found: Answer) -> dict[str, str]:
    asked = ComponentEffectClaims(card=read_card(str(worded)), seed=0, copier="L1H2", effects=found)
    claims = asked.run(silent)["claims"]
    assert claims.height == 4
    for row in claims.iter_rows(named=True):
        assert row["lower"] <= row["estimate"] <= row["upper"]
    return {name[11:]: verdict for name, verdict in claims.select("claim", "verdict").iter_rows()}


def test_claims_follow_the_numbers(worded):
    names = ("needed", "needed_loss", "concentrated", "additive")
    clear = verdicts(worded, evidence(0.6, (0.65, 0.2), 0.05))
    assert clear == dict.fromkeys(names, "supported")
    nothing = verdicts(worded, evidence(0.02, (0.2, 0.1), 0.02, (0.2, 0.1)))
    assert nothing == dict.fromkeys(names, "refuted")
    common = verdicts(worded, evidence(0.6, (0.65, 0.2), 0.7, (0.9, 0.95)))
    assert common["needed"] == common["needed_loss"] == common["concentrated"] == "not shown"
    one = verdicts(worded, evidence(0.6, (0.65, 0.61), 0.05))
    assert one["additive"] == "not shown", "the first alone explains it better"
    half = verdicts(worded, evidence(0.6, (1.3, 0.2), 0.05))
    assert half["additive"] == "refuted", "one makes up for another"
    usual = verdicts(worded, evidence(0.6, (0.65, 0.2), 0.55))
    assert usual["needed"] == "not shown", "five of the random sets cost as much"


def test_coinciding_random_sets_count_once(worded):
    few = verdicts(worded, evidence(0.6, (0.65, 0.2), 0.05, n_different=38))
    assert few["needed"] == few["needed_loss"] == "not testable"
    assert few["additive"] == few["concentrated"] == "supported"
