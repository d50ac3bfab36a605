"""Claims judge heads on sequences that did not choose them."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analysis.models.files.card import read_card
from analysis.studies.atlas.claims import HeadClaims
from analysis.studies.atlas.copy_lags import ELSEWHERE, SCORE
from analysis.studies.atlas.induction_scores import CEILING, GAIN, TEXT_SHUFFLED, TEXT_TWICE

N_SEQUENCES, PLACES = 40, [(layer, head) for layer in range(3) for head in range(2)]


class Stored(dict):
    """Frames by table name, as the store answers them."""

    runs = ("0123456789abcdef",)


def scores(score: str, data: str, means: dict[tuple[int, int], float], seed: int) -> pl.DataFrame:
    """Rows of single sequences around each head's mean; other heads are at .05."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "score": score,
            "data": data,
            "layer": layer,
            "head": head,
            "sequence": sequence,
            "value": means.get((layer, head), 0.05) + rng.normal(0, 0.02),
            "chance": 0.02,
        }
        for layer, head in PLACES
        for sequence in range(N_SEQUENCES)
    )


def numbers(value: float, score: str, data: str) -> pl.DataFrame:
    """Rows of the whole model around a mean."""
    noise = np.random.default_rng(1).normal(0, 0.1, N_SEQUENCES)
    sequence = np.arange(N_SEQUENCES)
    return pl.DataFrame(
        {"score": score, "data": data, "sequence": sequence, "value": value + noise}
    )


def evidence(
    induction: dict[tuple[int, int], float],
    gain: float = 4.0,
    on_text: float = 0.0,
    rises: dict[int, float] | None = None,
) -> dict[str, Stored]:
    """A model's scores.

    Args:
        induction: Means of heads.
        gain: What the second copy of a random block costs less.
        on_text: What the second copy of a text costs less for the order of the first.
        rises: What hiding the keys at a lag costs.
    """
    looking = [
        scores("previous_token", "text", {(0, 1): 0.9}, 2),
        scores("previous_token", "random", {(0, 1): 0.45}, 3),
    ]
    on_repeats = [
        scores("induction", "repeated", induction, 5),
        scores("induction", "shuffled", {}, 6),
    ]
    model = [
        numbers(-gain, GAIN, "repeated"),
        numbers(0.0, GAIN, "shuffled"),
        numbers(3.0 - on_text, "second_copy_loss", TEXT_TWICE),
        numbers(3.0, "second_copy_loss", TEXT_SHUFFLED),
        numbers(1.0, CEILING, "repeated").with_columns(value=1.0),
    ]
    lags = {0: 4.0, 4: 0.0} if rises is None else rises
    hidden = [numbers(rise, SCORE, f"{lag:+d}") for lag, rise in lags.items()]
    return {
        "text": Stored(head_scores=pl.concat(looking)),
        "induction": Stored(head_scores=pl.concat(on_repeats), model_scores=pl.concat(model)),
        "lags": Stored(model_scores=pl.concat([*hidden, numbers(0.0, SCORE, ELSEWHERE)])),
    }


def judged(worded, **changes) -> dict[str, dict[str, object]]:
    claims = HeadClaims(card=read_card(str(worded)), seed=0, **evidence(**changes))
    frame = claims.run(lambda *_: None)["claims"]
    return {row["claim"]: row for row in frame.iter_rows(named=True)}


def test_verdicts_follow_the_scores(worded):
    found = judged(worded, induction={(2, 1): 0.8})
    assert {claim: row["verdict"] for claim, row in found.items()} == {
        "previous_token_head": "supported",
        "previous_token_positional": "refuted",
        "previous_token_below_induction": "supported",
        "induction_head": "supported",
        "model_copies": "supported",
    }
    assert found["induction_head"]["statement"].startswith("L2H1")
    assert found["induction_head"]["estimate"] == pytest.approx(0.8, abs=0.01)
    assert found["previous_token_below_induction"]["estimate"] == 2
    for row in found.values():
        assert row["lower"] <= row["estimate"] <= row["upper"]
        assert json.loads(row["evidence"]) == ["0123456789abcdef"] * 3


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"induction": {}}, "induction_head"),
        ({"induction": {(2, 1): 0.3}}, "induction_head"),
        ({"induction": {(0, 0): 0.8}}, "previous_token_below_induction"),
        ({"induction": {(2, 1): 0.8}, "gain": 0.1, "on_text": 2.0}, "model_copies"),
        ({"induction": {}}, "copies_otherwise"),
    ],
)
def test_a_model_without_the_property_is_not_given_it(changes, claim, worded):
    assert judged(worded, **changes)[claim]["verdict"] == "refuted"


def test_a_model_that_copies_nothing_is_not_testable_once(worded):
    found = judged(worded, induction={(2, 1): 0.8}, gain=0.1)
    assert {claim: row["verdict"] for claim, row in found.items()} == {
        "previous_token_head": "supported",
        "previous_token_positional": "refuted",
        "model_copies": "not testable",
    }


@pytest.mark.parametrize(("target", "verdict"), [(0.0, "supported"), (3.0, "not shown")])
def test_a_model_that_copies_by_another_lag_is_described(target, verdict, worded):
    """Unless hiding the target costs it more."""
    row = judged(worded, induction={}, rises={-3: 0.1, 0: target, 5: 2.0})["copies_otherwise"]
    assert "+5 tokens from the induction target" in row["statement"]
    assert row["verdict"] == verdict
    assert row["estimate"] == pytest.approx(2, abs=0.1)
    assert row["control"] == pytest.approx(target, abs=0.1)


def test_no_head_is_denied_where_a_perfect_one_could_not_pass(worded):
    told = evidence(induction={(2, 1): 0.3})
    frame = told["induction"]["model_scores"]
    value = pl.when(pl.col("score") == CEILING).then(0.4).otherwise(pl.col("value"))
    told["induction"]["model_scores"] = frame.with_columns(value=value)
    claims = HeadClaims(card=read_card(str(worded)), seed=0, **told).run(lambda *_: None)["claims"]
    (row,) = claims.filter(claim="induction_head").iter_rows(named=True)
    assert row["verdict"] == "not testable"
    assert "a perfect head scores 0.40" in row["statistic"]


def test_the_head_is_chosen_on_even_sequences_and_judged_on_odd_ones(worded):
    """A head that is strong on even sequences only must not be flattered by them."""
    told = evidence(induction={(2, 1): 0.6})
    frame = told["induction"]["head_scores"]
    lucky = (pl.col("layer") == 1) & (pl.col("head") == 0) & (pl.col("data") == "repeated")
    even = lucky & (pl.col("sequence") % 2 == 0)
    value = pl.when(even).then(0.95).otherwise(pl.col("value"))
    told["induction"]["head_scores"] = frame.with_columns(value=value)
    claims = HeadClaims(card=read_card(str(worded)), seed=0, **told).run(lambda *_: None)["claims"]
    (row,) = claims.filter(claim="induction_head").iter_rows(named=True)
    assert row["statement"].startswith("L1H0")
    assert row["estimate"] == pytest.approx(0.05, abs=0.02)
    assert row["verdict"] == "refuted"


def test_what_the_text_could_not_test_is_not_claimed(worded):
    told = evidence(induction={(2, 1): 0.8})
    gaps = pl.DataFrame({"score": ["previous_token"], "data": ["text"], "reason": ["no tokenizer"]})
    told["text"] = Stored(absences=gaps, head_scores=pl.DataFrame())
    claims = HeadClaims(card=read_card(str(worded)), seed=0, **told).run(lambda *_: None)["claims"]
    assert set(claims["claim"]) == {"induction_head", "model_copies"}


def test_the_question_is_the_runs_that_are_judged(worded):
    claims = HeadClaims(card=read_card(str(worded)), seed=0, **evidence(induction={}))
    other = evidence(induction={})
    other["text"].runs = ("fedcba9876543210",)
    assert claims.question() == replace(claims).question()
    assert claims.question() != replace(claims, **other).question()
    assert claims.question() != replace(claims, seed=1).question()
