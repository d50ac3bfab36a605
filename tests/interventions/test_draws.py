"""Random sets are different, of the asked shape and fair; p-values are what their names say."""

from collections import Counter
from itertools import chain, combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.interventions.draws import layer_matched_sets, random_sets
from analysis.statistics.comparisons import holm, permutation_p

HEADS = [Head(layer, head) for layer in range(3) for head in range(4)]
MANY = [Head(layer, head) for layer in range(3) for head in range(8)]
TOP = [Head(0, 1), Head(2, 0), Head(2, 3)]
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(np.array)


def by_layer(heads) -> Counter[int]:
    return Counter(head.layer for head in heads)


@pytest.mark.parametrize("seed", range(3))
def test_random_sets_are_different_and_hold_none_of_the_excluded(seed):
    found = random_sets(HEADS, TOP, 3, 50, seed)
    assert len(found) == len({frozenset(each) for each in found}) == 50
    for each in found:
        assert len(set(each)) == 3
        assert list(each) == sorted(each)
        assert set(each) <= set(HEADS) - set(TOP)


@pytest.mark.parametrize("seed", range(3))
def test_layer_matched_sets_have_the_layers_of_the_top(seed):
    found = layer_matched_sets(MANY, TOP, 50, seed)
    assert len(set(found)) == 50
    for each in found:
        assert by_layer(each) == by_layer(TOP)
        assert not set(each) & set(TOP)


@pytest.mark.parametrize("n_draws", [3, 7, 8, 9, 1000])
def test_where_there_are_few_sets_each_is_there_once(n_draws):
    """The layers of TOP leave 3 heads for one place and 2 for two: 3 sets; and C(9, 8) = 9."""
    matched = layer_matched_sets(HEADS, TOP, n_draws, 0)
    assert len(set(matched)) == len(matched) == 3
    every = {(Head(0, head), Head(2, 1), Head(2, 2)) for head in (0, 2, 3)}
    assert set(matched) == every
    drawn = random_sets(HEADS, TOP, 8, n_draws, 0)
    assert len(set(drawn)) == len(drawn) == min(n_draws, 9)


def test_every_set_is_as_likely_as_any_other():
    """300 draws of 5 of the 66 pairs: each is expected 22.7 times, give or take 4.6."""
    counts = Counter(chain.from_iterable(random_sets(HEADS, [], 2, 5, seed) for seed in range(300)))
    assert len(counts) == comb(12, 2)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_draws_depend_on_the_seed_alone():
    assert random_sets(HEADS, TOP, 3, 20, 1) == random_sets(reversed(HEADS), set(TOP), 3, 20, 1)
    assert random_sets(HEADS, TOP, 3, 20, 1) != random_sets(HEADS, TOP, 3, 20, 2)
    matched = [layer_matched_sets(MANY, TOP, 9, seed) for seed in (1, 1, 2)]
    assert matched[0] == matched[1] != matched[2]


def test_a_pool_that_is_too_small_is_refused_rather_than_shrunk():
    with pytest.raises(UserError, match=r"at least 2 other heads in layer 1 .* got 1; ablate"):
        layer_matched_sets(HEADS[:7], [Head(0, 0), Head(1, 0), Head(1, 1)], 5, 0)
    with pytest.raises(UserError, match=r"at least 10 heads beside those ablated .* got 9; ablate"):
        random_sets(HEADS, TOP, 10, 5, 0)


@given(seed=st.integers(0, 2**32 - 1), top=st.integers(0, 10))
def test_a_permutation_p_value_is_that_of_scipy(seed, top):
    random = np.random.default_rng(seed).integers(0, 10, 49).astype(float)
    draws = iter(random)
    expected = stats.monte_carlo_test(
        [float(top)],
        rvs=lambda size: np.array([next(draws) for _ in range(size[0])])[:, None],
        statistic=lambda x, axis: x.mean(axis),
        n_resamples=49,
        alternative="greater",
        vectorized=True,
    )
    assert permutation_p(float(top), random) == pytest.approx(expected.pvalue)


def test_a_permutation_p_value_is_uniform_if_the_top_is_one_of_the_draws():
    """With R draws it is k / (R + 1) for the k-th largest of R + 1 equal in kind."""
    values = np.random.default_rng(0).normal(size=20)
    found = [permutation_p(values[i], np.delete(values, i)) for i in range(20)]
    np.testing.assert_allclose(sorted(found), np.arange(1, 21) / 20)


@pytest.mark.parametrize(
    ("top", "random"), [(1.0, []), (1.0, [np.nan, 2]), (np.nan, [1.0]), (np.nan, [])]
)
def test_a_permutation_p_value_of_nothing_is_refused(top, random):
    with pytest.raises(ValueError, match="expected numbers and at least 1 draw"):
        permutation_p(top, np.array(random, dtype=float))


@given(p=P_VALUES)
def test_holm_is_bonferroni_closed_over_all_intersections(p):
    """A hypothesis falls if Bonferroni rejects every set of hypotheses that it is in."""
    tests = range(len(p))
    subsets = list(chain.from_iterable(combinations(tests, k + 1) for k in tests))
    expected = [
        max(min(1.0, len(subset) * p[list(subset)].min()) for subset in subsets if i in subset)
        for i in tests
    ]
    np.testing.assert_allclose(holm(p), expected)


def test_holm_by_hand():
    """.01 * 4, .03 * 2 under the .02 * 3 before it, and .05 at least as much as those."""
    found = holm(np.array([0.03, 0.01, 0.05, 0.02]))
    np.testing.assert_allclose(found, [0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([])).shape == (0,)


@given(p=P_VALUES, seed=st.integers(0, 99))
def test_holm_keeps_the_order_of_tests_and_its_input(p, seed):
    order, before = np.random.default_rng(seed).permutation(len(p)), p.copy()
    np.testing.assert_array_equal(holm(p[order]), holm(p)[order])
    assert (holm(p) >= p).all()
    np.testing.assert_array_equal(p, before)
