"""Claims on recall by lag: succession, recency, and which heads it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import polars as pl

from analysis.questions.judgement import (
    Bar,
    Evidence,
    Group,
    Judgement,
    Statement,
    answers_of,
    n_known,
)
from analysis.statistics.comparisons import permutation_p
from analysis.statistics.resampling import Interval, central, mean_interval

LONGEST = 1_000
"""Words in the longest probed list: in a context of 8,192 tokens one that fills it costs more than
all else that is asked of a small model, for the end of one curve."""

FIGURES = {
    "lag_successor_longest": "09_lag_profiles#lag_lengths",
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
    """Without the strongest induction heads, in sets of several sizes."""
    random: Mapping[Case, Evidence]
    """Without random sets of the same sizes, or of some of them."""
    lengths: Mapping[int, Mapping[str, Evidence]]
    """By words in the list, probed: `base`, `top` (zeroed) and `control`."""


@dataclass(frozen=True, kw_only=True)
class LagClaims(Judgement):
    """Is an item followed by its successor, and does that take induction heads?

    Heads are ranked on random tokens that were drawn apart from the lists.
    """

    version: ClassVar[int] = 1
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
        return [*self._recalled(), *self._longest(), *self._against_random(), *self._halves()]

    def _recalled(self) -> Iterator[dict[str, Any]]:
        """Succession and recency of the model as it is."""
        for design, base in self.evidence.base.items():
            control = self.evidence.control[design]
            yield self._succession(f"lag_successor_{design}", WORDS[design], base, control)
            said = Statement(
                claim=f"lag_recency_{design}",
                statement=f"{WORDS[design]}, items of the last quarter of the list are more "
                "probable than those of the first",
                statistic="log ratio of their mean p, neighbours of the item left out, nats",
            )
            values = per_sequence(base, "recency")
            found, none = mean_interval(values, self.seed), Interval.exactly(0.0)
            note = f"n = {n_known(values)}; control: no preference"
            yield self.decided(said, found, none, (RECENCY, note))

    def _succession(
        self, claim: str, where: str, base: Evidence, control: Evidence
    ) -> dict[str, Any]:
        said = Statement(
            claim=claim,
            statement=f"{where}, the item's successor is more than e times as probable as its "
            "predecessor",
            statistic="log p(+1) / p(-1), nats",
        )
        bar = Bar(
            threshold=SUCCESSION,
            control=per_sequence(control, "log_ratio"),
            control_name="a word that is not in the list, in the item's stead",
        )
        return self.judged(said, per_sequence(base, "log_ratio"), bar)

    def _longest(self) -> Iterator[dict[str, Any]]:
        """Succession in the longest list."""
        if not self.evidence.lengths:
            return
        n_words, answers = max(self.evidence.lengths.items())
        fits = "fits" if n_words < LONGEST else "is asked"
        yield self._succession(
            "lag_successor_longest",
            f"When one item of a list of {n_words} words, the longest that {fits}, is shown again",
            answers["base"],
            answers["control"],
        )

    def _against_random(self) -> Iterator[dict[str, Any]]:
        """Top induction heads against random sets of as many."""
        for case, random in self.evidence.random.items():
            if case.layers != "all":
                continue
            base, top = self.evidence.base[case.design], self.evidence.top[case]
            size = judged_size(sizes(top))
            values = drop(base, top, size)
            drawn = drawn_drops(base, random, size)
            p = permutation_p(float(np.nanmean(values)), drawn)
            said = Statement(
                claim=f"lag_top_heads_{case.design}_{case.method}",
                statement=f"{WORDS[case.design]}, the odds of its successor fall to less than 1/e "
                f"without the {size} strongest induction heads ({case.method}), and more than "
                "without as many random heads",
                statistic="fall of the successor's log odds, nats",
            )
            note = (
                f"n = {n_known(values)}; control: {len(drawn)} random sets, 95 % of their means; "
                f"permutation p {p:.3f}"
            )
            found, band = mean_interval(values, self.seed), central(drawn)
            yield self.decided(said, found, band, (DROP, note))

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
                statement=f"{WORDS[design]}, zeroing the {size} strongest induction heads of the "
                "upper half of the layers costs the successor more than those of the lower half",
                statistic="fall of the successor's log odds, nats",
            )
            bar = Bar(
                threshold=0.0,
                control=drop(base, lower, size),
                control_name=f"the {size} strongest of the lower half",
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
    return whole - rows["value"].to_numpy()


def _measured(answer: Evidence, measure: str, size: int) -> pl.DataFrame:
    of_size = answer["ablations"].filter(size=size).select("condition")
    return answer["lag_measures"].filter(measure=measure).join(of_size, on="condition")
