"""Tests and ranks: shares of right answers, changed pairs, chosen sets beside random ones."""

from importlib import import_module
from math import factorial
from typing import Any

import numpy as np
from jaxtyping import Float

N_FLIPS = 9_999
"""Draws of signs: enough for a p of .0001."""


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share.

    Args:
        n_right: How many of them.
        n: Of how many, at least 1.

    Returns:
        Its ends, in [0, 1].

    Raises:
        ValueError: There is nothing to take a share of.

    Source:
        Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    if not 0 <= n_right <= n or n < 1:
        raise ValueError(f"expected a share of at least 1, got {n_right} of {n}")
    interval = _scipy().binomtest(n_right, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_p(n_lost: int, n_won: int) -> float:
    """How probable it is that pairs change so unevenly if either change is as likely.

    Args:
        n_lost: Items that are right before and wrong after.
        n_won: Items that are wrong before and right after.

    Returns:
        The exact two-sided p, in (0, 1]; 1 if nothing changes.

    Source:
        McNemar 1947, "Note on the Sampling Error of the Difference Between Correlated
        Proportions or Percentages", with the binomial distribution itself.
    """
    n = n_lost + n_won
    return float(_scipy().binomtest(n_lost, n).pvalue) if n else 1.0


def spearman(estimated: Float[np.ndarray, " n"], exact: Float[np.ndarray, " n"]) -> float:
    """Rank correlation of an estimate with what it estimates.

    Args:
        estimated: Estimates.
        exact: What was measured, in the same order.

    Returns:
        Pearson correlation of ranks, ties sharing their mean rank, in [-1, 1]; NaN where all of
        one are equal.

    Source:
        Spearman 1904, "The Proof and Measurement of Association between Two Things".
    """
    a, b = (ranks - ranks.mean() for ranks in (ranked(estimated), ranked(exact)))
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else np.nan


def permutation_p(top: float, random: Float[np.ndarray, " draw"]) -> float:
    """How probable it is that a random set does at least as much as the chosen one.

    Args:
        top: What the chosen set does; larger is more.
        random: What each random set does.

    Returns:
        (1 + number of draws at least as large) / (draws + 1), in (0, 1].

    Raises:
        ValueError: There are no draws, or some value is not a number.

    Source:
        Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero".
    """
    if random.size == 0 or np.isnan(random).any() or np.isnan(top):
        raise ValueError(f"expected numbers and at least 1 draw, got {top} and {random}")
    return (1 + int((random >= top).sum())) / (random.size + 1)


def sign_flip_p(gaps: Float[np.ndarray, " pair"], seed: int) -> tuple[float, int]:
    """How probable as large a mean difference is if either sign of every pair is as likely.

    Args:
        gaps: Differences of pairs; NaN where a pair has none.
        seed: Of the signs that are drawn where not all can be tried.

    Returns:
        One-sided p in (0, 1], and how many other choices of signs it comes from; (1, 0) without
        any pair.

    Source:
        Fisher 1935, "The Design of Experiments", section 21.
    """
    known = gaps[~np.isnan(gaps)]
    n = known.size
    if 2**n <= N_FLIPS:
        signs = 1 - 2 * (np.arange(2**n)[1:, None] >> np.arange(n) & 1)
    else:
        signs = 1 - 2 * np.random.default_rng(seed).integers(2, size=(N_FLIPS, n))
    slack = 1e-12 * np.abs(known).sum()  # equal sums in another order
    reached = int((signs @ known >= known.sum() - slack).sum())
    return (1 + reached) / (len(signs) + 1), len(signs)


def shuffle_p(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], seed: int
) -> tuple[float, int]:
    """How probable as large a rank correlation is if the rankings have nothing to do with another.

    Args:
        first: What ranks some things.
        second: What ranks the same things besides.
        seed: Of the orders that are drawn.

    Returns:
        One-sided p in (0, 1], and how many other orders it comes from; (1, 0) where all of one are
        equal.

    Source:
        Pitman 1937, "Significance Tests Which May be Applied to Samples from any Populations. II".
    """
    a, b = (ranks - ranks.mean() for ranks in (ranked(first), ranked(second)))
    if not a.any() or not b.any():
        return 1.0, 0
    n = min(N_FLIPS, factorial(min(a.size, 10)) - 1)
    orders = np.random.default_rng(seed).permuted(np.tile(b, (n, 1)), axis=1)
    reached = int((orders @ a >= a @ b - 1e-9).sum())
    return (1 + reached) / (n + 1), n


def discoveries(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P-values adjusted so that of those below a level no larger share is false on average.

    Args:
        p: One for each test, in [0, 1].

    Returns:
        Adjusted p-values in the same order, at most 1.

    Source:
        Benjamini & Hochberg 1995, "Controlling the False Discovery Rate".
    """
    return _scipy().false_discovery_control(p) if p.size else p


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P-values adjusted so that any false rejection among all tests is as rare as the level says.

    Args:
        p: One for each test, in [0, 1].

    Returns:
        Adjusted p-values in the same order, at most 1.

    Source:
        Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    order = np.argsort(p, kind="stable")
    steps = np.arange(p.size, 0, -1) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def ranked(values: Float[np.ndarray, "*row place"]) -> Float[np.ndarray, "*row place"]:
    """Ranks along the last axis, from 1; equal values share the mean of theirs."""
    return _scipy().rankdata(values, axis=-1)


def _scipy() -> Any:
    """Imported late: a stored answer needs none of it, and it takes half a second."""
    return import_module("scipy.stats")
