"""Where copying reads is found by hiding keys, whichever heads look there."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.studies.atlas import views
from analysis.studies.atlas.claims import HeadClaims
from analysis.studies.atlas.copy_lags import CopyLags
from analysis.studies.atlas.induction_scores import InductionScores
from tests.studies.circuit.circuit_model import circuit_model

LAG = 4
NOTHING = {"absences": pl.DataFrame({"score": ["previous_token"]})}


class Stored(dict):
    """Frames by table name, as the store answers them."""

    runs = ("0123456789abcdef",)


def answered(question) -> Stored:
    return Stored(question.run(lambda *_: None))


def lags_of(model: str, **changes) -> CopyLags:
    asked = {"n_sequences": 16, "block_len": 18, "max_shift": 6, "seed": 1} | changes
    return CopyLags(model=model, **asked)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[int, str]:
    """A model that copies by an induction head, and one whose head looks 4 tokens beside."""
    return {lag: circuit_model(tmp_path_factory.mktemp(f"lag{lag}"), lag=lag) for lag in (0, LAG)}


@pytest.mark.parametrize("lag", [0, LAG])
def test_the_lag_that_carries_copying_is_named(built, lag):
    rows = views.copy_lags(answered(lags_of(built[lag])))
    assert views.carrying(rows) == [lag]
    assert set(rows["at"]) == set(range(-6, 7))


def test_a_model_of_random_weights_has_none(saved):
    assert views.carrying(views.copy_lags(answered(lags_of(str(saved("llama")))))) == []


def test_a_model_that_copies_by_another_lag_is_described(built):
    """Its score one past the previous copy is low, and that is not all that is said of it."""
    verdicts: dict[int, dict[str, str]] = {}
    for lag, model in built.items():
        induction = InductionScores(model=model, n_sequences=16, block_len=18, max_shift=6, seed=0)
        evidence = {"induction": answered(induction), "lags": answered(lags_of(model))}
        claims = HeadClaims(card=read_card(model), seed=0, text=Stored(NOTHING), **evidence)
        rows = claims.run(lambda *_: None)["claims"]
        verdicts[lag] = dict(rows.select("claim", "verdict").iter_rows())
    assert verdicts[0] == {
        "induction_head": "supported",
        "induction_head_writes": "supported",
        "model_copies": "supported",
    }
    assert verdicts[LAG] == {
        "induction_head": "refuted",
        "model_copies": "supported",
        "copies_otherwise": "supported",
    }
    (row,) = rows.filter(claim="copies_otherwise").iter_rows(named=True)
    assert f"{LAG:+d} tokens from the induction target" in row["statement"]


def test_what_hiding_costs_is_that_of_attention_without_the_key(saved):
    """Against stock attention under a mask that lacks the key, for queries that have one."""
    model = str(saved("llama"))
    asked = lags_of(model, n_sequences=2, block_len=8, max_shift=2)
    net, ids = load_model(model).net, torch.from_numpy(asked.data()[0].ids).long()
    n_pos, first = ids.shape[1], len(asked.vocabulary.bos)

    def losses(mask: torch.Tensor) -> torch.Tensor:
        lowest = torch.finfo(torch.float32).min
        added = torch.where(mask, 0.0, lowest)[None, None].expand(len(ids), 1, -1, -1)
        with torch.no_grad():
            logits = net(ids, attention_mask=added).logits
        return -logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[..., 0]

    seen = torch.ones(n_pos, n_pos, dtype=torch.bool).tril()
    hidden, counted = seen.clone(), []
    for query in range(first + 8, first + 15):
        if (key := query - 8 + 1 - 2) >= first:
            hidden[query, key] = False
            counted.append(query)
    expected = (losses(hidden) - losses(seen))[:, counted].mean(1).numpy()
    rows = answered(asked)["model_scores"].filter(pl.col("sequence").is_not_null(), data="-2")
    np.testing.assert_allclose(rows.sort("sequence")["value"], expected, atol=1e-5)


def test_lags_are_those_of_the_pool_and_the_seed(built):
    asked = lags_of(built[0])
    assert replace(asked).question() == asked.question()
    assert replace(asked, seed=2).question() != asked.question()
