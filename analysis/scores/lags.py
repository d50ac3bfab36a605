"""Recall by lag: how probable every item of a list is after one of them is shown again.

The lag of an item is its slot minus that of the item shown again: +1 is its successor.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

SHARE = 4
"""Recency compares the last quarter of the list with the first."""


def item_log_probabilities(
    logits: Float[Tensor, "row query d_vocab"], items: Int[Tensor, "row slot"]
) -> tuple[Float[Tensor, "row query slot"], Float[Tensor, "row query slot"]]:
    """Of every item of a list as the next token: log p, and log odds log p / (1 - p).

    The odds are exact where p is next to 1: everything but the most probable token is summed
    apart, so that nothing is subtracted from a number that it is close to.

    Args:
        logits: Predictions at the positions that are read.
        items: Token ids of each row's list.

    Returns:
        log p and log odds, in nats.
    """
    wanted = items[:, None].expand(-1, logits.shape[1], -1)
    top = logits.argmax(-1, keepdim=True)
    shifted = logits - logits.gather(-1, top)
    weights = shifted.exp()
    rest = weights.scatter(-1, top, 0.0).sum(-1, keepdim=True)
    own = shifted.gather(-1, wanted)
    others = torch.where(wanted == top, rest, 1 + rest - own.exp())
    return own - rest.log1p(), own - others.log()


def by_lag(
    values: Float[np.ndarray, "sequence query slot"], slots: Int[np.ndarray, "sequence query"]
) -> Float[np.ndarray, "sequence lag"]:
    """Means over queries for every lag from -(n - 1) to n - 1.

    Args:
        values: Of every item, for every query.
        slots: The slot of the item that each query shows again.

    Returns:
        Means, NaN where no query has an item at that lag.
    """
    n_sequences, _, n = values.shape
    n_lags = 2 * n - 1
    lags = np.arange(n) - slots[..., None] + n - 1
    flat = (lags + n_lags * np.arange(n_sequences)[:, None, None]).ravel()
    sums = np.bincount(flat, values.ravel().astype(np.float64), n_sequences * n_lags)
    counts = np.bincount(flat, minlength=n_sequences * n_lags)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means.reshape(n_sequences, n_lags)


def by_slot(
    values: Float[np.ndarray, "sequence query slot"], slots: Int[np.ndarray, "sequence query"]
) -> Float[np.ndarray, "sequence slot"]:
    """Means for every slot over queries that are at least two slots away.

    Args:
        values: Of every item, for every query.
        slots: The slot of the item that each query shows again.

    Returns:
        Means, NaN where all queries are nearer.
    """
    far = np.abs(np.arange(values.shape[2]) - slots[..., None]) > 1
    return _mean(values, far, 1)


def expected_by_slot(
    alone: Float[np.ndarray, "sequence slot"], slots: Int[np.ndarray, "sequence query"]
) -> Float[np.ndarray, " lag"]:
    """The profile that an item's slot alone would give, whatever is shown again.

    Args:
        alone: What `by_slot` gives.
        slots: The slot of the item that each query shows again.

    Returns:
        For every lag, the mean over items at that lag of what their slots have on average; NaN
        where one of these slots has no average.
    """
    everywhere = _mean(alone, ~np.isnan(alone), 0)
    n_queries, n = slots.shape[1], len(everywhere)
    repeated = np.broadcast_to(everywhere, (len(slots), n_queries, n))
    profile = by_lag(repeated, slots)
    return _mean(profile, ~np.isnan(profile), 0)


def recall_measures(
    log_p: Float[np.ndarray, "sequence query slot"],
    log_odds: Float[np.ndarray, "sequence query slot"],
    slots: Int[np.ndarray, "sequence query"],
) -> dict[str, Float[np.ndarray, " sequence"]]:
    """What a list's recall comes to, a number for each sequence.

    Args:
        log_p: Of every item as the next token, for every query.
        log_odds: The same as log p / (1 - p).
        slots: The slot of the item that each query shows again.

    Returns:
        Means over the queries that can test them, NaN where none can:
        `mass`, the probability of all items together; `successor` and `predecessor`, p at lags +1
        and -1; `log_odds` of the successor; `log_ratio`, log p(+1) / p(-1); `rank` of the successor
        among all items, 1 for the most probable; and `recency`, log of the mean p of the last
        quarter of the list over that of the first, items at lags -1 to +1 left out.
    """
    p, lags = np.exp(log_p), np.arange(log_p.shape[2]) - slots[..., None]
    after, before = (_at(log_p, lags, lag) for lag in (1, -1))
    found = {
        "mass": p.sum(2),
        "successor": np.exp(after),
        "predecessor": np.exp(before),
        "log_odds": _at(log_odds, lags, 1),
        "log_ratio": after - before,
        "rank": np.where(np.isnan(after), np.nan, 1 + (log_p > after[..., None]).sum(2)),
        "recency": _recency(p, lags),
    }
    return {name: _mean(values, ~np.isnan(values), 1) for name, values in found.items()}


def _at(values: np.ndarray, lags: np.ndarray, lag: int) -> np.ndarray:
    """Values (sequence, query) at one lag, NaN where it lies outside the list."""
    here = lags == lag
    return np.where(here.any(2), np.where(here, values, 0.0).sum(2), np.nan)


def _recency(p: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Log ratio (sequence, query) of the ends of the list."""
    n = p.shape[2]
    far, size = np.abs(lags) > 1, max(1, n // SHARE)
    ends = (np.arange(n) >= n - size, np.arange(n) < size)
    last, first = (_mean(p, far & end, 2) for end in ends)
    return np.log(last) - np.log(first)


def _mean(values: np.ndarray, counted: np.ndarray, axis: int) -> np.ndarray:
    """Means over one axis of the values that count, NaN where none does."""
    counts = counted.sum(axis)
    sums = np.where(counted, values, 0.0).sum(axis)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
