"""Does the ranking of heads depend on the text, and by more than on the kind of ablation?

Two kinds on the same rows share those rows' noise, and two texts have none in common. So kinds are
compared over different rows of one text, as texts are: one half against the other, as many rows
each. Noise lowers such a correlation; what it takes is known from each ranking beside itself on
other rows (`Halved.corrected`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from analysis.questions.verdicts.judgement import Statement
from analysis.questions.verdicts.verdict import Null
from analysis.statistics.resampling import Interval, central
from analysis.statistics.stability import (
    Halved,
    drawn_interval,
    exchanged,
    rank_interval,
    resamples,
)

PerHead = Float[np.ndarray, "sequence head"]
HALF = "{}, half of the rows"
"""A measure on every second row, beside others on the rest."""


def on_text(kind: str, text: str) -> str:
    """What a kind is called on another text."""
    return f"{kind} on {text}"


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """A claim on two texts before it is judged."""

    said: Statement
    estimate: Interval
    """How much lower the corrected correlation of both texts is than the least of `zero` with
    another kind."""
    control: Interval
    """The same with rows exchanged between the texts."""
    beyond: Interval
    """The estimate minus the mean control."""
    null: Null
    """Of such exchanges."""
    note: str


@dataclass(frozen=True, kw_only=True)
class TextsBeside:
    """Effects of single heads under `zero` on two texts, and under other kinds on the first."""

    kinds: Mapping[str, PerHead]
    """On the first text, by kind; `zero` is one."""
    second: Float[np.ndarray, "other_sequence head"]
    """`zero` on the second text."""
    texts: tuple[str, str]
    """Both in words."""
    seed: int

    @property
    def n(self) -> int:
        """Rows of each text: as many as the shorter one has."""
        return min(len(self.second), *map(len, self.kinds.values()))

    @cached_property
    def _halved(self) -> dict[str, Halved]:
        """Kinds share their draws, since they share their rows; the other text has its own."""
        return {k: Halved.of(v[: self.n], self._rng(0)) for k, v in self.kinds.items()}

    @cached_property
    def _other(self) -> Halved:
        return Halved.of(self.second[: self.n], self._rng(1))

    def _rng(self, which: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, which))

    def rows(self) -> list[dict[str, Any]]:
        """Rows of `rank_agreements`: both texts, then halves that share no row."""
        first, second = self.kinds["zero"], self.second
        draws = [resamples(len(v), self._rng(i)) for i, v in enumerate((first, second))]
        whole = rank_interval(first, second, (draws[0], draws[1]))
        zero, elsewhere = self._halved["zero"], on_text("zero", self.texts[1])
        found = [self._row("zero", elsewhere, whole)]
        found += [
            self._row(HALF.format("zero"), kind, _correlation(zero.across(other)))
            for kind, other in self._halved.items()
        ]
        across, within = zero.across(self._other), self._other.within
        found.append(self._row(HALF.format("zero"), elsewhere, _correlation(across)))
        found.append(self._row(HALF.format(elsewhere), elsewhere, _correlation(within)))
        return found

    def _row(self, kind: str, other: str, found: Interval) -> dict[str, Any]:
        ends = {"value": found.estimate, "lower": found.lower, "upper": found.upper}
        return {"kind": kind, "other": other, **ends, "n": self.second.shape[1]}

    def weighed(self, others: Sequence[str]) -> Weighed | None:
        """What is claimed of the two texts, and what decides it.

        Args:
            others: Kinds that are expected to rank heads as `zero` does.

        Returns:
            The claim with its numbers; None where no other kind has an order.
        """
        zero = self._halved["zero"]
        between = zero.corrected(self._other)
        gaps = {kind: zero.corrected(self._halved[kind]) - between for kind in others}
        known = {kind: gap for kind, gap in gaps.items() if not np.isnan(gap[0])}
        if not known:
            return None
        least = min(known, key=lambda kind: known[kind][0])
        intervals = [drawn_interval(gap, correlation=False) for gap in known.values()]
        found = Interval(*(float(np.min(ends)) for ends in zip(*intervals, strict=True)))
        drawn, size = exchanged(self.kinds["zero"][: self.n], self.second[: self.n], self.seed)
        control = central(known[least][0] + between[0] - drawn)
        p = (1 + int((~(drawn > between[0])).sum())) / (len(drawn) + 1)
        return Weighed(
            said=self._said(least, list(known)),
            estimate=found,
            control=control,
            beyond=Interval(*(end - control.estimate for end in found)),
            null=Null(p=p, size=size),
            note=self._note(),
        )

    def _said(self, least: str, others: Sequence[str]) -> Statement:
        (first, second), listed = self.texts, ", ".join(f"`{kind}`" for kind in others)
        return Statement(
            claim="text_matters_more_than_kind",
            statement="The ranking of the heads depends on the text more than on what stands in "
            f"for a head: `zero` on {first} agrees less with `zero` on {second} than with each of "
            f"{listed} on {first}",
            statistic="Spearman correlation of KL(base || ablated) over single heads, corrected "
            f"for noise: of `zero` with `{least}` minus that of both texts, over different rows",
        )

    def _note(self) -> str:
        rows = f"{self.n} rows of each text, one half against the other"
        return f"n = {self.second.shape[1]} heads, {rows}; control: rows exchanged between texts"


def _correlation(drawn: Float[np.ndarray, " draw"]) -> Interval:
    return drawn_interval(drawn, correlation=True)
