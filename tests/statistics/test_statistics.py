"""Bootstrap intervals against scipy, their coverage, and their corners."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.resampling import N_RESAMPLES, bootstrap

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, shape: tuple[int, ...] = (40, 3)) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, size=shape)


@pytest.mark.parametrize("seed", range(3))
def test_means_and_intervals_are_those_of_scipy(seed):
    """Ends of an interval from R resamples err by sqrt(p (1 - p) / R) in rank; allow four times."""
    values = sample(seed)
    found = bootstrap(values, seed)
    np.testing.assert_allclose(found.mean, values.mean(0))
    reference = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", axis=0, rng=seed
    )
    for column in range(3):
        means = reference.bootstrap_distribution[column]
        slack = 4 * np.sqrt(0.025 * 0.975 / N_RESAMPLES)
        for end, share in ((found.lower, 0.025), (found.upper, 0.975)):
            low, high = np.quantile(means, np.clip([share - slack, share + slack], 0, 1))
            assert low <= end[column] <= high
    assert (reference.confidence_interval.low < found.mean).all()


def test_a_95_percent_interval_covers_the_truth_in_95_percent_of_samples():
    """400 normal samples of 60 as columns; a binomial count at .94, give or take 4 sigma."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(4):
        found = bootstrap(rng.normal(1.5, 2.0, (60, 100)), seed)
        covered += ((found.lower <= 1.5) & (found.upper >= 1.5)).sum()
    assert abs(covered / 400 - 0.94) < 4 * np.sqrt(0.94 * 0.06 / 400)


@given(seed=SEEDS)
def test_draws_are_paired_so_that_differences_of_columns_are_differences(seed):
    values = sample(seed, (12, 2))
    shifted = np.column_stack([values[:, 0], values[:, 0] + 3, values[:, 0] - values[:, 1]])
    found = bootstrap(shifted, seed)
    for end in (found.mean, found.lower, found.upper):
        assert end[1] - end[0] == pytest.approx(3)
    alone = bootstrap((values[:, 0] - values[:, 1])[:, None], seed)
    assert found.lower[2] == pytest.approx(alone.lower[0])
    assert found.upper[2] == pytest.approx(alone.upper[0])


@given(seed=SEEDS, scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_intervals_move_and_stretch_with_the_data(seed, scale, shift):
    values = sample(seed, (15, 2))
    before, after = bootstrap(values, seed), bootstrap(values * scale + shift, seed)
    for name in ("mean", "lower", "upper"):
        expected = getattr(before, name) * scale + shift
        np.testing.assert_allclose(getattr(after, name), expected, atol=1e-9)


@given(seed=SEEDS)
def test_the_seed_alone_decides(seed):
    values = sample(seed)
    first, again, other = (bootstrap(values, s) for s in (seed, seed, seed + 1))
    for name in ("mean", "lower", "upper", "n"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.lower != other.lower).any()
    np.testing.assert_array_equal(first.mean, other.mean)


@given(seed=SEEDS)
def test_the_order_of_columns_does_not_matter(seed):
    values = sample(seed)
    order = [2, 0, 1]
    found, permuted = bootstrap(values, seed), bootstrap(values[:, order], seed)
    np.testing.assert_allclose(permuted.upper, found.upper[order])


def test_missing_sequences_count_for_nothing():
    values = sample(0, (30, 2))
    values[::3, 0] = np.nan
    found = bootstrap(values, 0)
    assert found.n.tolist() == [20, 30]
    known = values[~np.isnan(values[:, 0]), 0]
    assert found.mean[0] == pytest.approx(known.mean())
    width = found.upper[0] - found.lower[0]
    expected = 2 * 1.96 * known.std() / np.sqrt(20)
    assert width == pytest.approx(expected, rel=0.25)
    whole = bootstrap(np.column_stack([np.zeros(30), values[:, 1]]), 0)
    assert (whole.lower[1], whole.upper[1]) == (found.lower[1], found.upper[1])


def test_a_column_that_no_sequence_tests_is_nan():
    values = sample(0, (5, 2))
    values[:, 1] = np.nan
    found = bootstrap(values, 0)
    assert found.n.tolist() == [5, 0]
    for end in (found.mean, found.lower, found.upper):
        assert np.isnan(end[1])
        assert not np.isnan(end[0])


@pytest.mark.parametrize("n_missing", [0, 7])
def test_one_sequence_has_a_mean_and_no_interval(n_missing):
    values = np.array([[0.3], *[[np.nan]] * n_missing])
    found = bootstrap(values, 0)
    assert found.n.tolist() == [1]
    assert found.mean[0] == pytest.approx(0.3)
    assert np.isnan(found.lower[0])
    assert np.isnan(found.upper[0])


def test_a_constant_column_has_an_interval_of_no_width():
    found = bootstrap(np.full((9, 1), 0.25), 0)
    assert found.mean[0] == found.lower[0] == found.upper[0] == 0.25


def test_two_sequences_resample_to_either_or_both():
    found = bootstrap(np.array([[0.0], [1.0]]), 0)
    assert (found.lower[0], found.mean[0], found.upper[0]) == (0.0, 0.5, 1.0)


def test_the_data_is_left_as_it_was():
    values = sample(0)
    values[0, 0] = np.nan
    kept = values.copy()
    bootstrap(values, 0)
    np.testing.assert_array_equal(values, kept)
