"""Shares of right answers: intervals, and exact tests of pairs."""

from math import comb, sqrt

Z = 1.959963984540054
"""97.5 % point of the normal distribution."""


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
    share, square = n_right / n, Z**2 / n
    middle = (share + square / 2) / (1 + square)
    half = Z / (1 + square) * sqrt(share * (1 - share) / n + square / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)


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
    tail = sum(comb(n, i) for i in range(min(n_lost, n_won) + 1))
    return min(1.0, tail / 2 ** (n - 1)) if n else 1.0
