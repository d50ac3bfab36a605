"""Every question about retrieval heads, at a reader's sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import polars as pl

from analysis.errors import UserError
from analysis.interventions import HeadSet, Method, Pooling
from analysis.interventions.heads import heads_of
from analysis.models.load import Model
from analysis.questions.experiment import Experiment
from analysis.questions.study import Recall, TextStudy
from analysis.questions.verdicts.head_sets import set_names, upstream_heads
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import spread_heads
from analysis.studies.kinds.ablation_sweep import AblationSweep
from analysis.studies.retrieval.answering.decoding import Scope
from analysis.studies.retrieval.answering.items import MAX_NEW
from analysis.text.english import Split
from analysis.text.records import FACTS

from .answering.items import Example
from .choices import RecordChoices
from .claims import AREA, FIGURES, RetrievalClaims, RetrievalEvidence
from .measures import answerable, single_costs
from .ranking.curves import ZERO_QUERY, RetrievalCurves
from .ranking.grid import RetrievalCell
from .ranking.rankings import MEASURED, RetrievalScores, ranking
from .ranking.sets import FAMILIES, RANDOM, SINGLE, UPSTREAM, SetPlan, levels_up_to
from .sizes import SIZES, RetrievalSizes

RANKINGS = ("summed_attention", "retrieval_score", "qr_score")
"""Scores that heads are ranked by; the first is the one that kinds are compared on."""
KINDS = (Method.MEAN.value, Method.RESAMPLE.value, Method.UNIFORM.value, ZERO_QUERY)
"""What stands in for heads beside `zero`."""
N_RECORDS = 4
"""Records in a context: chance is one in as many."""
MANY_HEADS = 500
"""From so many heads on, levels are those of published curves."""
LARGE_LEVELS = (5, 10, 20, 30, 40, 50)


@dataclass(frozen=True)
class RetrievalStudy(TextStudy[RetrievalSizes]):
    """Which heads fetch an answer from its context, and does the model need them?"""

    SIZES = SIZES
    FIGURES = FIGURES

    @property
    def n_tokens(self) -> int:
        """Length of prompts, no longer than the context allows."""
        return min(self.sizes.n_tokens, self._longest)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of the heat map and the grid."""
        return tuple(dict.fromkeys(min(n, self._longest) for n in self.sizes.lengths))

    @property
    def _longest(self) -> int:
        return self.asked.card.n_ctx - MAX_NEW

    @property
    def levels(self) -> tuple[int, ...]:
        """How many heads are replaced together: up to a third of the model's."""
        n_heads = sum(self.asked.card.heads_by_layer)
        many = n_heads >= MANY_HEADS
        return levels_up_to(n_heads, LARGE_LEVELS if many else self.sizes.levels)

    def scores(self) -> RetrievalScores:
        """Which heads retrieve, on training items."""
        return RetrievalScores(
            **self.asked.drawn(bos=self.asked.with_bos),
            n_tokens=self.n_tokens,
            n_records=N_RECORDS,
            n_items=self.sizes.n_detection,
        )

    def base(self, fact: str, n_tokens: int, n_items: int) -> RetrievalCurves:
        """What the model as it is answers."""
        return self._curves((fact, n_tokens, n_items), "base", ((),), Method.ZERO.value)

    def top(self, asked: tuple[str, int, int], plan: SetPlan, method: str) -> RetrievalCurves:
        """What is answered without the top heads of rankings.

        Args:
            asked: Fact, length of prompts, and number of items.
            plan: Which sets.
            method: What stands in.
        """
        return self._curves(asked, "top", plan.tops(), method)

    def drawn(self, asked: tuple[str, int, int], plan: SetPlan, family: str) -> RetrievalCurves:
        """The same without random heads, or each alone; a plan may have no set of a family."""
        sets = plan.singles() if family == SINGLE else plan.drawn(family)
        if family == UPSTREAM:
            sets = [heads for ranking in plan.rankings for heads in plan.mixed(ranking)]
        return self._curves(asked, family, list(dict.fromkeys(sets)), Method.ZERO.value)

    def choices(self, example: Example) -> RecordChoices:
        """Which record's answer the model as it is finds most probable, and what it says."""
        return RecordChoices(
            **self.asked.drawn(bos=self.asked.with_bos),
            n_tokens=self.n_tokens,
            n_records=N_RECORDS,
            n_items=self.sizes.n_items,
            begins_with=example.value,
        )

    def _curves(
        self, asked: tuple[str, int, int], family: str, sets: Sequence[HeadSet], method: str
    ) -> RetrievalCurves:
        fact, n_tokens, n_items = asked
        return RetrievalCurves(
            **self.asked.drawn(bos=self.asked.with_bos),
            split=Split.TEST.value,
            fact=fact,
            n_tokens=n_tokens,
            n_records=N_RECORDS,
            n_items=n_items,
            method=method,
            pooling=Pooling.PER_POSITION.value,
            scope=Scope.BOTH.value,
            family=family,
            sets=set_names(sets),
            first_draw=0 if family in (*FAMILIES, UPSTREAM) else None,
        )

    def plan(self, scores: Evidence | None, chosen: pl.Expr = MEASURED) -> SetPlan:
        """Which heads are replaced.

        Args:
            scores: Answer of `RetrievalScores`; None for a plan without rankings.
            chosen: Items that heads are ranked on: all, where those that judge are others.
        """
        card, rankings = self.asked.card, dict[str, HeadSet]()
        if scores is not None:
            rankings = {name: tuple(ranking(scores, name, chosen)) for name in RANKINGS}
        return SetPlan(
            rankings=rankings,
            heads=heads_of(card),
            levels=self.levels,
            upstream={},
            n_draws=self.sizes.n_draws,
            seed=self.asked.seed,
        )

    def text(self, plan: SetPlan, family: str) -> AblationSweep:
        """What text without questions loses without the top heads, or without random ones."""
        sets = plan.tops() if family == "top" else plan.judging()
        return AblationSweep(
            **self.asked.ablated(),
            method=Method.ZERO.value,
            pooling=Pooling.PER_POSITION.value,
            positions=None,
            family=family,
            sets=set_names(sets),
            first_draw=None if family == "top" else 0,
        )

    def evidence(self, recall: Recall) -> RetrievalEvidence:
        """What retrieval heads are judged by; nothing is ablated on what is not testable."""
        asked = {fact: (fact, self.n_tokens, self.sizes.n_items) for fact in FACTS}
        base = {fact: recall(self.base(*asked[fact])) for fact in FACTS}
        facts = answerable(base)
        examples = (each for each in Example if self._fits(self.choices(each)))
        choices = {each.value: recall(self.choices(each)) for each in examples}
        if not facts:
            return RetrievalEvidence(
                plan=self.plan(None),
                method=Method.ZERO.value,
                scope=Scope.BOTH.value,
                scores=None,
                base=base,
                choices=choices,
                curves={},
                kinds={},
                text={},
            )
        scores = recall(self.scores())
        plan = self.plan(scores)
        alone = {f: self.drawn(asked[f], plan, SINGLE) for f in facts}
        single = {f: recall(one) for f, one in alone.items() if one.sets}
        costs = single_costs(base, single)
        above = {r: upstream_heads(costs, plan.judged(r), AREA) for r in plan.rankings}
        plan = replace(plan, upstream=above)
        curves = {
            "top": {f: recall(self.top(asked[f], plan, "zero")) for f in facts},
            **({SINGLE: single} if single else {}),
        }
        for family in (*FAMILIES, UPSTREAM):
            if self.drawn(asked[facts[0]], plan, family).sets:
                curves[family] = {f: recall(self.drawn(asked[f], plan, family)) for f in facts}
        first = plan.only(RANKINGS[0])
        texts = (self.text(plan, family) for family in ("top", RANDOM))
        return RetrievalEvidence(
            plan=plan,
            method=Method.ZERO.value,
            scope=Scope.BOTH.value,
            scores=scores,
            base=base,
            choices=choices,
            curves=curves,
            kinds={m: {f: recall(self.top(asked[f], first, m)) for f in facts} for m in KINDS},
            text={one.family: recall(one) for one in texts if one.sets},
        )

    def _fits(self, asked: RecordChoices) -> bool:
        """Whether prompts leave room for an answer: an example makes them longer."""
        longest = max(len(one.ids) for one in asked.prompts)
        return longest + MAX_NEW <= self.asked.card.n_ctx

    def claims(self, evidence: RetrievalEvidence) -> RetrievalClaims:
        """What holds of retrieval heads."""
        return RetrievalClaims(card=self.asked.card, seed=self.asked.seed, evidence=evidence)

    def heat(self) -> Iterator[RetrievalCurves]:
        """Questions at every length, for the model as it is."""
        for n_tokens in self.lengths:
            for fact in FACTS:
                yield self.base(fact, n_tokens, self.sizes.n_per_length)

    def cell(
        self, recall: Recall, fact: str, n_tokens: int, families: Sequence[str]
    ) -> RetrievalCell:
        """One cell of the grid, its parts answered.

        Args:
            recall: Answers a question.
            fact: Which is asked about.
            n_tokens: Length of the prompts.
            families: What the top sets are compared with: some of `FAMILIES`, or nothing.

        Raises:
            UserError: The model has no room for prompts of that length.
        """
        if not 0 < n_tokens <= self._longest:
            raise UserError(
                f"expected lengths up to {self._longest}, the context of "
                f"{self.asked.card.name} less {MAX_NEW} for the answer, got {n_tokens}; choose "
                "shorter ones"
            )
        asked = (fact, n_tokens, self.sizes.n_per_length)
        base = recall(self.base(*asked))
        curves: Mapping[str, Evidence] = {}
        plan = self.plan(None)
        if answerable({fact: base}):
            plan = self.plan(recall(self.scores()))
            drawn = [family for family in families if plan.drawn(family)]
            curves = {
                "top": recall(self.top(asked, plan, "zero")),
                **{family: recall(self.drawn(asked, plan, family)) for family in drawn},
            }
        return RetrievalCell(
            card=self.asked.card,
            seed=self.asked.seed,
            plan=plan,
            method=Method.ZERO.value,
            scope=Scope.BOTH.value,
            fact=fact,
            base=base,
            curves=curves,
        )

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """No absence is sure.

        Raises:
            UserError: The questions do not fit the context or the tokenizer.
        """
        del model
        for one in (*self.heat(), self.scores()):
            one.data()
        return []

    def expected(self) -> Iterator[Experiment]:
        """Curves of every fact, as if some questions about each were answered.

        Rankings agree, and no head lies upstream of another.
        """
        yield self.scores()
        ranked = spread_heads(self.asked.card)
        plan = replace(self.plan(None), rankings=dict.fromkeys(RANKINGS, ranked))
        first = plan.only(RANKINGS[0])
        for fact in FACTS:
            asked = (fact, self.n_tokens, self.sizes.n_items)
            yield self.top(asked, plan, "zero")
            yield from (self.drawn(asked, plan, family) for family in (SINGLE, *FAMILIES))
            yield from (self.top(asked, first, kind) for kind in KINDS)
        yield from (self.text(plan, family) for family in ("top", RANDOM))

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on retrieval; none in too short a context, as the chapter says."""
        with suppress(UserError):
            for one in self.heat():
                recall(one)
            yield recall(self.claims(self.evidence(recall)))
            for n_tokens in self.lengths:
                for fact in FACTS:
                    recall(self.cell(recall, fact, n_tokens, ()))


STUDY = RetrievalStudy
