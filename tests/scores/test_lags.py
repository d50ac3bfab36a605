"""Bookkeeping of lags, against plain loops; log odds where p is next to 1."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.scores.lags import (
    by_lag,
    by_slot,
    expected_by_slot,
    item_log_probabilities,
    recall_measures,
)

N = 7


def drawn(seed: int, n_queries: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Log p (sequence, query, slot) of lists that do not hold all the mass, and slots."""
    rng = np.random.default_rng(seed)
    log_p = np.log(rng.dirichlet(np.ones(N + 1), (5, n_queries)))[..., :-1]
    return log_p, rng.integers(0, N, (5, n_queries))


@given(seed=st.integers(0, 2**32 - 1))
def test_lags_are_those_of_plain_loops(seed):
    values, slots = drawn(seed)
    found = by_lag(values, slots)
    for sequence in range(5):
        cells: dict[int, list[float]] = {}
        for query in range(3):
            for slot in range(N):
                lag = slot - slots[sequence, query]
                cells.setdefault(int(lag), []).append(values[sequence, query, slot])
        for lag in range(1 - N, N):
            expected = np.mean(cells[lag]) if lag in cells else np.nan
            np.testing.assert_allclose(found[sequence, lag + N - 1], expected)


@given(seed=st.integers(0, 2**32 - 1))
def test_measures_are_those_of_plain_loops(seed):
    log_p, slots = drawn(seed, 1)
    p = np.exp(log_p)
    odds = np.log(p / (1 - p))
    found = recall_measures(log_p, odds, slots)
    for i, (row, slot) in enumerate(zip(p[:, 0], slots[:, 0], strict=True)):
        after = row[slot + 1] if slot + 1 < N else np.nan
        before = row[slot - 1] if slot > 0 else np.nan
        rank = np.nan if np.isnan(after) else 1 + sum(other > after for other in row)
        recency = np.log(row[-1] / row[0]) if 1 < slot < N - 2 else np.nan
        expected = {
            "mass": row.sum(),
            "successor": after,
            "predecessor": before,
            "log_odds": np.log(after / (1 - after)),
            "log_ratio": np.log(after / before),
            "rank": rank,
            "recency": recency,
        }
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][i], value, err_msg=name)


def test_a_measure_is_the_mean_over_the_queries_that_have_it():
    log_p, slots = drawn(0, 1)
    log_p = np.repeat(log_p, 2, axis=1)
    slots = np.tile([[2, N - 1]], (5, 1))
    found = recall_measures(log_p, log_p, slots)
    np.testing.assert_allclose(found["successor"], np.exp(log_p[:, 0, 3]))
    both = (np.exp(log_p[:, 0, 1]) + np.exp(log_p[:, 1, N - 2])) / 2
    np.testing.assert_allclose(found["predecessor"], both)


@pytest.mark.parametrize("gap", [0.0, 3.0, 25.0, 60.0])
def test_log_odds_are_exact_where_p_is_next_to_1(gap):
    torch.manual_seed(0)
    logits, items = torch.randn(2, 3, 50), torch.tensor([[4, 9, 11], [0, 1, 49]])
    logits[..., 4] += gap
    log_p, odds = item_log_probabilities(logits, items)
    exact = logits.double()
    for row in range(2):
        for query in range(3):
            for slot, item in enumerate(items[row].tolist()):
                others = torch.cat([exact[row, query, :item], exact[row, query, item + 1 :]])
                own = exact[row, query, item]
                expected = own - others.logsumexp(0)
                assert odds[row, query, slot].item() == pytest.approx(expected.item(), abs=1e-4)
                whole = own - exact[row, query].logsumexp(0)
                assert log_p[row, query, slot].item() == pytest.approx(whole.item(), abs=1e-5)


def test_what_depends_on_the_slot_alone_is_expected_by_it():
    """A recency effect and nothing else: the profile is what the slots alone give."""
    rng = np.random.default_rng(0)
    slots = np.array([[i % N] for i in range(3 * N)])
    p = np.broadcast_to(np.linspace(0.01, 0.1, N), (3 * N, 1, N))
    profile = np.nanmean(by_lag(p, slots), 0)
    np.testing.assert_allclose(expected_by_slot(by_slot(p, slots), slots), profile)
    peaked = p.copy()
    for row, (slot,) in enumerate(slots):
        if slot + 1 < N:
            peaked[row, 0, slot + 1] += 0.5 + rng.normal(0, 0.01)
    expected = expected_by_slot(by_slot(peaked, slots), slots)
    np.testing.assert_allclose(expected, profile)
    assert np.nanmean(by_lag(peaked, slots), 0)[N] > 0.5


def test_with_balanced_probes_recency_is_no_succession_and_with_the_middle_alone_it_is():
    """Where p is the last item's, P(+1) and P(-1) differ by 1/n of it; unbalanced, by all."""
    p = np.zeros((N, 1, N))
    p[:, :, -1] = 0.7
    balanced = np.nanmean(by_lag(p, np.arange(N)[:, None]), 0)
    assert balanced[N] - balanced[N - 2] == pytest.approx(0.7 / (N - 1))
    late = by_lag(p, np.full((N, 1), N - 2))
    np.testing.assert_allclose(late[:, N] - late[:, N - 2], 0.7)
