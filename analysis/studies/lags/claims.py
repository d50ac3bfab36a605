"""Claims on recall by lag: succession, recency, and which heads it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.verdicts.head_sets import set_null, upstream_heads
from analysis.questions.verdicts.judgement import (
    Bar,
    Evidence,
    Group,
    Judgement,
    Statement,
    answers_of,
    n_known,
)
from analysis.questions.verdicts.variants import weakest
from analysis.statistics.resampling import central, mean_interval

LONGEST = 1_000
"""Words in the longest probed list: in a context of 8,192 tokens one that fills it costs more than
all else that is asked of a small model, for the end of one curve."""

FIGURES = {
    "lag_successor_*": "09_lag_profiles#lag_chart",
    "lag_recency_*": "09_lag_profiles#lag_table",
    "lag_top_heads_*": "09_lag_profiles#lag_levels",
    "lag_upper_half_*": "09_lag_profiles#lag_falls",
}
SUCCESSION = 1.0
"""Nats: the successor is recalled where it is more than e times as probable as the predecessor."""
RECENCY = 0.1
"""Nats: items at the end are preferred where they are a tenth more probable than at the start."""
DROP = 1.0
"""Nats: heads matter where the successor's odds fall to less than 1 / e without them."""
JUDGED_SIZE = 5
"""The claims are on this many heads, or on the largest set below that the model allows."""


class Case(NamedTuple):
    """Which heads are replaced by what, and how the list is shown again."""

    design: str
    """A value of `Design`."""
    method: str
    """A value of `Method`."""
    layers: str
    """A value of `Layers`."""

    def __str__(self) -> str:
        return ", ".join(self)


@dataclass(frozen=True, kw_only=True)
class LagEvidence:
    """What recall by lag is judged by: answers of `LagProfiles`."""

    base: Mapping[str, Evidence]
    """The model as it is, by design."""
    control: Mapping[str, Evidence]
    """The same after words that are not in the list."""
    top: Mapping[Case, Evidence]
    """Without the heads of the largest induction scores, in sets of several sizes."""
    random: Mapping[Case, Evidence]
    """Without random sets of the same sizes, or of some of them: none of the judged heads, nor
    those upstream of them."""
    single: Mapping[str, Evidence]
    """Without each head below the judged ones alone, zeroed, by design; none may lie there."""
    mixed: Mapping[Case, Evidence]
    """Without random sets that do hold an upstream head, where there are any."""

    def upstream(self, case: Case) -> tuple[Head, ...]:
        """Heads below the judged ones of which each alone costs what these have to."""
        answer = self.top[case]["ablations"]
        judged = answer.filter(size=judged_size(sizes(self.top[case])))["heads"][0].split(",")
        costs = single_costs(self.base[case.design], self.single.get(case.design))
        return upstream_heads(costs, map(Head.parse, judged), DROP)

    lengths: Mapping[int, Mapping[str, Evidence]]
    """By words in the list, probed: `base`, `top` (zeroed) and `control`."""


@dataclass(frozen=True, kw_only=True)
class LagClaims(Judgement):
    """Is an item followed by its successor, and does that take induction heads?

    Heads are ranked on random tokens that were drawn apart from the lists.
    """

    version: ClassVar[int] = 5
    chapter: ClassVar[str] = "09_lag_profiles"

    evidence: LagEvidence

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        found = answers_of(self.evidence)
        del found["lengths"]
        for n, group in self.evidence.lengths.items():
            found[f"{n} words"] = group
        return found

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`."""
        return [*self._recalled(), *self._against_random(), *self._halves()]

    def _recalled(self) -> Iterator[dict[str, Any]]:
        """Succession and recency of the model as it is."""
        for design, base in self.evidence.base.items():
            control = self.evidence.control[design]
            variants = {"this list": (base, control)}
            if design == "probe" and self.evidence.lengths:
                n_words, answers = max(self.evidence.lengths.items())
                variants[f"{n_words} words"] = (answers["base"], answers["control"])
            successor = Statement(
                claim=f"lag_successor_{design}",
                statement=f"{WORDS[design]}, the item's successor is more than e times as "
                "probable as its predecessor",
                statistic="log p(+1) / p(-1), nats",
            )
            yield weakest(
                {n: self._recall(successor, each, "log_ratio") for n, each in variants.items()}
            )
            recency = Statement(
                claim=f"lag_recency_{design}",
                statement=f"{WORDS[design]}, items of the last quarter of the list are more "
                f"probable than those of the first, by at least {RECENCY:g} nats, and more so than "
                "after a word not in the list",
                statistic="log ratio of their mean p, neighbours of the item left out, nats",
            )
            yield self._recall(recency, (base, control), "recency")

    def _recall(
        self, said: Statement, answers: tuple[Evidence, Evidence], measure: str
    ) -> dict[str, Any]:
        """A measure of the model as it is beside the same after other words."""
        threshold = {"recency": RECENCY, "log_ratio": SUCCESSION}[measure]
        values, control = (per_sequence(answer, measure) for answer in answers)
        name = "a word that is not in the list, in the item's stead"
        bar = Bar(threshold=threshold, control=control, control_name=name)
        return self.judged(said, values, bar)

    def _against_random(self) -> Iterator[dict[str, Any]]:
        """Top induction heads against random sets of as many, whatever stands in."""
        for design in self.evidence.base:
            cases = [c for c in self.evidence.random if c[::2] == (design, "all")]
            cases = cases or [Case(design, "zero", "all")]
            size = judged_size(sizes(self.evidence.top[cases[0]]))
            said = Statement(
                claim=f"lag_top_heads_{design}",
                statement=f"{WORDS[design]}, the odds of its successor fall to less than 1/e "
                f"without the {size} heads of the largest induction scores "
                f"({', '.join(case.method for case in cases)}), and more than without as many "
                "random heads",
                statistic="fall of the successor's log odds, nats",
            )
            yield weakest({c.method: self._beside_random(said, c, size) for c in cases})

    def _beside_random(self, said: Statement, case: Case, size: int) -> dict[str, Any]:
        base, top = self.evidence.base[case.design], self.evidence.top[case]
        values, drawn, gaps = drop(base, top, size), np.empty(0), np.full(1, np.nan)
        if (random := self.evidence.random.get(case)) is not None:
            drawn = drawn_drops(base, random, size)
            gaps = values - mean_drops(base, random, size)
        null, told = set_null(float(np.nanmean(values)), drawn)
        note = (
            f"n = {n_known(values)}; control: {len(drawn)} random sets without judged and "
            f"upstream heads, 95 % of their means; {told}"
        )
        return self.decided(
            said,
            mean_interval(values, self.seed),
            central(drawn),
            (DROP, note),
            beyond=mean_interval(gaps, self.seed),
            null=null,
        )

    def _halves(self) -> Iterator[dict[str, Any]]:
        """The upper half's strongest heads against the lower half's."""
        for design, base in self.evidence.base.items():
            cases = [Case(design, "zero", half) for half in ("upper half", "lower half")]
            if any(case not in self.evidence.top for case in cases):
                continue
            upper, lower = (self.evidence.top[case] for case in cases)
            size = judged_size(sizes(upper))
            said = Statement(
                claim=f"lag_upper_half_{design}",
                statement=f"{WORDS[design]}, zeroing the {size} heads of the largest induction "
                "scores of the upper half of the layers costs the successor more than those of the "
                "lower half",
                statistic="fall of the successor's log odds, nats",
            )
            bar = Bar(
                threshold=0.0,
                control=drop(base, lower, size),
                control_name=f"the {size} of the lower half",
            )
            yield self.judged(said, drop(base, upper, size), bar)


WORDS = {
    "probe": "When one item of a list is shown again",
    "serial": "When a list is shown twice",
}
"""The designs, as claims begin."""


def judged_size(found: list[int]) -> int:
    """The size that claims are on.

    Args:
        found: Sizes that were ablated, at least one.

    Returns:
        The largest up to `JUDGED_SIZE`, or the smallest there is.
    """
    return max((size for size in found if size <= JUDGED_SIZE), default=min(found))


def sizes(answer: Evidence) -> list[int]:
    """Sizes of the sets of an answer, ascending."""
    return sorted(answer["ablations"]["size"].unique().to_list())


def per_sequence(answer: Evidence, measure: str, size: int = 0) -> np.ndarray:
    """One measure of each permutation, of the one set of a size.

    Args:
        answer: Of `LagProfiles`, with one set of that size.
        measure: Its name.
        size: Heads in the set.

    Returns:
        Values by permutation, NaN for those that cannot test it.
    """
    rows = _measured(answer, measure, size).filter(pl.col("sequence").is_not_null())
    n = answer["lag_measures"]["sequence"].max()
    values = np.full(0 if n is None else int(str(n)) + 1, np.nan)
    values[rows["sequence"].to_numpy()] = rows["value"].to_numpy()
    return values


def drop(base: Evidence, ablated: Evidence, size: int) -> np.ndarray:
    """By how many nats the successor's log odds fall on each permutation, NaN without one."""
    return per_sequence(base, "log_odds") - per_sequence(ablated, "log_odds", size)


def drawn_drops(base: Evidence, random: Evidence, size: int) -> np.ndarray:
    """The same of every random set of a size, on average over permutations."""
    whole = _measured(base, "log_odds", 0).filter(pl.col("sequence").is_null())["value"].item()
    rows = _measured(random, "log_odds", size).filter(pl.col("sequence").is_null())
    return whole - rows.sort("condition")["value"].to_numpy()


def mean_drops(base: Evidence, random: Evidence, size: int) -> np.ndarray:
    """The same on each permutation, on average over the sets."""
    whole = per_sequence(base, "log_odds")
    named = random["lag_profiles"].filter(size=size)["condition"].unique()
    rows = random["lag_measures"].filter(
        pl.col("sequence").is_not_null(), pl.col("condition").is_in(named.implode())
    )
    own, values = rows.filter(measure="log_odds"), np.full(whole.size, np.nan)
    values[own["sequence"].to_numpy()] = own["value"].to_numpy()
    return whole - values


def single_costs(base: Evidence, single: Evidence | None) -> dict[Head, float]:
    """The fall of the successor's log odds without each head alone, for those that were asked."""
    if single is None:
        return {}
    names = single["ablations"].sort("condition")["heads"].to_list()
    drops = drawn_drops(base, single, 1)
    return {Head.parse(name): float(drop) for name, drop in zip(names, drops, strict=True)}


def _measured(answer: Evidence, measure: str, size: int) -> pl.DataFrame:
    of_size = answer["ablations"].filter(size=size).select("condition")
    return answer["lag_measures"].filter(measure=measure).join(of_size, on="condition")
