"""How many tokens are computed at a time: it decides how much memory is needed, and no result."""

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
