"""How many tokens are computed at a time: it decides how much memory is needed, and no result."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class _Limit:
    """What this process may hold."""

    tokens: int | None = None


_LIMIT = _Limit()


def limit_tokens(tokens: int | None) -> None:
    """Bound what this process computes at a time.

    Args:
        tokens: Rows times their length in one pass of a model, at most; one row is computed even
            if it is longer. None for what suits each experiment.
    """
    _LIMIT.tokens = tokens


def token_limit() -> int | None:
    """What `limit_tokens` was told last."""
    return _LIMIT.tokens


def rows_at_once(tokens: int, n_tokens: int) -> int:
    """How many rows are computed together.

    Args:
        tokens: What suits the experiment.
        n_tokens: Length of a row.

    Returns:
        At least 1, and within the limit of the process.
    """
    most = tokens if _LIMIT.tokens is None else min(tokens, _LIMIT.tokens)
    return max(1, most // n_tokens)


def alike(lengths: Iterable[int]) -> list[list[int]]:
    """Places of rows of the same length, which are computed together.

    No row is filled up to the length of another: what a model computes of it may depend on how
    long it is (LongRoPE chooses its rotary factors by that).

    Args:
        lengths: Of every row.

    Returns:
        A list of places for each length, in the order in which lengths first occur.
    """
    found: dict[int, list[int]] = defaultdict(list)
    for place, length in enumerate(lengths):
        found[length].append(place)
    return list(found.values())
