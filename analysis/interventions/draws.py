"""What a chosen set of heads is compared with: random sets."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice, product
from math import comb, prod

import numpy as np

from analysis.errors import UserError

from .kinds import Head

HeadSet = tuple[Head, ...]
"""Different heads, in order."""


def random_sets(
    heads: Iterable[Head], excluded: Iterable[Head], size: int, n_draws: int, seed: int
) -> list[HeadSet]:
    """Sets drawn among all heads but some: the global baseline of a set of that size.

    Args:
        heads: All heads of the model.
        excluded: Only those that the condition itself ablates.
        size: Heads in every set.
        n_draws: How many sets; all there are, each once, if there are no more.
        seed: Of the draws.

    Returns:
        Different sets, uniformly drawn.

    Raises:
        UserError: Not enough heads are left for one set.
    """
    pool = sorted(set(heads).difference(excluded))
    if len(pool) < size:
        raise UserError(
            f"expected at least {size} heads beside those ablated to draw from, got {len(pool)}; "
            "ablate fewer heads"
        )
    rng = np.random.default_rng(seed)
    return _distinct(
        lambda: _drawn(pool, size, rng), combinations(pool, size), comb(len(pool), size), n_draws
    )


def layer_matched_sets(
    heads: Iterable[Head], top: Iterable[Head], n_draws: int, seed: int
) -> list[HeadSet]:
    """Sets with as many heads in each layer as a set, and none of its heads.

    Args:
        heads: All heads of the model.
        top: The set to match; nothing else is excluded.
        n_draws: How many sets; all there are, each once, if there are no more.
        seed: Of the draws.

    Returns:
        Different sets, uniformly drawn.

    Raises:
        UserError: A layer has too few other heads; a smaller set would be no match.
    """
    chosen = set(top)
    wanted = Counter(head.layer for head in chosen)
    others = sorted(set(heads).difference(chosen))
    pools = {at: [head for head in others if head.layer == at] for at in sorted(wanted)}
    for layer, pool in pools.items():
        if len(pool) < wanted[layer]:
            raise UserError(
                f"expected at least {wanted[layer]} other heads in layer {layer} to match the "
                f"set, got {len(pool)}; ablate fewer heads of it, or compare with global draws"
            )
    rng = np.random.default_rng(seed)
    n_sets = prod(comb(len(pool), wanted[layer]) for layer, pool in pools.items())
    every = product(*(combinations(pool, wanted[layer]) for layer, pool in pools.items()))
    return _distinct(
        lambda: _joined(_drawn(pool, wanted[layer], rng) for layer, pool in pools.items()),
        map(_joined, every),
        n_sets,
        n_draws,
    )


def _distinct(
    draw: Callable[[], HeadSet], every: Iterator[HeadSet], n_sets: int, n_draws: int
) -> list[HeadSet]:
    """All sets if no more are asked, and otherwise drawn ones until enough are different."""
    if n_sets <= n_draws:
        return list(islice(every, n_sets))
    found: dict[HeadSet, None] = {}
    while len(found) < n_draws:
        found[draw()] = None
    return list(found)


def _drawn(pool: Sequence[Head], size: int, rng: np.random.Generator) -> HeadSet:
    return tuple(pool[i] for i in sorted(rng.choice(len(pool), size, replace=False)))


def _joined(parts: Iterable[HeadSet]) -> HeadSet:
    return tuple(head for part in parts for head in part)
