"""Claims on kinds of ablation: rankings that agree, and top heads beside random ones."""

from dataclasses import replace
from itertools import combinations, islice

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from analysis.models.files.card import read_card
from analysis.statistics.stability import correlations
from analysis.studies.kinds.claims import (
    KindClaims,
    KindEvidence,
    by_size,
    per_head,
    ranking,
)
from analysis.tables import left_out
from store.schema import conformed
from tests.questions.test_experiments import silent
from tests.studies.atlas.test_claims import Stored

N_SEQUENCES, N_HEADS = 24, 12
NAMES = [f"L{i // 4}H{i % 4}" for i in range(N_HEADS)]


def swept(values: np.ndarray, sets: list[str], family: str = "single") -> Stored:
    """Effects (sequence, set) as the store answers them; loss and KL are alike."""
    conditions = [f"{family} {heads} {i}" for i, heads in enumerate(sets)]
    sizes = [len(heads.split(",")) for heads in sets]
    n = len(values)
    return Stored(
        ablations=pl.DataFrame({"condition": conditions, "heads": sets, "size": sizes}),
        ablation_effects=pl.DataFrame(
            {
                "condition": np.repeat(conditions, n),
                "scope": "all",
                "sequence": np.tile(np.arange(n), len(sets)),
                "kl_base_ablated": values.T.reshape(-1),
                "loss_change": values.T.reshape(-1),
            }
        ),
    )


def identities(q_zero: float, zero: float) -> Stored:
    rows = [
        {"score": f"{name}_from_uniform", "sequence": sequence, "value": value}
        for name, value in (("q_zero", q_zero), ("constant_scores", q_zero), ("zero", zero))
        for sequence in range(8)
    ]
    return Stored(head_scores=pl.DataFrame(rows))


def noisy(means: np.ndarray, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.01, (N_SEQUENCES, len(means)))
    return means + noise


MEANS = np.linspace(0.1, 1.2, N_HEADS)


def evidence(other: np.ndarray, top: float, random: float, n_draws: int = 50) -> KindEvidence:
    four = ",".join(NAMES[-4:])
    draws = [",".join(four) for four in islice(combinations(NAMES[:-4], 4), n_draws)]
    return KindEvidence(
        kinds={"zero": swept(noisy(MEANS, 0), NAMES), "mean": swept(noisy(other, 1), NAMES)},
        estimates={"one gradient": swept(noisy(MEANS[::-1], 2), NAMES)},
        sets={
            "top": swept(noisy(np.array([top]), 3), [four], "top"),
            "random": swept(noisy(np.full(n_draws, random), 4), draws, "random"),
        },
        identities=identities(0.0, 2.0),
        second={},
    )


@pytest.fixture
def judged(worded):
    def judge(found: KindEvidence) -> dict[str, pl.DataFrame]:
        about = {"text": "one text", "no_second": "" if found.second else "none was asked for"}
        return KindClaims(card=read_card(str(worded)), seed=0, **about, evidence=found).run(silent)

    return judge


def verdicts(frames: dict[str, pl.DataFrame]) -> dict[str, str]:
    return dict(frames["claims"].select("claim", "verdict").iter_rows())


def test_alike_rankings_and_costly_heads_are_supported(judged):
    found = verdicts(judged(evidence(MEANS**2, top=3.0, random=1.0)))
    assert set(found.values()) == {"supported"}
    assert set(found) == {"kinds_rank_alike", "top_heads_against_random"}


def test_a_claim_against_few_random_sets_is_not_testable(judged):
    """Of 38 sets p can be 1 / 39, which is not below .025; of 39 it can be 1 / 40, which is."""
    few = judged(evidence(MEANS, top=3.0, random=1.0, n_draws=38))
    assert verdicts(few)["top_heads_against_random"] == "not testable"
    row = few["claims"].filter(claim="top_heads_against_random").row(0, named=True)
    assert (row["n_null"], row["p"]) == (38, pytest.approx(1 / 39))
    assert row["beyond"] == pytest.approx(2, abs=0.02)


def test_identities_are_checks_at_their_tolerance(judged):
    """As a share of what heads read, which is the distance of zeros from it."""

    def held(q_zero: float, zero: float) -> dict[str, bool]:
        found = replace(evidence(MEANS, 3.0, 1.0), identities=identities(q_zero, zero))
        return dict(judged(found)["checks"].select("name", "holds").iter_rows())

    names = ("q_zero_is_uniform", "constant_scores_is_uniform", "zero_is_not_uniform")
    assert held(1e-6, 2.0) == dict.fromkeys(names, True)
    assert held(1e-5, 2.0) == {**dict.fromkeys(names, False), names[2]: True}
    conformed("checks", judged(evidence(MEANS, 3.0, 1.0))["checks"].with_columns(run=pl.lit("r")))


def test_claims_do_not_depend_on_the_order_of_rows(judged):
    """A join and a store may give rows in any order."""
    asked = evidence(MEANS**2, top=3.0, random=1.0)

    def shuffled(answer: Stored) -> Stored:
        return Stored(
            {
                **answer,
                "ablation_effects": answer["ablation_effects"].sample(
                    fraction=1, shuffle=True, seed=3
                ),
            }
        )

    mixed = replace(
        asked,
        kinds={name: shuffled(answer) for name, answer in asked.kinds.items()},
        sets={name: shuffled(answer) for name, answer in asked.sets.items()},
    )
    before, after = judged(asked), judged(mixed)
    for table in ("claims", "rank_agreements", "ablation_curves"):
        assert before[table].equals(after[table])


def test_every_kind_must_rank_alike_and_a_partial_one_need_not(judged):
    found = evidence(MEANS**2, top=3.0, random=1.0)
    other = swept(noisy(MEANS[::-1], 4), NAMES)
    partial = replace(found, kinds={**found.kinds, "mask key 0": other})
    assert verdicts(judged(partial))["kinds_rank_alike"] == "supported"
    third = judged(replace(found, kinds={**found.kinds, "resample": other}))
    row = third["claims"].filter(claim="kinds_rank_alike").row(0, named=True)
    assert row["verdict"] == "refuted" and "the least of 2: resample" in row["statistic"]
    assert row["estimate"] == pytest.approx(-1) and row["p"] > 0.9


def test_a_kind_that_changes_nothing_has_no_rank_and_a_reason(judged):
    found = evidence(MEANS, top=3.0, random=1.0)
    nothing = {**found.kinds, "mask": swept(np.zeros((N_SEQUENCES, N_HEADS)), NAMES)}
    frames = judged(replace(found, kinds=nothing))
    conformed("rank_agreements", frames["rank_agreements"].with_columns(run=pl.lit("r")))
    assert "mask" not in {*frames["rank_agreements"]["kind"], *frames["rank_agreements"]["other"]}
    gaps = frames["absences"].filter(pl.col("data") != "a second text")
    assert gaps.select("score", "data").rows() == [("rank_agreement", "mask")]
    assert "rank_agreement on mask: it changes nothing" in left_out(frames)
    assert verdicts(frames)["kinds_rank_alike"] == "supported", "there is one that has a rank"
    rest = judged(found)["rank_agreements"]
    assert frames["rank_agreements"].equals(rest)


def test_controls_fail_where_they_must(judged):
    """Another ranking, and top heads that do what random ones do."""
    found = verdicts(judged(evidence(MEANS[::-1], top=1.0, random=1.0)))
    assert found["kinds_rank_alike"] == "refuted"
    assert found["top_heads_against_random"] != "supported"


def test_agreements_are_scipys(judged):
    other = np.random.default_rng(5).permutation(MEANS)
    frames = judged(evidence(other, top=3.0, random=1.0))
    row = frames["rank_agreements"].filter(kind="zero", other="mean").row(0, named=True)
    assert row["value"] == pytest.approx(spearmanr(MEANS, other).statistic)
    assert row["lower"] <= row["value"] <= row["upper"]
    opposed = frames["rank_agreements"].filter(kind="zero", other="one gradient")
    assert opposed["value"].item() == pytest.approx(-1)


def test_correlations_are_spearmans_row_by_row():
    rng = np.random.default_rng(0)
    first, second = rng.integers(4, size=(2, 5, 9)).astype(float)  # with heads that are equal
    expected = [spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlations(first, second), expected)


def test_heads_that_are_equal_have_no_order():
    """Their ranks are shared, not those of their rows, and all equal ones agree with nothing."""
    rising, flat = np.arange(9.0)[None], np.zeros((1, 9))
    assert np.isnan(correlations(rising, flat)).all()
    tied = np.where(rising < 8, 0.0, 1.0)
    orders = [np.random.default_rng(seed).permutation(9) for seed in range(5)]
    found = [correlations(rising[:, o], tied[:, o]).item() for o in orders]
    np.testing.assert_allclose(found, spearmanr(rising[0], tied[0]).statistic)


def test_heads_are_ranked_on_even_sequences_and_judged_on_odd_ones():
    values = np.zeros((N_SEQUENCES, N_HEADS))
    values[::2, 3], values[1::2, 5] = 1.0, 1.0
    answer = swept(values, NAMES)
    assert ranking(answer)[0] == NAMES[3]
    odd = by_size(answer)[1]
    assert odd[:, 5].mean() == 1
    assert odd[:, 3].mean() == 0
    np.testing.assert_array_equal(per_head(answer, "loss_change"), values)


def test_the_curve_holds_permutation_ps_of_the_draws(judged):
    curves = judged(evidence(MEANS, top=3.0, random=1.0))["ablation_curves"]
    (row,) = curves.filter(family="random").iter_rows(named=True)
    assert (row["n"], row["size"]) == (50, 4)
    assert row["p"] == pytest.approx(1 / 51)
