"""What experiments share that replace sets of heads by one method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from analysis.interventions import Condition, HeadSet, Intervention, Method
from analysis.interventions.heads import parse_heads

from .experiment import Experiment

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
    """What the sets are for: `base`, `single`, `top`, `random`, `layer_matched`."""
    sets: tuple[tuple[str, ...], ...]
    """Heads such as `L1H4`, replaced together; none leaves the model as it is."""
    first_draw: int | None
    """Number of the first set among random draws; None where nothing was drawn."""

    @property
    def n_passes(self) -> int:
        """One pass a set at most, of which the layers below its first head are saved."""
        return 1 + len(self.sets)

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
