"""Induction on a random block shown twice, its control, and whether the model copies."""

import numpy as np
import polars as pl
import pytest
import torch

from analysis.models.load import load_model
from analysis.studies.atlas.induction_scores import TEXT_SHUFFLED, TEXT_TWICE, InductionScores
from analysis.text.sources import read_source
from tests.questions.test_experiments import each, every, patterns, silent


@pytest.fixture(scope="module")
def repeats(worded) -> InductionScores:
    return InductionScores(model=str(worded), n_sequences=5, block_len=9, max_shift=3, seed=4)


@pytest.fixture(scope="module")
def repeated(repeats):
    return repeats.run(silent)


def test_induction_data_is_a_block_twice_and_its_control_a_permutation(repeats):
    twice, shuffled, *_ = (tokens.ids for tokens in repeats.data())
    assert twice.shape == shuffled.shape == (5, 19)
    for ids in (twice, shuffled):
        assert (ids[:, 0] == 0).all()
        assert np.isin(ids[:, 1:], repeats.pool.ids).all()
        assert all(len(set(row)) == 9 for row in ids[:, 1:10].tolist())
    assert (twice[:, 1:10] == twice[:, 10:]).all()
    assert (np.sort(shuffled[:, 1:10]) == np.sort(shuffled[:, 10:])).all()
    assert (shuffled[:, 1:10] != shuffled[:, 10:]).any(1).all()


def test_pieces_of_text_are_shown_after_themselves_and_in_random_order_first(repeats):
    *_, twice, shuffled = (tokens.ids for tokens in repeats.data())
    documents = read_source("reference", repeats.seed, 5_000).documents
    text = [i for document in documents for i in repeats.vocabulary.encode(document)]
    joined = " ".join(map(str, text))
    assert all(" ".join(map(str, row)) in joined for row in twice[:, 1:10].tolist())
    assert (twice[:, 1:10] == twice[:, 10:]).all()
    assert (twice[:, 10:] == shuffled[:, 10:]).all()
    assert (np.sort(shuffled[:, 1:10]) == np.sort(shuffled[:, 10:])).all()
    assert (shuffled[:, 1:10] != shuffled[:, 10:]).any()


def test_induction_scores_are_those_of_the_patterns(repeats, repeated, worded):
    model = load_model(str(worded))
    for data, tokens in zip(("repeated", "shuffled"), repeats.data()[:2], strict=True):
        found = patterns(model, tokens.ids)
        expected = torch.stack([found[..., 9 + k, k + 1] for k in range(1, 9)]).mean(0)
        values = each(repeated["head_scores"], score="induction", data=data)
        np.testing.assert_allclose(values, expected.numpy(), atol=1e-6)
        rows = every(repeated["head_scores"], score="induction", data=data)
        chance = np.mean([1 / (9 + k + 1) for k in range(1, 9)])
        np.testing.assert_allclose(rows["chance"].to_numpy(), chance)
        lag = repeated["head_profiles"].filter(data=data, lag=0).sort("layer", "head")
        for column in ("value", "lower", "upper", "n"):
            np.testing.assert_allclose(lag[column].to_numpy(), rows[column].to_numpy())
    assert sorted(repeated["head_profiles"]["lag"].unique()) == list(range(-3, 4))


def test_copying_is_measured_on_either_copy(repeats, repeated, worded):
    """The second copy's first token, which nothing announces, counts for neither."""
    net = load_model(str(worded)).net
    named = ("repeated", "shuffled", TEXT_TWICE, TEXT_SHUFFLED)
    for data, tokens in zip(named, repeats.data(), strict=True):
        ids = torch.from_numpy(tokens.ids).long()
        with torch.no_grad():
            logprobs = net(ids).logits.log_softmax(-1)
        loss = -logprobs[:, :-1].gather(2, ids[:, 1:, None])[..., 0].numpy()
        first, second = loss[:, :9].mean(1), loss[:, 10:].mean(1)
        frame = repeated["model_scores"].filter(pl.col("sequence").is_not_null(), data=data)
        for name, expected in (
            ("first_copy_loss", first),
            ("second_copy_loss", second),
            ("second_minus_first_loss", second - first),
        ):
            found = frame.filter(score=name).sort("sequence")["value"].to_numpy()
            np.testing.assert_allclose(found, expected, atol=1e-5)
