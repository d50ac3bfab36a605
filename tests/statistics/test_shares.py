"""Intervals and exact tests of shares, against scipy."""

import pytest
from scipy.stats import binomtest

from analysis.statistics.comparisons import mcnemar_p, wilson


@pytest.mark.parametrize(("n_right", "n"), [(0, 5), (5, 5), (3, 8), (499, 500), (120, 480)])
def test_wilson_is_scipys(n_right, n):
    expected = binomtest(n_right, n).proportion_ci(method="wilson")
    assert wilson(n_right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("lost", "won"), [(0, 1), (5, 0), (7, 3), (3, 7), (40, 12), (6, 6)])
def test_mcnemar_is_the_binomial_test_of_changes(lost, won):
    assert mcnemar_p(lost, won) == pytest.approx(binomtest(lost, lost + won).pvalue)


def test_nothing_changed_is_no_evidence():
    assert mcnemar_p(0, 0) == 1.0


@pytest.mark.parametrize(("n_right", "n"), [(1, 0), (6, 5), (-1, 5)])
def test_a_share_needs_something_to_be_one_of(n_right, n):
    with pytest.raises(ValueError, match=f"got {n_right} of {n}"):
        wilson(n_right, n)
