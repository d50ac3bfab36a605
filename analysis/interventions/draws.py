"""What a chosen set of heads is compared with: random sets, and how surprising it is."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice, product
from math import comb, prod

import numpy as np
from jaxtyping import Float

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
