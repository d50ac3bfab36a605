"""Does a model need the heads that a ranking names to answer from its context?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.progress import Report
from analysis.questions.judgement import Bar, Evidence, Judgement, Statement
from analysis.questions.rows import absence
from analysis.statistics.comparisons import permutation_p, wilson
from analysis.statistics.resampling import Interval, mean_interval
from analysis.studies.kinds.claims import per_head

from .curves import ZERO_QUERY
from .measures import MARGIN, Curves, answerable, area, by_set, chance_of, joined, reason_untestable
from .rankings import validity_row
from .sets import FAMILIES, SetPlan

FIGURES = {
    "retrieval_baseline": "08_retrieval_heads#needle_map",
    "retrieval_*_against_*": "08_retrieval_heads#curves_by_ranking",
    "retrieval_*_specific": "08_retrieval_heads#retrieval_claims_chart",
    "retrieval_*_valid": "08_retrieval_heads#retrieval_claims_chart",
    "retrieval_uniform_is_query_zeroing": "08_retrieval_heads#curves_by_method",
}
AREA = 0.1
"""Top heads cost more than random ones if the area between the curves exceeds this share of all
questions, averaged over the curve."""
JUDGED_LEVEL = 4
"""Specificity is judged at this many heads, or the curve's first level above; others are shown."""
UNRELATED = 0.1
"""Nats a token that text without questions may cost."""
ALIKE = 0.01
"""Nats by which the answers of two equal interventions may differ."""
VALID = 0.3
"""Spearman correlation with the single-head effect from which a ranking is called valid."""
_WORDS = {"random": "random heads", "layer_matched": "random heads of the same layers"}


@dataclass(frozen=True, kw_only=True)
class RetrievalEvidence:
    """What retrieval heads are judged by."""

    plan: SetPlan
    method: str
    """What stands in for heads on the curves."""
    scope: str
    scores: Evidence | None
    """Answer of the experiment that ranks the heads; None where nothing is testable."""
    base: Mapping[str, Evidence]
    """Answers of the model as it is, by fact."""
    curves: Mapping[str, Mapping[str, Evidence]]
    """Answers by family (`top`, `random`, `layer_matched`) and testable fact."""
    kinds: Mapping[str, Mapping[str, Evidence]]
    """Top sets of one ranking under other methods, by method and testable fact."""
    text: Evidence | None
    """Top sets on text without questions; None where nothing is testable."""

    def answers(self) -> Iterator[Evidence]:
        """All of it."""
        for one in (self.scores, self.text):
            if one is not None:
                yield one
        for group in (self.base, *self.curves.values(), *self.kinds.values()):
            yield from group.values()


@dataclass(frozen=True, kw_only=True)
class RetrievalClaims(Judgement):
    """Whether the top heads of rankings are what a model answers by.

    Heads are ranked on training items and judged on test items: names, values and templates that
    they were not ranked on.
    """

    version: ClassVar[int] = 2
    chapter: ClassVar[str] = "08_retrieval_heads"

    evidence: RetrievalEvidence

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Draw the curves, and judge them.

        Returns:
            `claims`; `retrieval_curves` and `ranking_checks` where something is testable,
            `absences` where not.
        """
        claims, frames = [self._baseline()], list[pl.DataFrame]()
        reasons = {f: r for f, a in self.evidence.base.items() if (r := reason_untestable(f, a))}
        absences = [absence(self.card, "retrieval_curves", f, r) for f, r in reasons.items()]
        if answerable(self.evidence.base):
            for ranking in self.evidence.plan.rankings:
                claims += [*self._against(ranking), self._specific(ranking)]
                claims += self._valid(ranking)
                absences += [
                    absence(self.card, f"retrieval_curves {ranking}", family, reason)
                    for family in FAMILIES
                    for reason in self.evidence.plan.refusals(family, ranking)
                ]
            claims += self._kinds()
            frames = self._frames()
        report(1, 1, "")
        found = {"claims": pl.DataFrame(claims, infer_schema_length=None)}
        if frames:
            found["retrieval_curves"] = pl.concat(frames, how="diagonal")
            checks = pl.DataFrame(list(self._checks.values()), infer_schema_length=None)
            if checks.height:
                found["ranking_checks"] = checks.with_columns(model=pl.lit(self.card.model))
        if absences:
            found["absences"] = pl.concat(absences)
        return found

    def runs(self) -> list[str]:
        """The runs that are judged."""
        return [run for answer in self.evidence.answers() for run in answer.runs]

    def question(self) -> dict[str, Any]:
        """The runs that are judged, and the sets that they are read by."""
        parameters = {"evidence": self.runs(), **self.evidence.plan.parameters()}
        return {**super().question(), "parameters": parameters}

    @cached_property
    def _curves(self) -> Curves:
        facts = answerable(self.evidence.base)
        base = {fact: self.evidence.base[fact] for fact in facts}
        return Curves(plan=self.evidence.plan, base=base, families=self.evidence.curves)

    def _frames(self) -> list[pl.DataFrame]:
        """Rows of `retrieval_curves`: of the method, and of the other kinds for one ranking."""
        curves = self._curves
        found = [curves.rows().with_columns(method=pl.lit(self.evidence.method))]
        first = next(iter(self.evidence.plan.rankings))
        plan = self.evidence.plan.only(first)
        for method, answers in self.evidence.kinds.items():
            other = Curves(plan=plan, base=curves.base, families={"top": answers})
            found.append(other.rows().with_columns(method=pl.lit(method)))
        rows = next(iter(curves.base.values()))["retrieval_outcomes"]
        return [
            frame.with_columns(
                model=pl.lit(self.card.model),
                scope=pl.lit(self.evidence.scope),
                n_tokens=pl.lit(int(rows["n_tokens"][0]), pl.Int32),
            )
            for frame in found
        ]

    def _baseline(self) -> dict[str, Any]:
        """Can the model do the task at all?"""
        answers = list(self.evidence.base.values())
        right = by_set(self.evidence.base, "correct")[""]
        chance = float(np.mean([chance_of(answer) for answer in answers]))
        said = Statement(
            claim="retrieval_baseline",
            statement="The model answers questions about a record among others better than by "
            "naming any of the records",
            statistic="share of test questions answered correctly",
        )
        ends = wilson(int(right.sum()), len(right))
        note = f"n = {len(right)}; control: one of the records at random"
        estimate, control = Interval(float(right.mean()), *ends), Interval.exactly(chance)
        return self.decided(said, estimate, control, (chance + MARGIN, note))

    def _against(self, ranking: str) -> Iterator[dict[str, Any]]:
        """Do the top heads cost more answers than draws, over the whole curve?"""
        for family in FAMILIES:
            levels = self.evidence.plan.matched_levels(family, ranking)
            if family not in self.evidence.curves or not levels:
                continue
            top = area(levels, self._curves.top_lost(ranking, levels))
            drawn = area(levels, self._curves.drawn_lost(family, ranking, levels))
            between = mean_interval(top - drawn.mean(0), self.seed)
            draws = drawn.mean(1)
            p = permutation_p(float(top.mean()), draws)
            said = Statement(
                claim=f"retrieval_{ranking}_against_{family}",
                statement=f"Replacing the top heads by {ranking.replace('_', ' ')} costs more "
                f"answers than replacing as many {_WORDS[family]}",
                statistic="area between the curves: share of questions, mean over "
                f"{', '.join(map(str, levels))} heads",
            )
            note = (
                f"n = {len(top)} questions; control: {len(draws)} draws around their mean, 95 %; "
                f"permutation p {p:.3f}"
            )
            band = np.quantile(draws - draws.mean(), (0.025, 0.975))
            around = Interval(0.0, float(band[0]), float(band[1]))
            yield self.decided(said, between, around, (AREA, note))

    def _specific(self, ranking: str) -> dict[str, Any]:
        """Is text without questions spared?"""
        plan, text = self.evidence.plan, self.evidence.text
        if text is None:
            raise ValueError("expected effects on text beside testable questions, got none")
        level = next((n for n in plan.levels if n >= JUDGED_LEVEL), plan.levels[-1])
        name = joined(plan.top(ranking, level))
        said = Statement(
            claim=f"retrieval_{ranking}_specific",
            statement=f"Replacing the top {level} heads by {ranking.replace('_', ' ')} costs text "
            f"without questions less than {UNRELATED} nats a token",
            statistic="loss change on text, negated, nats a token",
        )
        lost = self._curves.log_p["top"][name] - self._curves.log_p["base"][""]
        bar = Bar(threshold=-UNRELATED, control=lost, control_name="a right answer, nats")
        return self.judged(said, -text_losses(text)[name], bar)

    @cached_property
    def _checks(self) -> dict[str, dict[str, Any]]:
        """Rows of `ranking_checks`: does a score say what each head costs alone?

        None in models of more heads than there are draws, since not all are replaced alone.
        """
        names = list(map(str, self.evidence.plan.heads))
        alone = {**self._curves.log_p.get("random", {}), **self._curves.log_p["top"]}
        if self.evidence.scores is None or not alone.keys() >= set(names):
            return {}
        base = self._curves.log_p["base"][""]
        effects = np.stack([base - alone[name] for name in names], axis=1)
        rows = {
            ranking: validity_row(self.evidence.scores, ranking, effects, names, self.seed)
            for ranking in self.evidence.plan.rankings
        }
        return {ranking: row for ranking, row in rows.items() if row is not None}

    def _valid(self, ranking: str) -> Iterator[dict[str, Any]]:
        """Do heads with a high score matter alone?"""
        if ranking not in self._checks:
            return
        row, n_heads = self._checks[ranking], len(self.evidence.plan.heads)
        said = Statement(
            claim=f"retrieval_{ranking}_valid",
            statement=f"Heads with a higher {ranking.replace('_', ' ')} cost more when they are "
            "replaced alone",
            statistic="Spearman correlation with the log probability of right answers that is lost",
        )
        spread = 1.96 / np.sqrt(max(1, n_heads - 1))
        note = f"n = {n_heads} heads, {row['n']} questions; control: unrelated rankings"
        ends = Interval(row["value"], row["lower"], row["upper"])
        yield self.decided(said, ends, Interval(0.0, -spread, spread), (VALID, note))

    def _kinds(self) -> Iterator[dict[str, Any]]:
        """`uniform` is query zeroing, and is not `zero`."""
        kinds = self.evidence.kinds
        if not {"uniform", ZERO_QUERY} <= kinds.keys():
            return
        uniform, query = (by_set(kinds[name], "log_p") for name in ("uniform", ZERO_QUERY))
        zero = self._curves.log_p["top"]
        same = np.max([np.abs(uniform[s] - query[s]) for s in uniform], axis=0)
        other = np.max([np.abs(uniform[s] - zero[s]) for s in uniform], axis=0)
        said = Statement(
            claim="retrieval_uniform_is_query_zeroing",
            statement="Answers are the same whether heads are made uniform or their queries are "
            "set to 0, and not those with the heads zeroed",
            statistic="largest difference of the log probability of a right answer, negated, nats",
        )
        bar = Bar(threshold=-ALIKE, control=-other, control_name="zeroed")
        yield self.judged(said, -same, bar)


def text_losses(text: Evidence) -> dict[str, Float[np.ndarray, " sequence"]]:
    """Loss change on text, nats a token, by the heads that are replaced."""
    names = dict.fromkeys(text["ablations"]["heads"].to_list())
    return dict(zip(names, per_head(text, "loss_change").T, strict=True))
