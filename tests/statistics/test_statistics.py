"""Bootstrap intervals against scipy, their coverage, and their corners."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.comparisons import discoveries, shuffle_p, sign_flip_p, spearman
from analysis.statistics.resampling import (
    N_RESAMPLES,
    STUDENTISED,
    band,
    band_columns,
    bootstrap,
    ratio_of_sums,
)
from analysis.statistics.stability import correlations, rank_interval, resamples

SEEDS = st.integers(0, 2**32 - 1)


def sample(seed: int, shape: tuple[int, ...] = (70, 3)) -> np.ndarray:
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


def covered(draw, truth: float, n: int, interval) -> float:
    """In what share of 3,000 samples of n an interval holds the truth."""
    rng, within = np.random.default_rng(n), 0
    for seed in range(6):
        found = interval(draw(rng, (n, 500)), seed)
        within += ((found.lower <= truth) & (truth <= found.upper)).sum()
    return within / 3000


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(1.5, 2.0, shape)


def exponential(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.exponential(1.5, shape)


SIZES = (8, 16, 32, 50, 64)
"""How many sequences, odd ones or all, the quick profile's intervals rest on."""


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("draw", [normal, exponential])
def test_a_95_percent_interval_covers_the_truth_in_95_percent_of_samples(draw, n):
    """A share of 3,000 errs by .004."""
    assert 0.93 <= covered(draw, 1.5, n, bootstrap) <= 0.97


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("draw", [normal, exponential])
def test_so_does_that_of_a_ratio_of_sums(draw, n):
    """What is divided by varies, too; at 8 an exponential rest is covered in .91 only."""

    def interval(values: np.ndarray, seed: int):
        bottom = np.random.default_rng([seed, n]).gamma(4.0, 0.25, values.shape)
        return ratio_of_sums(bottom * 2 + values - 1.5, bottom, seed)

    found = covered(draw, 2.0, n, interval)
    assert 0.93 <= found <= 0.97 or (draw is exponential and n == 8 and found > 0.9)


def test_what_covers_less_is_known():
    """The figures of the docstring: heavy tails, and shares of which few are positive."""

    def heavy(rng, shape):
        return rng.lognormal(0, 1, shape)

    def share(rng, shape):
        return (rng.random(shape) < 0.3).astype(float)

    assert covered(heavy, np.exp(0.5), 8, bootstrap) == pytest.approx(0.90, abs=0.02)
    assert covered(heavy, np.exp(0.5), 32, bootstrap) == pytest.approx(0.92, abs=0.02)
    assert covered(normal, 1.5, 2, bootstrap) == pytest.approx(0.94, abs=0.02)
    assert covered(normal, 1.5, 3, bootstrap) > 0.97
    assert covered(exponential, 1.5, 4, bootstrap) == pytest.approx(0.92, abs=0.02)
    for n, known in ((2, 0.41), (4, 0.74), (8, 0.94)):
        assert covered(share, 0.3, n, bootstrap) == pytest.approx(known, abs=0.03)


def test_percentiles_would_not_do(monkeypatch):
    """The control of the coverage: what was used before falls short at 8."""
    monkeypatch.setattr("analysis.statistics.resampling.STUDENTISED", 0)
    assert covered(normal, 1.5, 8, bootstrap) < 0.91
    assert covered(exponential, 1.5, 8, bootstrap) < 0.88


def test_sequences_that_share_a_document_count_as_one():
    """16 documents of 4 like sequences: the mean of 64 covers only where documents are drawn."""
    documents = np.repeat(np.arange(16), 4)

    def like(rng, shape):
        n, columns = shape
        return np.repeat(normal(rng, (16, columns)), 4, axis=0) + rng.normal(0, 0.1, (n, columns))

    def by_document(values: np.ndarray, seed: int):
        return bootstrap(values, seed, documents)

    assert 0.93 <= covered(like, 1.5, 64, by_document) <= 0.97
    assert covered(like, 1.5, 64, bootstrap) < 0.75
    values = like(np.random.default_rng(0), (64, 2))
    alone = bootstrap(values, 0, np.arange(64) * 7 - 5)
    for name in ("mean", "lower", "upper", "n"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(bootstrap(values, 0), name))
    same = bootstrap(values, 0, np.zeros(64, int))
    assert same.n.tolist() == [64, 64]
    assert np.isnan(same.lower).all(), "one document has no interval"


@given(seed=SEEDS, n=st.integers(1, 60), share=st.floats(0, 0.9))
def test_a_band_is_numpys(seed, n, share):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 4))
    values[rng.random((n, 4)) < share] = np.nan
    values[0] = 0.5
    expected = np.nanquantile(values, (0.025, 0.975), axis=0)
    np.testing.assert_allclose(band(values), expected, atol=1e-12)
    np.testing.assert_allclose(band(values[:, 0]), expected[:, 0], atol=1e-12)
    frame = pl.DataFrame({"value": values[:, 1], "of": 0}).with_columns(
        pl.col("value").fill_nan(None)
    )
    row = frame.group_by("of").agg(**band_columns("value")).select("lower", "upper").row(0)
    np.testing.assert_allclose(row, expected[:, 1], atol=1e-12)


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


@pytest.mark.parametrize("value", [0.25, 0.1, 1e-9, 1e9 / 3])
@pytest.mark.parametrize("n", [2, 9, STUDENTISED])
def test_a_constant_column_has_an_interval_of_no_width(value, n):
    found = bootstrap(np.full((n, 1), value), 0)
    assert found.upper[0] - found.lower[0] <= 1e-14 * value
    assert found.lower[0] == pytest.approx(value) == found.mean[0]


def test_two_sequences_have_an_interval_far_wider_than_they_are():
    found = bootstrap(np.array([[0.0], [1.0]]), 0)
    assert (found.lower[0], found.mean[0], found.upper[0]) == pytest.approx((-4.5, 0.5, 5.5))


def test_the_data_is_left_as_it_was():
    values = sample(0)
    values[0, 0] = np.nan
    kept = values.copy()
    bootstrap(values, 0)
    np.testing.assert_array_equal(values, kept)


# p


@given(seed=SEEDS, n=st.integers(2, 9))
def test_flipped_signs_are_scipys_permutation_test(seed, n):
    gaps = np.random.default_rng(seed).normal(0.3, 1, n)
    p, size = sign_flip_p(gaps, seed)
    reference = stats.permutation_test(
        (gaps,), np.mean, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )
    assert (p, size) == (pytest.approx(reference.pvalue), 2**n - 1)


def test_drawn_signs_come_near_and_unknown_pairs_count_for_nothing():
    gaps = np.random.default_rng(3).normal(0.3, 1, 40)
    p, size = sign_flip_p(np.append(gaps, np.nan), 0)
    assert size == 9_999
    assert p == pytest.approx(stats.ttest_1samp(gaps, 0, alternative="greater").pvalue, abs=0.01)
    assert sign_flip_p(np.full(3, np.nan), 0) == (1.0, 0)
    assert sign_flip_p(np.zeros(5), 0)[0] == 1.0


def test_shuffled_orders_are_the_null_of_a_rank_correlation():
    first = np.random.default_rng(4).normal(size=9)
    second = first + np.random.default_rng(5).normal(size=9)
    reference = stats.permutation_test(
        (first,),
        lambda x: stats.spearmanr(x, second).statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=999,
        rng=0,
    )
    p, size = shuffle_p(first, second, 0)
    assert p == pytest.approx(reference.pvalue, abs=0.04) and size == 9_999
    assert shuffle_p(first[:4], first[:4], 0)[1] == 23
    assert shuffle_p(first, np.ones(9), 0) == (1.0, 0)


def test_discoveries_are_benjamini_and_hochbergs():
    p = np.array([0.001, 0.2, 0.012, 0.03])
    np.testing.assert_allclose(discoveries(p), [0.004, 0.2, 0.024, 0.04])
    assert discoveries(p[:0]).size == 0


# rank correlations


def ranked_means(rng: np.random.Generator, noise: float, n: int) -> tuple:
    """Values of 12 heads on n items by two measures, and the correlation of their true means."""
    means = rng.normal(size=12)
    others = 0.8 * means + 0.6 * rng.normal(size=12)
    values = (each + noise * rng.normal(size=(n, 12)) for each in (means, others))
    return (*values, spearman(means, others))


@pytest.mark.parametrize(
    ("n", "noise", "least"), [(16, 0.3, 0.9), (32, 1.0, 0.9), (50, 1.0, 0.9), (8, 1.0, 0.7)]
)
def test_an_interval_of_a_rank_correlation_covers_it(n, noise, least):
    """Where a mean's error is a third of the spread of heads, as last, less than .9 is covered."""
    rng, within, percentiles = np.random.default_rng(n), 0, 0
    for _ in range(120):
        first, second, truth = ranked_means(rng, noise, n)
        draws = resamples(n, rng)[:400]
        found = rank_interval(first, second, (draws, draws))
        within += found.lower <= truth <= found.upper
        low, high = np.quantile(correlations(draws @ first, draws @ second), (0.025, 0.975))
        percentiles += low <= truth <= high
    assert within / 120 >= least
    assert percentiles < within


def test_noise_in_either_ranking_widens_the_interval():
    rng = np.random.default_rng(0)
    means = np.linspace(0, 1, 12)
    sure, unsure = (means + noise * rng.normal(size=(20, 12)) for noise in (0.01, 1.0))
    draws = resamples(20, rng), resamples(20, rng)
    widths = {
        name: found.upper - found.lower
        for name, pair in {"no": (sure, sure), "one": (sure, unsure), "two": (unsure, sure)}.items()
        for found in [rank_interval(*pair, draws)]
    }
    assert widths["no"] < 0.1 < min(widths["one"], widths["two"])
    flat = rank_interval(sure, np.ones((20, 12)), draws)
    assert np.isnan(flat).all()
