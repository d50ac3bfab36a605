"""Every question about recall by lag, at a reader's sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from analysis.errors import UserError
from analysis.interventions import Head, Method
from analysis.interventions.heads import heads_of
from analysis.models.load import Model
from analysis.questions.asked import Profile
from analysis.questions.experiment import Experiment
from analysis.questions.halves import heads_by_score
from analysis.questions.study import Recall, TextStudy
from analysis.questions.verdicts.head_sets import (
    can_judge,
    drawn_beside,
    heads_below,
    set_names,
    upstream_heads,
)
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import spread_heads
from analysis.studies.atlas.study import AtlasStudy
from analysis.text.lists import Design, Shown, max_words

from .claims import DROP, FIGURES, LONGEST, Case, LagClaims, LagEvidence, judged_size, single_costs
from .question import LagProfiles, Layers

METHODS = (Method.ZERO, Method.UNIFORM, Method.MEAN, Method.RESAMPLE)
"""What stands in for the heads."""
SET_SIZES = (1, 5, 10, 20, 50)
"""Heads ablated together, up to a third of those that there are."""


@dataclass(frozen=True, kw_only=True)
class LagSizes:
    """How many lists one profile measures."""

    n_words: int
    """In a list."""
    n_permutations: int
    """Orders of each list."""
    n_longer: int
    """Permutations of lists of other lengths."""
    everywhere: bool
    """Whether random sets of all sizes stand beside the heads in every case; otherwise of all
    sizes where probed lists lose heads of any layer to zeros, and of the judged size in what
    differs from that in one respect."""


PLAIN = Case(Design.PROBE.value, Method.ZERO.value, Layers.ALL.value)
SIZES = {
    Profile.TINY: LagSizes(n_words=16, n_permutations=6, n_longer=4, everywhere=False),
    Profile.QUICK: LagSizes(n_words=50, n_permutations=32, n_longer=16, everywhere=False),
    Profile.FULL: LagSizes(n_words=100, n_permutations=300, n_longer=100, everywhere=True),
}
LENGTHS = (10, 30, 100, 300)
"""Words in a list, beside the longest that fits the context."""


@dataclass(frozen=True)
class LagStudy(TextStudy[LagSizes]):
    """How does recall of a list depend on lag, and which heads does it take?"""

    SIZES = SIZES
    FIGURES = FIGURES

    @cached_property
    def n_words(self) -> int:
        """Words in the list: the profile's, or as many as fit where it is shown twice."""
        return min(self.sizes.n_words, self._longest(Design.SERIAL))

    def _longest(self, design: Design) -> int:
        return max_words(self.asked.vocabulary, design, self.asked.card.n_ctx)

    def layers(self) -> tuple[Layers, ...]:
        """Parts of the model: all layers, and its halves where it has an even number of them."""
        return tuple(Layers) if self.asked.card.n_layers % 2 == 0 else (Layers.ALL,)

    def cases(self) -> tuple[Case, ...]:
        """Under which heads of the largest induction scores are ablated."""
        return tuple(
            Case(design.value, method.value, layers.value)
            for design in Design
            for method in METHODS
            for layers in self.layers()
        )

    def drawn_cases(self) -> tuple[Case, ...]:
        """Those that random sets stand beside: all, or what differs from `PLAIN` in one respect."""
        apart = 3 if self.sizes.everywhere else 1
        return tuple(
            case
            for case in self.cases()
            if sum(one != other for one, other in zip(case, PLAIN, strict=True)) <= apart
        )

    def base(self, design: Design, shown: Shown) -> LagProfiles:
        """The model as it is."""
        return self._asked(PLAIN._replace(design=design.value), shown=shown)

    def top(self, case: Case, ranking: tuple[str, ...]) -> LagProfiles:
        """Without the heads of the largest induction scores.

        Args:
            case: Which layers, what stands in, and how the list is shown again.
            ranking: All heads, the strongest first.

        Returns:
            One set of each size.
        """
        within = self._within(case, ranking)
        sets = tuple(within[:size] for size in set_sizes(len(within)))
        return self._asked(case, family="top", sets=sets)

    def single(self, design: Design, ranking: tuple[str, ...]) -> LagProfiles:
        """Without each head alone that lies in an earlier layer than every judged one.

        There may be none; and none is asked where too few sets are drawn to judge anything.
        """
        judged = map(Head.parse, ranking[: judged_size(set_sizes(len(ranking)))])
        able = can_judge(self.asked.sizes.n_draws)
        below = heads_below(heads_of(self.asked.card), judged) if able else []
        sets = tuple((str(head),) for head in below)
        return self._asked(PLAIN._replace(design=design.value), family="single", sets=sets)

    def random(
        self, case: Case, ranking: tuple[str, ...], costs: Mapping[Head, float]
    ) -> tuple[LagProfiles, LagProfiles]:
        """Without random sets of the same layers.

        Args:
            case: As for `top`.
            ranking: As for `top`.
            costs: What each head below the judged ones costs alone.

        Returns:
            Different sets of every size, or of the judged one, without the heads that they stand
            beside, judged heads, and those upstream of these; and sets of the judged size that hold
            one of the latter. There may be no set.
        """
        within = self._within(case, ranking)
        found = set_sizes(len(within))
        judged = judged_size(found)
        kept = found if self.sizes.everywhere or case == PLAIN else [judged]
        heads = [Head.parse(name) for name in within]
        above = upstream_heads(costs, heads[:judged], DROP)
        n_draws, seed = self.asked.sizes.n_draws, self.asked.seed
        drawn = {
            size: drawn_beside(heads, (heads[: max(size, judged)], above), size, n_draws, seed)
            for size in kept
        }
        null = set_names([one for sets, _ in drawn.values() for one in sets])
        return (
            self._asked(case, family="random", sets=null, first_draw=0),
            self._asked(case, family="upstream", sets=set_names(drawn[judged][1]), first_draw=0),
        )

    def lengths(self, ranking: tuple[str, ...]) -> dict[int, dict[str, LagProfiles]]:
        """Probed lists of other lengths, up to the context or `LONGEST`: base, zeroed, control."""
        longest = min(LONGEST, self._longest(Design.PROBE))
        top = ranking[: judged_size(set_sizes(len(ranking)))]
        return {
            n: {
                "base": self._asked(PLAIN, n_words=n),
                "top": self._asked(PLAIN, n_words=n, family="top", sets=(top,)),
                "control": self._asked(PLAIN, n_words=n, shown=Shown.OTHERS),
            }
            for n in sorted({*(n for n in LENGTHS if n < longest), longest})
        }

    def evidence(self, recall: Recall) -> LagEvidence:
        """What recall by lag is judged by.

        Args:
            recall: Answers a question.

        Returns:
            All answers.
        """
        ranking = induction_ranking(recall(AtlasStudy(self.asked).induction_scores()))
        base = {d.value: recall(self.base(d, Shown.ITEMS)) for d in Design}
        singles = {d.value: self.single(d, ranking) for d in Design}
        single = {name: recall(one) for name, one in singles.items() if one.sets}
        costs = {name: single_costs(base[name], single.get(name)) for name in base}
        drawn = {c: self.random(c, ranking, costs[c.design]) for c in self.drawn_cases()}
        return LagEvidence(
            base=base,
            control={d.value: recall(self.base(d, Shown.OTHERS)) for d in Design},
            top={case: recall(self.top(case, ranking)) for case in self.cases()},
            random={case: recall(one) for case, (one, _) in drawn.items() if one.sets},
            single=single,
            mixed={
                case: recall(one)
                for case, (_, one) in drawn.items()
                if one.sets and case[1:] == PLAIN[1:]
            },
            lengths={
                n: {role: recall(one) for role, one in asked.items()}
                for n, asked in self.lengths(ranking).items()
            },
        )

    def claims(self, evidence: LagEvidence) -> LagClaims:
        """What holds of recall by lag."""
        return LagClaims(card=self.asked.card, seed=self.asked.seed, evidence=evidence)

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """No absence is sure.

        Raises:
            UserError: The words do not fit the context, or the vocabulary has too few.
        """
        del model
        for design in Design:
            self.base(design, Shown.ITEMS).data()
        return []

    def expected(self) -> Iterator[Experiment]:
        """Lists without sets of heads, as if none lay upstream of another."""
        ranking = tuple(map(str, spread_heads(self.asked.card)))
        for design in Design:
            yield from (self.base(design, shown) for shown in (Shown.ITEMS, Shown.OTHERS))
            yield self.single(design, ranking)
        yield from (self.top(case, ranking) for case in self.cases())
        yield from (self.random(case, ranking, {})[0] for case in self.drawn_cases())
        for roles in self.lengths(ranking).values():
            yield from roles.values()

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on recall by lag; none with too few words, as the chapter says."""
        with suppress(UserError):
            yield recall(self.claims(self.evidence(recall)))

    def _within(self, case: Case, ranking: tuple[str, ...]) -> tuple[str, ...]:
        """Heads of some layers, in their order."""
        layers = Layers(case.layers).of(self.asked.card)
        return tuple(name for name in ranking if Head.parse(name).layer in layers)

    def _asked(
        self,
        case: Case,
        *,
        shown: Shown = Shown.ITEMS,
        n_words: int | None = None,
        family: str = "base",
        sets: tuple[tuple[str, ...], ...] = ((),),
        first_draw: int | None = None,
    ) -> LagProfiles:
        n_permutations = self.sizes.n_permutations if n_words is None else self.sizes.n_longer
        return LagProfiles(
            **self.asked.random(),
            design=case.design,
            shown=shown.value,
            n_words=n_words or self.n_words,
            n_permutations=n_permutations,
            method=case.method,
            layers=case.layers,
            family=family,
            sets=sets,
            first_draw=first_draw,
        )


def induction_ranking(induction: Evidence) -> tuple[str, ...]:
    """All heads by their induction score on the even sequences, the strongest first.

    Args:
        induction: Answer of `InductionScores`.

    Returns:
        Names such as `L1H4`.
    """
    ranked = heads_by_score(induction["head_scores"], "induction", "repeated")
    return tuple(str(head) for head, _ in ranked)


def set_sizes(n_heads: int) -> list[int]:
    """Sizes of sets of some heads: those of `SET_SIZES` up to a third of them, and 1 anyway."""
    return [size for size in SET_SIZES if size == 1 or size <= n_heads // 3]


STUDY = LagStudy
