"""Which sets of heads an ablation curve replaces: the top of rankings, and draws beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from math import comb, prod
from typing import Any

import numpy as np

from analysis.errors import UserError
from analysis.interventions import Head, HeadSet
from analysis.questions.verdicts.head_sets import can_judge, heads_below

RANDOM, LAYER_MATCHED = "random", "layer_matched"
FAMILIES = (RANDOM, LAYER_MATCHED)
SINGLE, UPSTREAM = "single", "upstream"
"""Families of which no curve is drawn: every head alone, and random sets with an upstream head."""
JUDGED_LEVEL = 4
"""So many heads, or the curve's first level above, are what sets are judged beside: none of them,
and no head upstream of them, is drawn at any level."""


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """Sets of heads by ranking, level and draw.

    A draw is an order of all heads, the same for every ranking: its set at a level is the first
    heads that are neither in the level's top set, nor judged, nor upstream of those that are, in
    each layer as many as the top set holds there where layers are matched. So a draw has a whole
    curve, every set is drawn uniformly, and rankings that agree share their draws.
    """

    rankings: Mapping[str, tuple[Head, ...]]
    """Heads from the highest score down, by the score's name."""
    heads: tuple[Head, ...]
    """All heads of the model."""
    levels: tuple[int, ...]
    """How many heads are replaced together."""
    upstream: Mapping[str, HeadSet]
    """By ranking heads that are known to lie upstream of the judged ones; none by default."""
    n_draws: int
    seed: int

    def only(self, ranking: str) -> SetPlan:
        """The plan of one ranking, without draws."""
        return replace(self, rankings={ranking: self.rankings[ranking]}, n_draws=0)

    def parameters(self) -> dict[str, Any]:
        """What the plan is made of, as a store key takes it."""
        return {
            "rankings": {name: list(map(str, heads)) for name, heads in self.rankings.items()},
            "levels": list(self.levels),
            "upstream": {name: list(map(str, heads)) for name, heads in self.upstream.items()},
            "n_draws": self.n_draws,
            "draw_seed": self.seed,
        }

    def top(self, ranking: str, level: int) -> HeadSet:
        """The first heads of a ranking, in the order of layers."""
        return tuple(sorted(self.rankings[ranking][:level]))

    @property
    def judged_level(self) -> int:
        """The level whose heads are judged."""
        return next((n for n in self.levels if n >= JUDGED_LEVEL), self.levels[-1])

    def judged(self, ranking: str) -> HeadSet:
        """The heads of a ranking that are judged."""
        return self.top(ranking, self.judged_level)

    def apart(self, ranking: str, level: int) -> set[Head]:
        """Heads that no set beside a level's top set may hold."""
        known = (self.top(ranking, level), self.judged(ranking), self.upstream.get(ranking, ()))
        return {head for heads in known for head in heads}

    @cached_property
    def _orders(self) -> list[tuple[Head, ...]]:
        rng = np.random.default_rng(self.seed)
        return [
            tuple(self.heads[i] for i in rng.permutation(len(self.heads)))
            for _ in range(self.n_draws)
        ]

    def wanted(self, family: str, ranking: str, level: int) -> Mapping[int | None, int]:
        """How many heads are drawn, by layer where layers are matched.

        Raises:
            UserError: A layer, or the model, has too few other heads; a smaller set would be no
                match.
        """
        top = self.top(ranking, level)
        found: Counter[int | None] = Counter(
            head.layer if family == LAYER_MATCHED else None for head in top
        )
        for layer, count in sorted(found.items(), key=str):
            n_others = len(self._pool(layer, self.apart(ranking, level)))
            if n_others < count:
                place = "beside the judged ones" if layer is None else f"in layer {layer}"
                raise UserError(
                    f"expected at least {count} other heads {place} to draw from at level "
                    f"{level} of {ranking}, got {n_others}; ablate fewer heads"
                )
        return found

    def draws(self, family: str, ranking: str, level: int) -> list[HeadSet]:
        """The set of every draw, in the order of draws; sets may repeat."""
        apart, wanted = self.apart(ranking, level), self.wanted(family, ranking, level)
        found: list[HeadSet] = []
        for order in self._orders:
            taken: list[Head] = []
            for layer, count in wanted.items():
                left = [h for h in order if h not in apart and (layer is None or h.layer == layer)]
                taken += left[:count]
            found.append(tuple(sorted(taken)))
        return found

    def distribution(self, family: str, ranking: str, level: int) -> list[HeadSet]:
        """What a level's top set is compared with, each set once: all if no more than draws."""
        apart, wanted = self.apart(ranking, level), self.wanted(family, ranking, level)
        pools = {layer: self._pool(layer, apart) for layer in wanted}
        n_sets = prod(comb(len(pools[layer]), count) for layer, count in wanted.items())
        if n_sets > self.n_draws:
            return _once(self.draws(family, ranking, level))
        every = product(*(combinations(pools[layer], count) for layer, count in wanted.items()))
        return sorted(tuple(sorted(head for part in parts for head in part)) for parts in every)

    def mixed(self, ranking: str) -> list[HeadSet]:
        """Sets at the judged level that hold an upstream head, of as many draws, each once."""
        above = set(self.upstream.get(ranking, ()))
        free = replace(self, upstream={})
        with suppress(UserError):
            sets = free.draws(RANDOM, ranking, self.judged_level)
            return _once([heads for heads in sets if above & set(heads)])
        return []

    def judging(self) -> list[HeadSet]:
        """Random sets of as many heads as are judged, for any ranking, each once."""
        level = self.judged_level
        able = [r for r in self.rankings if level in self.matched_levels(RANDOM, r)]
        return _once([one for r in able for one in self.distribution(RANDOM, r, level)])

    def singles(self) -> list[HeadSet]:
        """Every head alone in models of no more heads than draws, else those below judged ones.

        None in other models where too few sets are drawn to judge anything.
        """
        if len(self.heads) <= self.n_draws:
            return [(head,) for head in self.heads]
        if not can_judge(self.n_draws):
            return []
        below = {h for r in self.rankings for h in heads_below(self.heads, self.judged(r))}
        return [(head,) for head in sorted(below)]

    def matched_levels(self, family: str, ranking: str) -> tuple[int, ...]:
        """Levels at which the family has sets to compare with."""
        return tuple(n for n in self.levels if not self._refusal(family, ranking, n))

    def refusals(self, family: str, ranking: str) -> list[str]:
        """Why the family has nothing to compare with at the other levels."""
        every = [self._refusal(family, ranking, level) for level in self.levels]
        return [reason for reason in every if reason]

    def _refusal(self, family: str, ranking: str, level: int) -> str:
        """Why `wanted` refuses a level; empty where it does not."""
        try:
            self.wanted(family, ranking, level)
        except UserError as error:
            return str(error)
        return ""

    def tops(self) -> list[HeadSet]:
        """Every top set of any ranking, and what all of them share, each once."""
        tops = [self.top(r, level) for r in self.rankings for level in self.levels]
        return _once([*tops, *self.overlaps()])

    def drawn(self, family: str) -> list[HeadSet]:
        """Every set that the family draws for any ranking, each once."""
        found: list[HeadSet] = []
        for ranking in self.rankings:
            for level in self.matched_levels(family, ranking):
                found += self.distribution(family, ranking, level)
                found += self.draws(family, ranking, level)
        return _once(found)

    def overlaps(self) -> list[HeadSet]:
        """Heads that are among the top of all rankings at some level, each set once."""
        if len(self.rankings) < 2:
            return []
        tops = [[set(self.top(ranking, n)) for ranking in self.rankings] for n in self.levels]
        shared = [tuple(sorted(set.intersection(*sets))) for sets in tops]
        return _once([heads for heads in shared if heads])

    def _pool(self, layer: int | None, apart: set[Head]) -> list[Head]:
        return [
            head
            for head in self.heads
            if head not in apart and (layer is None or head.layer == layer)
        ]


def levels_up_to(n_heads: int, levels: Sequence[int]) -> tuple[int, ...]:
    """Levels up to a third of the heads, rounded: the size of a redundant set.

    Raises:
        UserError: The model has fewer than three heads.
    """
    found = tuple(level for level in levels if level <= round(n_heads / 3))
    if not found:
        raise UserError(
            f"expected at least {3 * min(levels)} heads for an ablation curve, got {n_heads}; "
            "choose a larger model"
        )
    return found


def _once(sets: Sequence[HeadSet]) -> list[HeadSet]:
    return sorted(set(sets), key=lambda heads: (len(heads), heads))
