"""Claims on recall by lag: supported on planted data, not on random data."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analysis.interventions import Head
from analysis.models.files.card import read_card
from analysis.studies.lags.claims import Case, LagClaims, LagEvidence, judged_size
from analysis.studies.lags.views import null_sets
from tests.questions.test_experiments import silent
from tests.studies.atlas.test_claims import Stored

N, N_DRAWS = 40, 50
PLAIN = Case("probe", "zero", "all")


def answered(means: dict[tuple[str, int], float], seed: int) -> Stored:
    """One set of each size, measures by (name, size) around their mean."""
    rng = np.random.default_rng(seed)
    sizes = sorted({size for _, size in means})
    rows = []
    for (measure, size), mean in means.items():
        values = mean + rng.normal(0, 0.05, N)
        told = {"condition": f"{size} heads", "measure": measure}
        rows += [{**told, "sequence": i, "value": v} for i, v in enumerate(values)]
        rows.append({**told, "sequence": None, "value": values.mean()})
    described = {"condition": [f"{size} heads" for size in sizes], "size": sizes}
    described["heads"] = [",".join(f"L2H{i}" for i in range(size)) for size in sizes]
    return Stored(ablations=pl.DataFrame(described), lag_measures=pl.DataFrame(rows))


def drawn(means: dict[str, float]) -> Stored:
    """Random sets of five by the heads that they hold, and their means over draws."""
    names = [f"draw {i}" for i in range(len(means))]
    rng = np.random.default_rng(9)
    values = [mean + rng.normal(0, 0.05) for mean in means.values()]
    over = {"condition": ["all draws"] * N, "sequence": [*range(N)]}
    over["value"] = np.mean(values) + rng.normal(0, 0.05, N)
    rows = {"condition": names, "sequence": [None] * len(names), "value": values}
    frames = [pl.DataFrame(r, schema_overrides={"sequence": pl.Int32}) for r in (rows, over)]
    return Stored(
        ablations=pl.DataFrame({"condition": names, "size": 5, "heads": [*means]}),
        lag_measures=pl.concat(frames).with_columns(measure=pl.lit("log_odds")),
        lag_profiles=pl.DataFrame({"condition": ["all draws"], "size": [5]}),
    )


def sets(mean: float, n_draws: int = N_DRAWS) -> dict[str, float]:
    return {f"L1H{i},L2H{i}": mean for i in range(n_draws)}


def alone(means: dict[str, float]) -> Stored:
    found = drawn(means)
    return Stored({**found, "ablations": found["ablations"].with_columns(size=pl.lit(1))})


def evidence(
    ratio: float, recency: float, top: float, random: float, n_draws: int = N_DRAWS
) -> LagEvidence:
    def whole(seed: int) -> Stored:
        values = {"log_ratio": ratio, "recency": recency, "log_odds": 2.0}
        return answered({(name, 0): value for name, value in values.items()}, seed)

    control = answered({("log_ratio", 0): 0.0, ("recency", 0): 0.0}, 1)
    ablated = {
        PLAIN: answered({("log_odds", 1): 1.9, ("log_odds", 5): top}, 2),
        PLAIN._replace(method="mean"): answered({("log_odds", 5): top}, 2),
        PLAIN._replace(layers="upper half"): answered({("log_odds", 5): top}, 3),
        PLAIN._replace(layers="lower half"): answered({("log_odds", 5): 1.9}, 4),
    }
    return LagEvidence(
        base={"probe": whole(0)},
        control={"probe": control},
        top=ablated,
        random={
            PLAIN: drawn(sets(random, n_draws)),
            PLAIN._replace(method="mean"): drawn(sets(1.9)),
            PLAIN._replace(layers="lower half"): drawn(sets(1.9)),
        },
        single={"probe": alone({"L0H3": -2.0, "L0H4": 1.9, "L2H9": -2.0})},
        mixed={PLAIN: drawn({"L0H3,L1H1": -2.0, "L0H3,L1H2": -2.1})},
        lengths={10: {"base": whole(5), "control": control}},
    )


@pytest.fixture
def judge(worded):
    def verdicts(found: LagEvidence) -> dict[str, str]:
        card = read_card(str(worded))
        claims = LagClaims(card=card, seed=0, evidence=found).run(silent)["claims"]
        return dict(claims.select("claim", "verdict").iter_rows())

    return verdicts


def test_planted_recall_is_supported(judge):
    found = judge(evidence(ratio=3.0, recency=0.5, top=-2.0, random=1.8))
    assert set(found.values()) == {"supported"}
    assert set(found) == {
        "lag_successor_probe",
        "lag_recency_probe",
        "lag_top_heads_probe",
        "lag_upper_half_probe",
    }


def test_nothing_is_supported_where_nothing_was_planted(judge):
    found = judge(evidence(ratio=0.0, recency=0.0, top=1.9, random=1.9))
    assert "supported" not in found.values()


def test_heads_that_do_what_random_ones_do_are_not_special(judge):
    found = judge(evidence(ratio=3.0, recency=0.0, top=-2.0, random=-2.0))
    assert found["lag_top_heads_probe"] == "not shown"
    assert found["lag_successor_probe"] == "supported"


@pytest.mark.parametrize("n_draws", [1, 38])
def test_few_random_sets_cannot_test_heads(judge, n_draws):
    found = judge(evidence(ratio=3.0, recency=0.5, top=-2.0, random=1.8, n_draws=n_draws))
    assert found.pop("lag_top_heads_probe") == "not testable"
    assert set(found.values()) == {"supported"}


def test_without_any_random_set_the_claim_is_there_and_not_testable(judge):
    found = evidence(ratio=3.0, recency=0.5, top=-2.0, random=1.8)
    assert judge(replace(found, random={}))["lag_top_heads_probe"] == "not testable"


# negative control: recency that other words show as well is none of the item shown again
def test_recency_after_any_word_is_not_shown(judge):
    found = evidence(ratio=3.0, recency=0.5, top=-2.0, random=1.8)
    control = answered({("log_ratio", 0): 0.0, ("recency", 0): 0.8}, 1)
    assert judge(replace(found, control={"probe": control}))["lag_recency_probe"] == "not shown"


def test_random_sets_are_told_apart_by_the_upstream_heads_in_them():
    """L2H9 costs as much, and lies in the layer of the judged heads; L0H4 costs nothing."""
    found = evidence(ratio=3.0, recency=0.5, top=-2.0, random=1.8)
    assert found.upstream(PLAIN) == (Head(0, 3),)
    rows = null_sets(found, PLAIN)
    assert rows["upstream heads in the set"].to_list() == ["none", "L0H3", "any"]
    assert rows["sets"].to_list() == [N_DRAWS, 2, 2]
    np.testing.assert_allclose(rows["mean cost"], [0.2, 4.05, 4.05], atol=0.1)


def test_a_permutation_without_the_measure_counts_for_no_claim(worded):
    """Probes in the last slot have no successor: their rows are missing, and the rest is paired."""
    found = evidence(ratio=3.0, recency=0.5, top=-2.0, random=1.8)
    base = found.base["probe"]
    kept = base["lag_measures"].filter(
        ~((pl.col("measure") == "log_odds") & (pl.col("sequence") % 10 == 3).fill_null(value=False))
    )
    gappy = replace(found, base={"probe": Stored({**base, "lag_measures": kept})})
    claims = LagClaims(card=read_card(str(worded)), seed=0, evidence=gappy).run(silent)["claims"]
    row = claims.row(by_predicate=pl.col("claim") == "lag_top_heads_probe", named=True)
    assert "n = 36;" in row["statistic"]
    assert "zero 4" in row["statistic"]
    assert "mean 4" in row["statistic"]
    assert f"{N_DRAWS} random sets" in row["statistic"]
    assert row["estimate"] == pytest.approx(4.0, abs=0.05)


def test_the_question_names_the_runs_by_role(worded):
    claims = LagClaims(card=read_card(str(worded)), seed=0, evidence=evidence(3.0, 0.5, -2.0, 1.8))
    roles = claims.question()["parameters"]["evidence"]
    assert roles["top"].keys() == {
        *(f"probe, zero, {part}" for part in ("all", "upper half", "lower half")),
        "probe, mean, all",
    }
    assert len(claims.runs()) == 1 + 1 + 4 + 3 + 1 + 1 + 2


def test_the_judged_size_is_the_largest_up_to_five():
    assert judged_size([1, 5, 10]) == 5
    assert judged_size([1]) == 1
    assert judged_size([8, 10]) == 8
