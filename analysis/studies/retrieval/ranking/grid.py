"""One cell of the grid models x questions x lengths: curves of one fact at one length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl

from analysis.progress import Report
from analysis.questions.rows import absence
from analysis.questions.verdicts.judgement import Evidence, Judgement
from analysis.studies.retrieval.measures import Curves, reason_untestable

from .sets import SetPlan


@dataclass(frozen=True, kw_only=True)
class RetrievalCell(Judgement):
    """What replacing top heads costs on questions about one fact, at one length."""

    version: ClassVar[int] = 2

    plan: SetPlan
    method: str
    scope: str
    fact: str
    base: Evidence
    """Answers of the model as it is."""
    curves: Mapping[str, Evidence]
    """Answers by family; none where the fact is not testable."""

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Draw the cell's curves.

        Returns:
            `retrieval_curves`, or `absences` where the model does not answer well enough.
        """
        report(1, 1, "")
        rows = self.base["retrieval_outcomes"]
        n_tokens = int(rows["n_tokens"].to_numpy().max())
        if reason := reason_untestable(self.fact, self.base):
            return {
                "absences": absence(
                    self.card, "retrieval_curves", f"{self.fact}, {n_tokens} tokens", reason
                )
            }
        curves = Curves(
            plan=self.plan,
            base={self.fact: self.base},
            families={family: {self.fact: answer} for family, answer in self.curves.items()},
        )
        return {
            "retrieval_curves": curves.rows().with_columns(
                model=pl.lit(self.card.model),
                method=pl.lit(self.method),
                scope=pl.lit(self.scope),
                n_tokens=pl.lit(n_tokens, pl.Int32),
            )
        }

    def question(self) -> dict[str, Any]:
        """The runs that are read, and the sets that they are read by."""
        parameters = {"evidence": self.runs(), **self.plan.parameters()}
        return {**super().question(), "parameters": parameters}
