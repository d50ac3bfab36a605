"""What experiments share that replace sets of heads by one method, and what sets are judged by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from analysis.errors import UserError
from analysis.interventions import Condition, Head, HeadSet, Intervention, Method, random_sets
from analysis.interventions.heads import parse_heads
from analysis.questions.experiment import Experiment
from analysis.statistics.comparisons import permutation_p
from analysis.statistics.resampling import central

from .verdict import Null

UNIT = 64
"""Conditions that are stored together: what an interruption can lose."""


@dataclass(frozen=True, kw_only=True)
class HeadSets(Experiment):
    """A question about sets of heads, each replaced together and apart from the others."""

    untouched: ClassVar[str] = "base"
    """What a set without heads is called, which leaves the model as it is."""

    method: str
    """A value of `Method`."""
    family: str
    """What the sets are for: `base`, `single`, `top`, `random`, `layer_matched`, or `upstream`:
    random sets that hold a head which is known to lie upstream."""
    sets: tuple[tuple[str, ...], ...]
    """Heads such as `L1H4`, replaced together; none leaves the model as it is."""
    first_draw: int | None
    """Number of the first set among random draws; None where nothing was drawn."""

    @property
    def replacing(self) -> Method:
        """What stands in."""
        return Method(self.method)

    @property
    def acting_at(self) -> tuple[int, ...] | None:
        """Positions of queries or keys, as the method says; None for all."""
        return None

    def heads(self, names: Sequence[str]) -> HeadSet:
        """A set's heads.

        Raises:
            UserError: A head is not of this model.
        """
        return parse_heads(names, self.card)

    def conditions(self) -> tuple[Condition, ...]:
        """One condition a set."""
        at, found = self.acting_at, list[Condition]()
        place = "" if at is None else f" @{','.join(map(str, at))}"
        for i, names in enumerate(self.sets):
            one = Intervention(method=self.replacing, heads=self.heads(names), positions=at)
            draw = None if self.first_draw is None else self.first_draw + i
            which = "" if draw is None else f" {self.family} {draw}"
            name = f"{self.method}{place} {','.join(names)}{which}" if names else self.untouched
            acting = (one,) if names else ()
            found.append(Condition(name=name, family=self.family, interventions=acting, draw=draw))
        return tuple(found)

    def units(self) -> Sequence[Experiment]:
        """Up to `UNIT` sets at a time."""
        return [
            replace(
                self,
                sets=self.sets[start : start + UNIT],
                first_draw=None if self.first_draw is None else self.first_draw + start,
            )
            for start in range(0, len(self.sets), UNIT)
        ]


def set_names(sets: Iterable[HeadSet]) -> tuple[tuple[str, ...], ...]:
    """Sets of heads by name, as experiments take them."""
    return tuple(tuple(map(str, heads)) for heads in sets)


def can_judge(n_sets: int) -> bool:
    """Whether so many different random sets are enough for a verdict."""
    return Null(p=1.0, size=n_sets).allows


def heads_below(heads: Iterable[Head], judged: Iterable[Head]) -> list[Head]:
    """Heads in earlier layers than every judged one: what may lie upstream of all of them."""
    lowest = min(head.layer for head in judged)
    return [head for head in heads if head.layer < lowest]


def upstream_heads(
    costs: Mapping[Head, float], judged: Iterable[Head], bar: float
) -> tuple[Head, ...]:
    """Heads that are known to lie upstream of what is judged, and so cannot be its control.

    Args:
        costs: What replacing each head alone costs, for the heads that were replaced alone.
        judged: The set that is judged.
        bar: What the set must cost.

    Returns:
        Those in earlier layers than every judged head that cost at least the bar alone, in order.
    """
    return tuple(sorted(h for h in heads_below(costs, judged) if costs[h] >= bar))


def drawn_beside(
    heads: Iterable[Head],
    excluded: tuple[Iterable[Head], Iterable[Head]],
    size: int,
    n_draws: int,
    seed: int,
) -> tuple[list[HeadSet], list[HeadSet]]:
    """Random sets to judge a set by, and those that cannot since they hold an upstream head.

    Args:
        heads: What is drawn among.
        excluded: The judged heads, and those upstream of them.
        size: Heads in every set.
        n_draws: How many sets are drawn; all there are, each once, if there are no more.
        seed: Of the draws.

    Returns:
        Different sets without upstream heads, none where too few heads are left; and, of as many
        draws among all but the judged heads, those that hold an upstream one.
    """
    judged, above = (set(part) for part in excluded)
    every, null, mixed = list(heads), list[HeadSet](), list[HeadSet]()
    with suppress(UserError):
        null = random_sets(every, judged | above, size, n_draws, seed)
    with suppress(UserError):
        drawn = random_sets(every, judged, size, n_draws, seed)
        mixed = [heads for heads in drawn if above & set(heads)]
    return null, mixed


def set_null(
    judged: float, drawn: Float[np.ndarray, " set"], size: int | None = None
) -> tuple[Null, str]:
    """What different random sets say of a judged one.

    Args:
        judged: What the judged set costs; larger is more.
        drawn: What every other set costs, each set once.
        size: How many of them differ, if not all do.

    Returns:
        The null, and a note of its p, or that there are too few for one.
    """
    n = drawn.size if size is None else size
    p = permutation_p(judged, drawn) if drawn.size and not np.isnan(judged) else 1.0
    null = Null(p=p, size=n)
    return null, f"permutation p {p:.2g}" if null.allows else f"{n} sets are too few for a p"


def mixture(
    sets: Sequence[tuple[Iterable[str], float]], upstream: Iterable[str]
) -> list[dict[str, str | int | float]]:
    """What random sets cost by the upstream heads that they hold.

    Args:
        sets: Names of the heads of each, and what it costs.
        upstream: Names of the heads that are known to lie upstream.

    Returns:
        Rows of `upstream heads in the set`, `sets`, `mean cost`, and the `lower` and `upper` end
        of 95 % of them: sets without any first, then those with some, and then each kind of these.
    """
    above, found = set(upstream), defaultdict[str, list[float]](list)
    for heads, cost in sets:
        held = ", ".join(sorted(above.intersection(heads)))
        for name in (held, "any") if held else ("none",):
            found[name].append(cost)
    ordered = sorted(found.items(), key=lambda each: (each[0] != "none", -len(each[1]), each[0]))
    rows = [(name, len(costs), central(np.array(costs))) for name, costs in ordered]
    columns = ("upstream heads in the set", "sets", "mean cost", "lower", "upper")
    return [dict(zip(columns, (name, n, *ends), strict=True)) for name, n, ends in rows]
