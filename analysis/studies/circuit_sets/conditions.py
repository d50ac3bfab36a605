"""What is replaced: the circuit's complement, the circuit, and all that stands beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import numpy as np

from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Head,
    HeadSet,
    Intervention,
    Method,
    layer_matched_sets,
    random_sets,
)


class Goal(Enum):
    """What heads are chosen for."""

    ENOUGH = "gates, enough"
    """All other heads are replaced, and as much as can be is to be left."""

    NEEDED = "gates, needed"
    """They alone are replaced, and as little as can be is to be left."""


USUAL_CIRCUIT = 8
"""Heads of a circuit whose work is estimated before it is known."""
ORDERS = 3
"""Random orders of all heads, of which the first few are kept: what any set of a size does."""

CIRCUIT, PATH, OTHER, MATCHED = "circuit", "eliminated", "other half", "matched"
ATTENTION, GRADIENT, CHANCE = "by attention", "by gradient", "by chance"
ALL, BUT_ONE = "all", "circuit but one"
ALL_SHUFFLED, CIRCUIT_SHUFFLED = "all, second copy shuffled", "circuit, second copy shuffled"
"""The same with stand-ins that say nothing of a copy."""
CIRCUIT_ALONE, MATCHED_ALONE = "circuit replaced", "matched replaced"
DOSES = {
    "circuit replaced by a quarter": 0.25,
    "circuit replaced by half": 0.5,
    "circuit replaced by three quarters": 0.75,
}
"""How far z goes from what heads read to its stand-in."""
ALONE = {CIRCUIT_ALONE, MATCHED_ALONE, Goal.NEEDED.value, *DOSES}
"""Families of conditions that replace a set alone; of all others a set is kept."""


@dataclass(frozen=True)
class Replaced:
    """Heads that are replaced together."""

    heads: HeadSet
    condition: Condition
    share: float = 1.0
    """How far each goes from what it reads to its stand-in."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """All that is measured of a model by one method."""

    method: Method
    every: HeadSet
    path: Sequence[HeadSet]
    """What was kept after each cut, from all heads to none."""
    other: Sequence[HeadSet]
    """The same of the other half of the sequences."""
    circuit: HeadSet
    ranked: Mapping[str, Sequence[Head]]
    """All heads by `ATTENTION` and by `GRADIENT`, from the top."""
    gated: Mapping[Goal, Sequence[HeadSet]]
    """What gates chose, from each start."""
    n_draws: int
    seed: int

    def all(self) -> Iterator[Replaced]:
        """Every condition."""
        yield self._replaced(ALL, self.every, "none kept")
        yield self._kept(CIRCUIT, self.circuit)
        yield from self._parts()
        for kept in self.path[1:-1]:
            yield self._kept(PATH, kept)
        size = len(self.circuit)
        yield self._kept(OTHER, next(kept for kept in self.other if len(kept) <= size))
        for family, ranked in self.ranked.items():
            for n in sizes(len(self.every)):
                yield self._kept(family, ranked[:n])
        for i, kept in enumerate(self.gated[Goal.ENOUGH]):
            yield self._kept(Goal.ENOUGH.value, kept, i)
        for i, heads in enumerate(self.gated[Goal.NEEDED]):
            yield self._alone(Goal.NEEDED.value, heads, i)
        yield from self._drawn()

    def shuffled(self) -> Iterator[Replaced]:
        """What is run with stand-ins from blocks whose second copy is in random order."""
        yield self._replaced(ALL_SHUFFLED, self.every, ALL_SHUFFLED)
        yield self._kept(CIRCUIT_SHUFFLED, self.circuit)

    def _parts(self) -> Iterator[Replaced]:
        """The circuit without each of its heads, and replaced alone, wholly and in part."""
        for head in self.circuit:
            kept = [one for one in self.circuit if one != head]
            yield self._replaced(BUT_ONE, self._others(kept), f"circuit without {head}")
        yield self._alone(CIRCUIT_ALONE, self.circuit)
        for family, share in DOSES.items():
            yield self._alone(family, self.circuit, share=share)

    def _drawn(self) -> Iterator[Replaced]:
        """Random orders, and circuits of other heads, as many in each layer where there are."""
        rng = np.random.default_rng(self.seed)
        for draw in range(ORDERS):
            order = rng.permutation(len(self.every))
            for n in sizes(len(self.every)):
                yield self._kept(CHANCE, [self.every[i] for i in order[:n]], draw)
        for draw, kept in enumerate(self._matched()):
            yield self._kept(MATCHED, kept, draw)
            yield self._alone(MATCHED_ALONE, kept, draw)

    def _matched(self) -> list[HeadSet]:
        with suppress(UserError):
            return layer_matched_sets(self.every, self.circuit, self.n_draws, self.seed)
        with suppress(UserError):
            n = len(self.circuit)
            return random_sets(self.every, self.circuit, n, self.n_draws, self.seed)
        return []

    def _others(self, kept: Collection[Head]) -> HeadSet:
        return tuple(head for head in self.every if head not in kept)

    def _kept(self, family: str, kept: Sequence[Head], draw: int | None = None) -> Replaced:
        name = f"{family}, {_joined(sorted(kept))} kept"
        return self._replaced(family, self._others(kept), name, draw)

    def _alone(
        self, family: str, heads: HeadSet, draw: int | None = None, share: float = 1.0
    ) -> Replaced:
        return self._replaced(family, heads, f"{family}, {_joined(heads)}", draw, share)

    def _replaced(
        self, family: str, heads: HeadSet, name: str, draw: int | None = None, share: float = 1.0
    ) -> Replaced:
        one = Intervention(method=self.method, heads=heads, positions=None)
        which = f"{name} {self.method.value}" + ("" if draw is None else f" {draw}")
        named = Condition(name=which, family=family, interventions=(one,), draw=draw)
        return Replaced(heads, named, share)


def _joined(heads: Sequence[Head]) -> str:
    return ",".join(map(str, heads))


def sizes(n_heads: int) -> list[int]:
    """How many heads are kept on the curves: powers of two, below all."""
    return [2**i for i in range(n_heads.bit_length()) if 2**i < n_heads]


def usual_sets(n_heads: int, n_cuts: int, n_starts: int, n_draws: int) -> int:
    """How many conditions there are where a usual number of heads makes the circuit.

    Args:
        n_heads: Of the model.
        n_cuts: How often heads are cut.
        n_starts: How often gates are learned.
        n_draws: Circuits drawn beside the circuit.
    """
    fixed = 4 + len(DOSES) + USUAL_CIRCUIT + n_cuts
    return fixed + (2 + ORDERS) * len(sizes(n_heads)) + 2 * n_starts + 2 * n_draws
