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
from analysis.questions.rows import absence
from analysis.questions.verdicts.head_sets import set_null
from analysis.questions.verdicts.judgement import Bar, Evidence, Judgement, Statement
from analysis.questions.verdicts.variants import weakest
from analysis.questions.verdicts.verdict import Null
from analysis.statistics.comparisons import shuffle_p, wilson
from analysis.statistics.resampling import Interval, central, mean_interval
from analysis.studies.kinds.claims import per_head

from .answering.items import Example
from .choices import preferred
from .measures import MARGIN, Curves, answerable, area, by_set, chance_of, joined, reason_untestable
from .ranking.rankings import item_values, validity_row
from .ranking.sets import FAMILIES, RANDOM, SINGLE, SetPlan

FIGURES = {
    "retrieval_baseline": "08_retrieval_heads#needle_map",
    "retrieval_prefers": "08_retrieval_heads#choices_table",
    "retrieval_against_*": "08_retrieval_heads#curves_by_ranking",
    "retrieval_specific": "08_retrieval_heads#retrieval_claims_chart",
    "retrieval_valid": "08_retrieval_heads#retrieval_claims_chart",
}
AREA = 0.1
"""Top heads cost more than random ones if the area between the curves exceeds this share of all
questions, averaged over the curve; heads below them that cost as much alone are upstream."""
UNRELATED = 0.1
"""Nats a token that text without questions may cost."""
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
    choices: Mapping[str, Evidence]
    """Answers of `RecordChoices` by a value of `Example`."""
    curves: Mapping[str, Mapping[str, Evidence]]
    """Answers by family (`top`, `random`, `layer_matched`, `single`, `upstream`) and testable
    fact."""
    kinds: Mapping[str, Mapping[str, Evidence]]
    """Top sets of one ranking under other methods, by method and testable fact."""
    text: Mapping[str, Evidence]
    """Sets on text without questions: `top`, and `random` ones of as many heads as are judged."""

    def answers(self) -> Iterator[Evidence]:
        """All of it."""
        if self.scores is not None:
            yield self.scores
        for group in (
            self.base,
            self.choices,
            self.text,
            *self.curves.values(),
            *self.kinds.values(),
        ):
            yield from group.values()


@dataclass(frozen=True, kw_only=True)
class RetrievalClaims(Judgement):
    """Whether the top heads of rankings are what a model answers by.

    Heads are ranked on training items and judged on test items: names, values and templates that
    they were not ranked on.
    """

    version: ClassVar[int] = 4
    chapter: ClassVar[str] = "08_retrieval_heads"

    evidence: RetrievalEvidence

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Draw the curves, and judge them.

        Returns:
            `claims`; `retrieval_curves` and `ranking_checks` where something is testable,
            `absences` where not.
        """
        claims, frames = [self._baseline(), *self._prefers()], list[pl.DataFrame]()
        reasons = {f: r for f, a in self.evidence.base.items() if (r := reason_untestable(f, a))}
        absences = [absence(self.card, "retrieval_curves", f, r) for f, r in reasons.items()]
        if answerable(self.evidence.base):
            rankings = self.evidence.plan.rankings
            for family in FAMILIES:
                claims.append(weakest({r: self._against(r, family) for r in rankings}))
            claims.append(weakest({ranking: self._specific(ranking) for ranking in rankings}))
            valid = {ranking: self._valid(ranking) for ranking in self._checks}
            claims += [weakest(valid)] if valid else []
            for ranking in rankings:
                absences += [
                    absence(self.card, f"retrieval_curves {ranking}", family, reason)
                    for family in FAMILIES
                    for reason in self.evidence.plan.refusals(family, ranking)
                ]
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
            f"naming any of the records, by at least {MARGIN:.0%} of the questions",
            statistic="share of test questions answered correctly",
        )
        ends = wilson(int(right.sum()), len(right))
        note = f"n = {len(right)}; control: one of the records at random"
        estimate, control = Interval(float(right.mean()), *ends), Interval.exactly(chance)
        return self.decided(said, estimate, control, (chance + MARGIN, note))

    def _prefers(self) -> Iterator[dict[str, Any]]:
        """Is the right record's answer more probable than the others', said or not?"""
        if Example.NONE.value not in self.evidence.choices:
            return
        found = preferred(self.evidence.choices[Example.NONE.value])
        n, chance = found.height, found["chance"].to_numpy().mean()
        said = Statement(
            claim="retrieval_prefers",
            statement="Of the answers that the records of a context give, the model finds the "
            "right one most probable, whatever it says first, more often than by chance, by at "
            f"least {MARGIN:.0%} of the questions",
            statistic="share of test questions whose right answer has the largest log probability",
        )
        right = int(found["right"].sum())
        estimate, control = Interval(right / n, *wilson(right, n)), Interval.exactly(float(chance))
        note = f"n = {n}; control: one of the records at random"
        yield self.decided(said, estimate, control, (float(chance) + MARGIN, note))

    def _against(self, ranking: str, family: str) -> dict[str, Any]:
        """Do the top heads cost more answers than draws, over the levels that can tell?"""
        plan = self.evidence.plan
        matched = plan.matched_levels(family, ranking) if family in self.evidence.curves else ()
        n_sets = {level: len({*plan.draws(family, ranking, level)}) for level in matched}
        telling = [level for level, n in n_sets.items() if Null(p=1.0, size=n).allows]
        levels = telling or matched or plan.levels
        size = min(n_sets[n] for n in telling) if telling else max(n_sets.values(), default=0)
        top = area(levels, self._curves.top_lost(ranking, levels))
        drawn = np.full((0, top.size), np.nan)
        if matched:
            drawn = area(levels, self._curves.drawn_lost(family, ranking, levels))
        draws = drawn.mean(1)
        null, told = set_null(float(top.mean()), draws, size)
        between = mean_interval(top - (drawn.mean(0) if matched else np.nan), self.seed)
        said = Statement(
            claim=f"retrieval_against_{family}",
            statement="Replacing the top heads, whichever score ranks them, costs at least "
            f"{AREA:.0%} of the questions more than replacing as many {_WORDS[family]}",
            statistic="area between the curves, share of questions",
        )
        note = (
            f"mean over {', '.join(map(str, levels))} heads; n = {len(top)} questions; control: "
            f"{len(draws)} draws around their mean, 95 %, {'at least' if telling else 'at most'} "
            f"{size} different sets at a level; {told}"
        )
        around = central(draws - draws.mean()) if matched else Interval.exactly(np.nan)
        return self.decided(said, between, around, (AREA, note), beyond=between, null=null)

    def _specific(self, ranking: str) -> dict[str, Any]:
        """Is text without questions spared?"""
        plan, losses = self.evidence.plan, text_losses(self.evidence.text["top"])
        level = plan.judged_level
        own = losses[joined(plan.judged(ranking))]
        among = np.full_like(own, np.nan)
        if RANDOM in self.evidence.text and level in plan.matched_levels(RANDOM, ranking):
            drawn = text_losses(self.evidence.text[RANDOM])
            sets = plan.distribution(RANDOM, ranking, level)
            among = np.mean([drawn[joined(heads)] for heads in sets], axis=0)
        said = Statement(
            claim="retrieval_specific",
            statement=f"Replacing the top {level} heads, whichever score ranks them, costs text "
            f"without questions less than {UNRELATED} nats a token, and less than random heads do",
            statistic="loss change on text, negated, nats a token",
        )
        name = "mean over random sets of as many heads"
        return self.judged(said, -own, Bar(threshold=-UNRELATED, control=-among, control_name=name))

    @cached_property
    def _effects(self) -> Float[np.ndarray, "question head"] | None:
        """What every head costs alone, as the log probability of right answers that is lost."""
        names = list(map(str, self.evidence.plan.heads))
        alone = self._curves.log_p.get(SINGLE, {})
        if not alone.keys() >= set(names):
            return None
        base = self._curves.log_p["base"][""]
        return np.stack([base - alone[name] for name in names], axis=1)

    @cached_property
    def _checks(self) -> dict[str, dict[str, Any]]:
        """Rows of `ranking_checks`: does a score say what each head costs alone?

        None in models of more heads than there are draws, since not all are replaced alone.
        """
        effects, names = self._effects, list(map(str, self.evidence.plan.heads))
        if effects is None or self.evidence.scores is None:
            return {}
        rows = {
            ranking: validity_row(self.evidence.scores, ranking, effects, names, self.seed)
            for ranking in self.evidence.plan.rankings
        }
        return {ranking: row for ranking, row in rows.items() if row is not None}

    def _valid(self, ranking: str) -> dict[str, Any]:
        """Do heads with a high score matter alone?"""
        row, n_heads = self._checks[ranking], len(self.evidence.plan.heads)
        if self._effects is None or self.evidence.scores is None:
            raise ValueError(f"expected a ranking that was checked, got {ranking}")
        said = Statement(
            claim="retrieval_valid",
            statement="Heads with a higher score, whichever it is, cost more when they are "
            f"replaced alone: ranks correlate by at least {VALID:g}",
            statistic="Spearman correlation with the log probability of right answers that is lost",
        )
        known, values = item_values(self.evidence.scores, ranking)
        order = [self.evidence.plan.heads.index(head) for head in known]
        p, size = shuffle_p(values.mean(0), self._effects[:, order].mean(0), self.seed)
        null = Null(p=p, size=size)
        told = f"p {p:.2g}" if null.allows else f"{size} orders are too few for a p"
        note = f"n = {n_heads} heads, {row['n']} questions; control: other orders of them; {told}"
        ends = Interval(row["value"], row["lower"], row["upper"])
        none = Interval.exactly(0.0)
        return self.decided(said, ends, none, (VALID, note), beyond=ends, null=null)


def text_losses(text: Evidence) -> dict[str, Float[np.ndarray, " sequence"]]:
    """Loss change on text, nats a token, by the heads that are replaced."""
    names = dict.fromkeys(text["ablations"]["heads"].to_list())
    return dict(zip(names, per_head(text, "loss_change").T, strict=True))
