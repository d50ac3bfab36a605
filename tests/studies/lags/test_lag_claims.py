"""Claims on recall by lag: supported on planted data, not on random data."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analysis.models.card import read_card
from analysis.studies.lags.claims import Case, LagClaims, LagEvidence, judged_size
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
    return Stored(ablations=pl.DataFrame(described), lag_measures=pl.DataFrame(rows))


def drawn(mean: float) -> Stored:
    names = [f"draw {i}" for i in range(N_DRAWS)]
    values = mean + np.random.default_rng(9).normal(0, 0.05, N_DRAWS)
    rows = {"condition": names, "measure": "log_odds", "sequence": [None] * N_DRAWS}
    return Stored(
        ablations=pl.DataFrame({"condition": names, "size": 5}),
        lag_measures=pl.DataFrame(
            {**rows, "value": values}, schema_overrides={"sequence": pl.Int32}
        ),
    )


def evidence(ratio: float, recency: float, top: float, random: float) -> LagEvidence:
    def whole(seed: int) -> Stored:
        values = {"log_ratio": ratio, "recency": recency, "log_odds": 2.0}
        return answered({(name, 0): value for name, value in values.items()}, seed)

    control = answered({("log_ratio", 0): 0.0}, 1)
    ablated = {
        PLAIN: answered({("log_odds", 1): 1.9, ("log_odds", 5): top}, 2),
        PLAIN._replace(layers="upper half"): answered({("log_odds", 5): top}, 3),
        PLAIN._replace(layers="lower half"): answered({("log_odds", 5): 1.9}, 4),
    }
    return LagEvidence(
        base={"probe": whole(0)},
        control={"probe": control},
        top=ablated,
        random={PLAIN: drawn(random), PLAIN._replace(layers="lower half"): drawn(1.9)},
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
        "lag_successor_longest",
        "lag_top_heads_probe_zero",
        "lag_upper_half_probe",
    }


def test_nothing_is_supported_where_nothing_was_planted(judge):
    found = judge(evidence(ratio=0.0, recency=0.0, top=1.9, random=1.9))
    assert "supported" not in found.values()


def test_heads_that_do_what_random_ones_do_are_not_special(judge):
    found = judge(evidence(ratio=3.0, recency=0.0, top=-2.0, random=-2.0))
    assert found["lag_top_heads_probe_zero"] != "supported"
    assert found["lag_successor_probe"] == "supported"


def test_a_permutation_without_the_measure_counts_for_no_claim(worded):
    """Probes in the last slot have no successor: their rows are missing, and the rest is paired."""
    found = evidence(ratio=3.0, recency=0.5, top=-2.0, random=1.8)
    base = found.base["probe"]
    kept = base["lag_measures"].filter(
        ~((pl.col("measure") == "log_odds") & (pl.col("sequence") % 10 == 3).fill_null(value=False))
    )
    gappy = replace(found, base={"probe": Stored({**base, "lag_measures": kept})})
    claims = LagClaims(card=read_card(str(worded)), seed=0, evidence=gappy).run(silent)["claims"]
    row = claims.row(by_predicate=pl.col("claim") == "lag_top_heads_probe_zero", named=True)
    assert "n = 36;" in row["statistic"]
    assert f"{N_DRAWS} random sets" in row["statistic"]
    assert row["estimate"] == pytest.approx(4.0, abs=0.05)


def test_the_question_names_the_runs_by_role(worded):
    claims = LagClaims(card=read_card(str(worded)), seed=0, evidence=evidence(3.0, 0.5, -2.0, 1.8))
    roles = claims.question()["parameters"]["evidence"]
    assert roles["top"].keys() == {
        f"probe, zero, {part}" for part in ("all", "upper half", "lower half")
    }
    assert len(claims.runs()) == 1 + 1 + 3 + 2 + 2


def test_the_judged_size_is_the_largest_up_to_five():
    assert judged_size([1, 5, 10]) == 5
    assert judged_size([1]) == 1
    assert judged_size([8, 10]) == 8
