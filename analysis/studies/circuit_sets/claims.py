"""Claims about a circuit as a whole: is it enough, is it needed, and is each head of it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from analysis.questions.verdicts.head_sets import set_null
from analysis.questions.verdicts.judgement import Evidence, Judgement, Statement
from analysis.questions.verdicts.variants import given, weakest
from analysis.questions.verdicts.verdict import Null, Verdict
from analysis.statistics.comparisons import sign_flip_p
from analysis.statistics.resampling import Interval, central, mean_interval, ratio_of_sums

from .conditions import ALL, CIRCUIT, CIRCUIT_ALONE, MATCHED, MATCHED_ALONE
from .measures import SetRises, rises
from .question import NEEDED, SMALL

FIGURES = {
    "circuit_enough": "02_induction_circuit#faithfulness",
    "circuit_needed": "02_induction_circuit#circuit_heads_alone",
    "circuit_minimal": "02_induction_circuit#circuit_heads_alone",
}

ENOUGH = 0.9
"""Share of what all heads gain on the second copy that a circuit keeps with all others replaced.
The rest is what fine detail of many heads may be worth; circuits drawn as large are the control."""

LEFT = 0.25
"""Less than this share is left with the circuit alone replaced: what goes on without it is no
second circuit that copies as well."""


@dataclass(frozen=True, kw_only=True)
class CircuitSetClaims(Judgement):
    """Is there a small circuit that copies, with every other head replaced?

    It is found on the even sequences and judged on the odd ones, for each way to replace heads.
    """

    version: ClassVar[int] = 2
    chapter: ClassVar[str] = "02_induction_circuit"

    sets: Mapping[str, Evidence]
    """Answers of `CircuitSets`, by method."""

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`."""
        found = {method: rises(answer) for method, answer in self.sets.items()}
        enough = weakest({method: self._enough(found, method) for method in found})
        needed = weakest({method: self._left(found, method) for method in found})
        each = {
            f"{method} {head}": self._adds(found, method, head)
            for method, one in found.items()
            for head in one.kept[CIRCUIT][0]
        }
        minimal = weakest(each)
        verdict = given(Verdict(minimal["verdict"]), Verdict(enough["verdict"]))
        return [enough, needed, {**minimal, "verdict": verdict.value}]

    def _named(self, found: Mapping[str, SetRises]) -> str:
        return "; ".join(f"{m}: {', '.join(one.kept[CIRCUIT][0])}" for m, one in found.items())

    def _enough(self, found: Mapping[str, SetRises], method: str) -> dict[str, Any]:
        one = found[method]
        said = Statement(
            claim="circuit_enough",
            statement=f"At most one in {SMALL} heads is enough to copy: with every other head "
            f"replaced, they keep at least {ENOUGH:g} of what all heads gain on the second copy, "
            f"and more than circuits drawn as large ({self._named(found)})",
            statistic="share of the gain that is kept",
        )
        drawn, circuit = one.of[MATCHED], one.of[CIRCUIT][0]
        own = one.share(circuit)
        gaps = (drawn.mean(0) - circuit) if len(drawn) else np.full_like(own, np.nan)
        return self._beside_sets(said, one, own, (gaps, drawn, ENOUGH))

    def _left(self, found: Mapping[str, SetRises], method: str) -> dict[str, Any]:
        one = found[method]
        said = Statement(
            claim="circuit_needed",
            statement=f"With the circuit alone replaced, more than {1 - LEFT:g} of what all heads "
            "gain on the second copy is lost, and more than with as many other heads replaced "
            f"({self._named(found)})",
            statistic="share of the gain that is lost",
        )
        drawn = one.of[MATCHED_ALONE]
        lost = one.of[CIRCUIT_ALONE][0]
        gaps = (lost - drawn.mean(0)) if len(drawn) else np.full_like(lost, np.nan)
        return self._beside_sets(said, one, lost, (gaps, drawn, 1 - LEFT), lost=True)

    def _beside_sets(
        self,
        said: Statement,
        one: SetRises,
        own: np.ndarray,
        beside: tuple[np.ndarray, np.ndarray, float],
        *,
        lost: bool = False,
    ) -> dict[str, Any]:
        """A share of the gain, beside the same of drawn circuits."""
        gaps, drawn, bar = beside
        floor = one.of[ALL][0]
        shares = np.array([each.sum() / floor.sum() for each in drawn])
        shares = shares if lost else 1 - shares
        estimate = self._ratio(own, floor)
        null, told = set_null(estimate.estimate, shares)
        gain = mean_interval(floor, self.seed)
        if not gain.lower > 0:
            null, told = Null(p=1.0, size=0), "not testable: nothing is gained that could be kept"
        note = f"n = {floor.size}; control: {len(drawn)} circuits drawn as large, 95 %; {told}"
        return self.decided(
            said,
            estimate,
            central(shares),
            (bar, note),
            beyond=self._ratio(gaps, floor),
            null=null,
        )

    def _adds(self, found: Mapping[str, SetRises], method: str, head: str) -> dict[str, Any]:
        one = found[method]
        circuit, floor = one.of[CIRCUIT][0], one.of[ALL][0]
        adds, next_best = one.without(head) - circuit, circuit - one.one_more
        said = Statement(
            claim="circuit_minimal",
            statement=f"Each head of the circuit adds at least {NEEDED:g} of the gain to it, and "
            f"more than the head that was cut last would ({self._named(found)})",
            statistic="share of the gain that is lost without it, too",
        )
        p, size = sign_flip_p(adds - next_best, self.seed)
        return self.decided(
            said,
            self._ratio(adds, floor),
            self._ratio(next_best, floor),
            (NEEDED, f"n = {floor.size}; control: the head that was cut last, added"),
            beyond=self._ratio(adds - next_best, floor),
            null=Null(p=p, size=size),
        )

    def _ratio(self, part: np.ndarray, floor: np.ndarray) -> Interval:
        if np.isnan(part).any():
            return Interval.exactly(np.nan)
        found = ratio_of_sums(part[:, None], floor[:, None], self.seed)
        return found.intervals()[0]
