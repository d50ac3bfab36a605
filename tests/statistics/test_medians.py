"""Medians and their intervals, and how many sequences a mean rests on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import quantile_test

from analysis.statistics.medians import LEAST, effective_n, median_interval, n_for_width

DRAWS = {
    "normal": (lambda rng, n: rng.normal(1, 2, n), 1.0),
    "log-normal": (lambda rng, n: rng.lognormal(0, 2, n), 1.0),
    "two heaps": (lambda rng, n: rng.choice([-1.0, 1.0], n, p=[0.4, 0.6]), 1.0),
    "Cauchy": (lambda rng, n: rng.standard_cauchy(n), 0.0),
}


@pytest.mark.parametrize("n", [6, 12, 32, 224])
@pytest.mark.parametrize("name", DRAWS)
def test_an_interval_covers_the_median_in_at_least_95_percent_of_samples(name, n):
    """Whatever the shape; 2,000 samples err by .005. Ranks are whole: at 32 it is .98."""
    draw, median = DRAWS[name]
    rng = np.random.default_rng(n)
    intervals = [median_interval(draw(rng, n)) for _ in range(2000)]
    covered = np.mean([low <= median <= high for _, low, high in intervals])
    assert covered > 0.94
    assert covered < 0.99 or name == "two heaps"


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(LEAST, 300))
def test_its_ends_are_scipys(seed, n):
    values = np.random.default_rng(seed).normal(size=n)
    found = median_interval(values)
    assert found.estimate == np.median(values)
    ends = quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    assert found[1:] == (ends.low, ends.high)


def test_what_is_missing_counts_for_nothing_and_too_few_have_no_interval():
    values = np.array([3.0, np.nan, 1.0, 2.0])
    assert median_interval(values).estimate == 2
    assert np.isnan(median_interval(values)[1:]).all()
    assert np.isnan(median_interval(np.full(3, np.nan))).all()
    assert values[0] == 3


def test_no_value_moves_a_median_far():
    values = np.arange(21.0)
    ruled = np.where(values == 20, 1e9, values)
    assert median_interval(ruled) == median_interval(values)


def test_effective_n_at_its_ends():
    columns = np.array([[1.0, 1.0, 5.0, 0.0], [1.0, 0.0, 5.0, 0.0], [1.0, 0.0, np.nan, 0.0]])
    found = effective_n(columns)
    np.testing.assert_allclose(found[:3], [3, 1, 2])
    assert np.isnan(found[3])


def test_effective_n_is_how_noisy_a_weighted_mean_is():
    """Its variance is that of so many equal sequences."""
    rng = np.random.default_rng(0)
    weights = rng.lognormal(0, 1.5, 100)
    means = rng.normal(size=(20_000, 100)) @ weights / weights.sum()
    assert means.var() == pytest.approx(1 / effective_n(weights[:, None])[0], rel=0.05)


def test_a_width_is_reached_with_about_as_many_sequences():
    assert n_for_width(100, 2.0, 1.0) == 400
    assert n_for_width(100, 0.5, 1.0) == 100
    rng = np.random.default_rng(0)
    widths = {
        n: np.mean([np.ptp(median_interval(rng.normal(size=n))[1:]) for _ in range(300)])
        for n in (50, 200)
    }
    assert n_for_width(50, widths[50], widths[200]) == pytest.approx(200, rel=0.25)
