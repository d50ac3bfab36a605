"""From single answers to curves: what is still answered with more and more heads replaced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.interventions import Head, HeadSet
from analysis.questions.verdicts.judgement import Evidence
from analysis.statistics.comparisons import holm, mcnemar_p, permutation_p, wilson

from .ranking.sets import FAMILIES, SetPlan

MARGIN = 0.1
"""How far above chance the whole interval of a model's accuracy lies where it can do the task."""
ALL = "all"
"""All questions together."""
OVERLAP = "overlap"
"""In place of a ranking: heads among the top of all of them."""

PerItem = Float[np.ndarray, " item"]


def by_set(answers: Mapping[str, Evidence], metric: str) -> dict[str, PerItem]:
    """Values of all questions by the heads that are replaced.

    Args:
        answers: Answers of `RetrievalCurves` by fact, on the same sets.
        metric: A column of `retrieval_outcomes`.

    Returns:
        By heads, such as `L1H4,L2H0`, values in the order of facts and questions; under the empty
        name those of the model as it is.
    """
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for answer in answers.values():
        heads = answer["ablations"].select("condition", "heads").unique()
        rows = answer["retrieval_outcomes"].join(heads, on="condition").sort("sequence")
        for (name,), part in rows.partition_by("heads", as_dict=True).items():
            found[str(name)].append(part[metric].cast(pl.Float64).to_numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def answerable(base: Mapping[str, Evidence]) -> tuple[str, ...]:
    """Facts that the model as it is answers better than chance by the margin."""
    return tuple(fact for fact, answer in base.items() if not reason_untestable(fact, answer))


def reason_untestable(fact: str, answer: Evidence) -> str:
    """Why nothing is ablated on questions about a fact; empty if it is.

    Args:
        fact: Which.
        answer: Answers of the model as it is.

    Returns:
        A sentence with the numbers.
    """
    rows = answer["retrieval_outcomes"]
    n_right, n, chance = int(rows["correct"].sum()), rows.height, chance_of(answer)
    if n_right == 0:
        return f"0 of {n} answered correctly: nothing to lose"
    lower, upper = wilson(n_right, n)
    if lower > chance + MARGIN:
        return ""
    return (
        f"not testable: {n_right} of {n} questions about {fact} answered correctly (95 % "
        f"{lower:.2f} to {upper:.2f}), which does not exceed chance, {chance:.2f}, by {MARGIN}"
    )


def chance_of(answer: Evidence) -> float:
    """1 / the number of records among which one holds the answer; 0 where no other is named."""
    n_records = float(answer["retrieval_outcomes"]["n_records"].to_numpy().mean())
    return 0.0 if n_records == 1 else 1 / n_records


def single_costs(base: Mapping[str, Evidence], single: Mapping[str, Evidence]) -> dict[Head, float]:
    """Share of all questions that is lost without each head alone.

    Args:
        base: Answers of the model as it is, by fact.
        single: The same without heads, of the same facts; there may be none.

    Returns:
        Mean losses of the heads that were replaced alone.
    """
    if not single:
        return {}
    whole = by_set({fact: base[fact] for fact in single}, "correct")[""].mean()
    alone = by_set(single, "correct")
    return {Head.parse(name): float(whole - right.mean()) for name, right in alone.items()}


def joined(heads: HeadSet) -> str:
    """Heads as the store names a set."""
    return ",".join(map(str, heads))


def area(levels: Sequence[int], lost: Float[np.ndarray, "*draw level item"]) -> np.ndarray:
    """Mean loss over a curve that starts at no heads and no loss.

    Args:
        levels: How many heads are replaced, ascending.
        lost: What is lost at each.

    Returns:
        The area under the loss over the last level, trapezoids between levels (*draw, item).
    """
    start = np.zeros_like(lost[..., :1, :])
    whole = np.concatenate([start, lost], axis=-2)
    return np.trapezoid(whole, x=[0, *levels], axis=-2) / levels[-1]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """All answers of one model under one method and scope."""

    plan: SetPlan
    base: Mapping[str, Evidence]
    """Answers of the model as it is, by fact: only facts that are testable."""
    families: Mapping[str, Mapping[str, Evidence]]
    """Answers by family (`top`, `random`, `layer_matched`) and fact."""

    @cached_property
    def right(self) -> dict[str, dict[str, PerItem]]:
        """Whether each question is answered, by family and set."""
        return self._values("correct")

    @cached_property
    def log_p(self) -> dict[str, dict[str, PerItem]]:
        """Log probability of each right answer, nats, by family and set."""
        return self._values("log_p")

    def _values(self, metric: str) -> dict[str, dict[str, PerItem]]:
        base = {"base": by_set(self.base, metric)}
        return base | {name: by_set(found, metric) for name, found in self.families.items()}

    @cached_property
    def facts(self) -> np.ndarray:
        """Which fact each question is about."""
        sizes = [answer["retrieval_outcomes"].height for answer in self.base.values()]
        return np.repeat(list(self.base), sizes)

    def top_lost(self, ranking: str, levels: Sequence[int]) -> Float[np.ndarray, "level item"]:
        """Questions lost (1), won (-1) or unchanged (0) with the top heads replaced."""
        base, top = self.right["base"][""], self.right["top"]
        return np.stack([base - top[joined(self.plan.top(ranking, level))] for level in levels])

    def drawn_lost(
        self, family: str, ranking: str, levels: Sequence[int]
    ) -> Float[np.ndarray, "draw level item"]:
        """The same for every draw of a family; draws that are alike at every level count once."""
        base, drawn = self.right["base"][""], self.right[family]
        columns = (self.plan.draws(family, ranking, level) for level in levels)
        curves = dict.fromkeys(zip(*columns, strict=True))
        return np.stack([[base - drawn[joined(heads)] for heads in curve] for curve in curves])

    def rows(self) -> pl.DataFrame:
        """Rows of `retrieval_curves` without what all of them say alike."""
        facts = [*self.base, *([ALL] if len(self.base) > 1 else [])]
        rows: list[dict[str, Any]] = []
        for fact in facts:
            chosen = self.facts == fact if fact != ALL else np.ones(len(self.facts), bool)
            rows += self._top_rows(OVERLAP, fact, chosen, self.plan.overlaps())
            for ranking in self.plan.rankings:
                tops = [self.plan.top(ranking, level) for level in self.plan.levels]
                rows += self._top_rows(ranking, fact, chosen, [(), *tops])
                for family in FAMILIES:
                    if family in self.families:
                        rows += self._drawn_rows(ranking, family, fact, chosen)
        return pl.DataFrame(rows, infer_schema_length=None)

    def _top_rows(
        self, ranking: str, fact: str, chosen: np.ndarray, sets: Sequence[HeadSet]
    ) -> list[dict[str, Any]]:
        base, rows = self.right["base"][""][chosen], list[dict[str, Any]]()
        for heads in sets:
            name, family = joined(heads), "top" if heads else "base"
            right, log_p = (v[family][name][chosen] for v in (self.right, self.log_p))
            lower, upper = wilson(int(right.sum()), len(right))
            lost, won = int((base > right).sum()), int((right > base).sum())
            rows.append(
                {
                    **_point(ranking, fact, "top", len(heads)),
                    "heads": name,
                    "accuracy": float(right.mean()),
                    "lower": lower,
                    "upper": upper,
                    "log_p": float(log_p.mean()),
                    "n": len(right),
                    "p": mcnemar_p(lost, won),
                }
            )
        return _adjusted(rows)

    def _drawn_rows(
        self, ranking: str, family: str, fact: str, chosen: np.ndarray
    ) -> list[dict[str, Any]]:
        base, rows = self.right["base"][""][chosen].mean(), list[dict[str, Any]]()
        for level in self.plan.matched_levels(family, ranking):
            names = [joined(s) for s in self.plan.distribution(family, ranking, level)]
            right = np.array([self.right[family][name][chosen].mean() for name in names])
            log_p = np.mean([self.log_p[family][name][chosen].mean() for name in names])
            top = self.right["top"][joined(self.plan.top(ranking, level))][chosen].mean()
            lower, upper = np.quantile(right, (0.025, 0.975))
            rows.append(
                {
                    **_point(ranking, fact, family, level),
                    "heads": None,
                    "accuracy": float(right.mean()),
                    "lower": float(lower),
                    "upper": float(upper),
                    "log_p": float(log_p),
                    "n": len(names),
                    "p": permutation_p(float(base - top), base - right),
                }
            )
        return _adjusted(rows)


def _point(ranking: str, fact: str, family: str, size: int) -> dict[str, Any]:
    return {"ranking": ranking, "fact": fact, "family": family, "size": size}


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one curve with p-values adjusted over its sizes."""
    if not rows:
        return []
    adjusted = holm(np.array([row["p"] for row in rows]))
    return [{**row, "p_holm": float(p)} for row, p in zip(rows, adjusted, strict=True)]
