"""The three scores of heads, against plain loops and patterns built by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.scores.retrieval import (
    document_scores,
    ndcg,
    ndcg_by_chance,
    retrieval_by_chance,
    retrieval_score,
    summed_attention,
)
from analysis.statistics.comparisons import spearman
from analysis.statistics.stability import (
    jaccard,
    jaccard_by_chance,
    split_half,
    validity,
)

N_KEYS = 12
SEEDS = st.integers(0, 2**32 - 1)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=SEEDS)
def test_summed_attention_is_a_sum_and_uniform_attention_gives_the_share(seed):
    attention = random(seed, 2, 3, N_KEYS).softmax(-1)
    needle = (2, 3, 7)
    found = summed_attention(attention, needle)
    for layer, head in np.ndindex(2, 3):
        expected = sum(float(attention[layer, head, key]) for key in needle)
        assert float(found[layer, head]) == pytest.approx(expected)
    uniform = torch.full((1, N_KEYS), 1 / N_KEYS)
    assert float(summed_attention(uniform, needle)) == pytest.approx(len(needle) / N_KEYS)
    assert float(summed_attention(attention, range(N_KEYS)).max()) == pytest.approx(1)


def copied_by_loops(place, ids, needle, generated) -> float:
    fired = set()
    for step, token in enumerate(generated):
        if int(place[step]) in needle and ids[int(place[step])] == token:
            fired.add(token)
    wanted = {ids[position] for position in needle}
    return len(fired & wanted) / len(wanted)


@given(seed=SEEDS)
def test_retrieval_score_is_the_share_of_the_needle_as_a_set(seed):
    rng = np.random.default_rng(seed)
    ids, needle = rng.integers(4, size=N_KEYS).tolist(), tuple(range(3, 8))
    generated = rng.integers(4, size=6).tolist()
    place = torch.from_numpy(rng.integers(N_KEYS, size=(2, 3, 6)))
    found = retrieval_score(place, ids, needle, generated)
    for head in np.ndindex(2, 3):
        expected = copied_by_loops(place[head], ids, needle, generated)
        assert float(found[head]) == pytest.approx(expected)
    assert float(found.max()) <= 1
    assert float(found.min()) >= 0


def test_a_token_that_is_copied_twice_counts_once():
    """Summing over steps would give 3 / 2."""
    ids, needle, generated = [9, 1, 1, 2], (1, 2, 3), (1, 1, 2)
    everywhere = torch.tensor([[1, 2, 3]])
    assert float(retrieval_score(everywhere, ids, needle, generated)) == 1
    once = torch.tensor([[1, 2, 0]])
    assert float(retrieval_score(once, ids, needle, generated)) == 0.5
    other_token = torch.tensor([[3, 3, 1]])
    assert float(retrieval_score(other_token, ids, needle, generated)) == 0
    outside = torch.tensor([[0, 0, 0]])
    assert float(retrieval_score(outside, [1, 9, 2, 1], (2, 3), generated)) == 0
    with pytest.raises(ValueError, match="expected places at 3 steps, got 1"):
        retrieval_score(torch.tensor([[1]]), ids, needle, generated)


def test_retrieval_by_chance_is_the_mean_over_random_places():
    ids, needle, generated = [9, 1, 1, 2, 4], (1, 2, 3), (1, 7, 1, 2)
    rng = np.random.default_rng(3)
    places = np.stack([rng.integers(len(ids) + step, size=20_000) for step in range(4)], axis=1)
    whole = [*ids, *generated]
    mean = float(retrieval_score(torch.from_numpy(places), whole, needle, generated).mean())
    seen = np.tri(4, 9, len(ids) - 1, dtype=bool)
    assert retrieval_by_chance(seen, ids, needle, generated) == pytest.approx(mean, abs=0.01)
    assert retrieval_by_chance(seen[:2], ids, needle, (7, 8)) == 0
    seen[:, 1:3] = False
    assert retrieval_by_chance(seen, ids, needle, generated) == pytest.approx(1 / 6 / 2)


def test_a_head_that_fired_once_ranks_below_one_that_always_fires():
    """Over firing instances alone, as published code averages, the rare head would win."""
    n, ids, needle = 120, [5, 6, 7], (1, 2)
    rows = []
    for i in range(n):
        rare = [1, 2] if i == 17 else [0, 0]
        always = [1, 0]
        place = torch.tensor([rare, always])
        rows.append(retrieval_score(place, ids, needle, (6, 7)).numpy())
    values = np.array(rows)
    rare, always = values.mean(0)
    assert rare == pytest.approx(1 / n)
    assert always == pytest.approx(1 / 2)
    firing = [column[column > 0].mean() for column in values.T]
    assert firing[0] > firing[1]


def documents_by_loops(asked, null, documents) -> list[float]:
    found = []
    for document in documents:
        gains = [float(asked[key] - null[key]) for key in document]
        if len(gains) == 1:
            found.append(gains[0])
            continue
        mean = sum(gains) / len(gains)
        spread = (sum((g - mean) ** 2 for g in gains) / (len(gains) - 1)) ** 0.5
        found.append(sum(g for g in gains if g > mean - 2 * spread))
    return found


@given(seed=SEEDS)
def test_document_scores_keep_what_is_not_far_below_the_mean(seed):
    asked, null = (random(seed + i, 2, 3, 24).pow(4).softmax(-1) for i in (0, 1))
    documents = (tuple(range(1, 12)), (12,), (13, 14), tuple(range(15, 24)))
    found = document_scores(asked, null, documents)
    for head in np.ndindex(2, 3):
        expected = documents_by_loops(asked[head], null[head], documents)
        np.testing.assert_allclose(found[head].numpy(), expected, atol=1e-12)


def test_an_outlier_is_left_out_and_equal_tokens_are_kept():
    asked = torch.full((1, 10), 0.1)
    asked[0, 4] = -5
    kept = document_scores(asked, torch.zeros(1, 10), [range(10)])
    assert float(kept) == pytest.approx(0.9)
    alike = document_scores(torch.full((1, 7), 0.3), torch.zeros(1, 7), [range(7)])
    assert float(alike) == pytest.approx(2.1)
    assert float(document_scores(asked, asked, [(4,), (1, 2)]).abs().sum()) == 0


def test_ndcg_is_that_of_the_rank():
    scores = torch.tensor([[0.5, 0.1, 0.9, 0.2]])
    for gold, rank in ((2, 1), (0, 2), (3, 3), (1, 4)):
        assert float(ndcg(scores, gold)) == pytest.approx(1 / np.log2(1 + rank))
    assert float(ndcg(torch.zeros(1, 4), 0)) == pytest.approx(1 / np.log2(5))
    many = torch.arange(12.0)[None]
    assert float(ndcg(many, 0)) == 0
    assert float(ndcg(many, 2)) == pytest.approx(1 / np.log2(11))


@pytest.mark.parametrize("n", [1, 4, 15])
def test_ndcg_by_chance_is_its_mean_over_places(n):
    scores = torch.arange(float(n))[None]
    assert ndcg_by_chance(n) == pytest.approx(np.mean([float(ndcg(scores, i)) for i in range(n)]))


def test_stable_scores_come_out_again_and_noise_does_not():
    rng = np.random.default_rng(0)
    means = np.linspace(0, 1, 16)
    clear = means + 0.01 * rng.normal(size=(60, 16))
    noise = rng.normal(size=(60, 16))
    found, other = split_half(clear, 0), split_half(noise, 0)
    assert found is not None
    assert other is not None
    assert found.interval.lower > 0.95
    assert other.interval.lower < 0 < other.interval.upper
    top, random_top = jaccard(clear, 3, 0), jaccard(noise, 3, 0)
    assert top is not None
    assert random_top is not None
    assert top.interval.estimate == 1
    assert random_top.interval.estimate < 0.8
    assert top.chance == jaccard_by_chance(16, 3)


def test_ties_are_no_ranking():
    """Heads that always score the same: any of them may be on top."""
    alike = np.ones((20, 10))
    found = jaccard(alike, 2, 0)
    assert found is not None
    assert found.interval.estimate == pytest.approx(jaccard_by_chance(10, 2), abs=0.08)
    assert split_half(alike, 0) is None
    assert jaccard(alike[:1], 2, 0) is None


@pytest.mark.parametrize(("n_heads", "size"), [(8, 1), (6, 2), (7, 3)])
def test_jaccard_by_chance_is_the_mean_over_draws(n_heads, size):
    rng = np.random.default_rng(1)
    drawn = [[set(rng.permutation(n_heads)[:size]) for _ in range(2)] for _ in range(4000)]
    mean = np.mean([len(a & b) / len(a | b) for a, b in drawn])
    assert jaccard_by_chance(n_heads, size) == pytest.approx(mean, abs=0.02)


def test_validity_is_the_rank_correlation_of_the_means():
    rng = np.random.default_rng(2)
    scores = rng.random(10) + 0.05 * rng.normal(size=(40, 10))
    effects = scores.mean(0) ** 3 + 0.05 * rng.normal(size=(30, 10))
    found = validity(scores, effects, 0)
    assert found is not None
    assert found.interval.estimate == spearman(scores.mean(0), effects.mean(0))
    assert found.interval.lower <= found.interval.estimate <= found.interval.upper
    assert validity(scores, np.ones((30, 10)), 0) is None
    assert validity(scores[:1], effects, 0) is None
