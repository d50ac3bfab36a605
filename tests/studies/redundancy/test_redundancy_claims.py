"""Claims on redundancy: what a log-ratio supports, and what it must not."""

import numpy as np
import polars as pl
import pytest

from analysis.models.files.card import read_card
from analysis.studies.redundancy.claims import (
    HALF,
    WIDTH,
    RedundancyClaims,
    RedundancyEvidence,
    counted,
    log_ratios,
)
from tests.questions.test_experiments import silent

CLAIM = "value_redundant_predictions"
N_SEQUENCES = 24


class Answer(dict):
    """Frames by table and one run."""

    runs = ("r",)


def answered(values: dict[int, float], spread: float = 0.3, seed: int = 0, missing=()) -> Answer:
    """Log-ratios of B(all) by lag around a median; sequences may miss lags."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "lag": lag,
            "layer": None,
            "metric": "log_ratio",
            "condition": "A+B(all)",
            "sequence": sequence,
            "value": value + rng.normal(0, spread),
        }
        for lag, value in values.items()
        for sequence in range(N_SEQUENCES)
        if (lag, sequence) not in missing
    ]
    types = {"layer": pl.Int16, "sequence": pl.Int32}
    return Answer(comparisons=pl.DataFrame(rows, schema_overrides=types))


def claims(worded, mine: Answer, *others: Answer, **methods: Answer) -> dict[str, pl.DataFrame]:
    evidence = RedundancyEvidence(
        head="L0H0",
        methods=dict.fromkeys(("zero_value", "mean_value", "mask_key"), mine) | methods,
        others={f"L0H{h}": other for h, other in enumerate(others, start=1)},
    )
    return RedundancyClaims(card=read_card(str(worded)), seed=0, evidence=evidence).run(silent)


def judge(worded, mine: Answer, *others: Answer, **methods: Answer) -> str:
    found = claims(worded, mine, *others, **methods)["claims"]
    assert found["claim"].to_list() == [CLAIM], "nothing is claimed of the attention output"
    return found["verdict"].item()


SPECIAL = {1: 3.0, 2: 0.1, 3: -0.4}


def test_claims_follow_the_numbers(worded):
    other = answered({1: 0.05, 2: 0.0}, seed=1)
    special = answered(SPECIAL)
    assert judge(worded, special, other) == "supported"
    assert judge(worded, answered({1: 0.2, 2: 0.1}), other) == "refuted"
    assert judge(worded, answered({1: 3.0, 2: 3.9}), other) == "not shown"
    assert judge(worded, special, answered({1: 3.9}, seed=1)) == "not shown"
    assert judge(worded, special, answered({1: 3.0}, seed=1)) in {"undecided", "not shown"}


def test_the_bar_is_half(worded):
    other = answered({1: 0.0}, seed=1, spread=0.01)
    for bar, verdict in ((HALF + 0.1, "supported"), (HALF - 0.1, "refuted")):
        assert judge(worded, answered({1: bar}, spread=0.01), other) == verdict


def test_a_claim_must_hold_in_every_way_and_against_every_control(worded):
    special, other = answered(SPECIAL), answered({1: 0.05}, seed=1)
    weak = answered({1: 0.2, 2: 0.1}, seed=2)
    assert judge(worded, special, other, mask_key=weak) == "refuted"
    high = answered({1: 3.2}, seed=3)
    assert judge(worded, special, other, high) != "supported"


def test_a_way_without_a_ratio_is_not_said_to_be_tested(worded):
    special, other = answered(SPECIAL), answered({1: 0.05}, seed=1)
    whole = claims(worded, special, other)["claims"]["statement"].item()
    assert whole.endswith("by each of zero_value, mean_value, mask_key")
    part = claims(worded, special, other, mean_value=answered({2: 0.1}))["claims"]["statement"]
    assert part.item().endswith("by each of zero_value, mask_key")


def test_few_sequences_rule_no_claim(worded):
    """Of a mean two of 24 would make 83 where 0 is right; and no R of theirs is pooled."""
    rows = answered({1: 0.0, 2: -0.5})["comparisons"]
    wild = (pl.col("sequence") < 2) & (pl.col("lag") == 1)
    ruled = rows.with_columns(value=pl.when(wild).then(1000.0).otherwise("value"))
    other = answered({1: -0.5}, seed=1)
    assert judge(worded, Answer(comparisons=ruled), other) == "refuted"
    special = answered(SPECIAL)["comparisons"]
    against = special.with_columns(value=pl.when(wild).then(-1000.0).otherwise("value"))
    assert judge(worded, Answer(comparisons=against), other) == "supported"


def test_a_sequence_that_lacks_an_offset_is_left_out_there(worded):
    short = answered(SPECIAL, missing={(2, i) for i in (0, 22, 23)})
    found = log_ratios(short)
    assert found[1].size == found[2].size == N_SEQUENCES
    assert np.isnan(found[2]).nonzero()[0].tolist() == [0, 22, 23]
    assert judge(worded, short, answered({1: 0.05}, seed=1)) == "supported"


def test_without_any_ratio_there_is_no_claim(worded):
    assert log_ratios(Answer(comparisons=answered({1: 0.5})["comparisons"].clear())) == {}
    assert claims(worded, answered({2: 0.5}), answered({1: 0.5})) == {}
    assert claims(worded, answered({1: 0.5})) == {}, "there is nothing to compare it with"


def test_what_a_claim_rests_on_is_said(worded):
    """What is left out, the largest control, and how many sequences a narrower interval takes."""
    undefined = {"metric": "undefined", "lag": 1, "condition": "A+B(all)", "value": 0.25}
    mine = answered(SPECIAL, missing={(1, i) for i in range(6)})["comparisons"]
    rows = pl.DataFrame([undefined], schema_overrides={"lag": pl.Int64})
    mine = Answer(comparisons=pl.concat([mine, rows], how="diagonal"))
    said = claims(worded, mine, answered({1: 0.9}, seed=1, spread=0.01))["claims"]
    told = said["statistic"].item()
    for part in ("n = 18; ", "25.0% left out", "L0H1 zeroed at 0.9", "1 of them above"):
        assert part in told
    values = np.linspace(-3, 3, 30)
    (n,) = (int(word) for word in counted([values], 0.0).split()[-1:])
    assert n > 30
    wider = np.linspace(-3, 3, n)
    assert "would take" not in counted([wider], 0.0) or n == 30
    narrow = np.linspace(-WIDTH / 4, WIDTH / 4, 30)
    assert "would take" not in counted([narrow], 0.0)


@pytest.mark.parametrize("n", [12, 32])
def test_chance_alone_supports_nothing(worded, n):
    """Log-ratios of heavy tails around the bar, beside controls that are drawn alike."""
    rng, supported = np.random.default_rng(n), 0
    for _ in range(40):
        each = pl.DataFrame({"sequence": np.arange(n), "lag": 1, "condition": "A+B(all)"})
        mine, other = (
            each.with_columns(
                metric=pl.lit("log_ratio"),
                layer=pl.lit(None, pl.Int16),
                value=HALF + 2 * rng.standard_t(2, n),
            )
            for _ in range(2)
        )
        supported += (
            judge(worded, Answer(comparisons=mine), Answer(comparisons=other)) == "supported"
        )
    assert supported <= 3
