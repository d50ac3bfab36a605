"""Verdicts on the sink: on the sequences that did not choose the heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.progress import Report
from analysis.questions.rows import absence
from analysis.questions.second_text import SECOND
from analysis.questions.verdicts.judgement import Evidence, Judgement, Statement
from analysis.questions.verdicts.variants import given, turned, weaker
from analysis.questions.verdicts.verdict import Verdict
from analysis.statistics.resampling import Interval

from .claims import COPIER, Finding, findings
from .evidence import Measured
from .mass import text_findings

NO_OP = (
    *("sink_attends", "sink_value_small", "sink_writes_little", "sink_value_unused"),
    *("sink_rests", "sink_rests_silently"),
)
"""A no-op sink is all of these: heads look there when they have nothing to do, and so do nothing.
"""

OF_A_SINK = (
    *("sink_is_token", "sink_is_position", "sink_needs_both"),
    *("sink_value_small", "sink_writes_little", "sink_value_unused", "sink_attention_needed"),
)
"""Claims about a sink: no stronger than the claim that there is one, and not testable without."""

OF_A_COPIER = ("sink_rests", "sink_rests_silently")
"""Claims about heads that rest from copying: not testable where none copies."""


@dataclass(frozen=True, kw_only=True)
class SinkClaims(Judgement):
    """Is the sink its token or its place, does it carry anything, and is it a no-op?"""

    version: ClassVar[int] = 5
    chapter: ClassVar[str] = "03_bos_sink"

    text: str
    """The text of the evidence, in words."""
    no_second: str
    """Why there is no second text; empty where there is."""
    sink: Evidence
    """Answer of `BosSink`."""
    second: Mapping[str, Evidence]
    """Answer of `SinkMass` on the second text, by what that is; empty without one."""

    def question(self) -> dict[str, Any]:
        """The runs that are judged, and what is said of their texts."""
        asked, said = super().question(), {"text": self.text, "no_second": self.no_second}
        return asked | {"parameters": asked["parameters"] | said}

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Judge every claim: `claims`, and `absences` without a second text."""
        frames = super().run(report)
        if self.second:
            return frames
        return {**frames, "absences": absence(self.card, "sink_mass", SECOND, self.no_second)}

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`."""
        measured = Measured(self.sink)
        told = [
            *findings(measured, self.text),
            *text_findings(self.sink, self.second, self.text),
        ]
        rows = [self._judged(finding) for finding in told if finding.values.size]
        verdicts = {row["claim"]: Verdict(row["verdict"]) for row in rows}
        copies = Verdict.SUPPORTED if measured.copies(COPIER) else Verdict.REFUTED
        presumed = {
            **dict.fromkeys(OF_A_SINK, verdicts.get("sink_attends")),
            **dict.fromkeys(OF_A_COPIER, copies),
        }
        for row in rows:
            if (other := presumed.get(row["claim"])) is not None:
                verdicts[row["claim"]] = given(verdicts[row["claim"]], other)
                row["verdict"] = verdicts[row["claim"]].value
        if set(NO_OP) <= set(verdicts):
            rows.append(self._no_op([verdicts[part] for part in NO_OP]))
        return rows

    def _judged(self, finding: Finding) -> dict[str, Any]:
        gates = dict.fromkeys(OF_A_SINK, "; no stronger than sink_attends")
        gates |= dict.fromkeys(OF_A_COPIER, "; not testable where they copy less on these")
        said = Statement(
            claim=finding.claim,
            statement=finding.statement,
            statistic=f"{finding.statistic}, odd sequences{gates.get(finding.claim, '')}",
        )
        values, bar = finding.values, finding.bar
        if finding.larger:
            return self.judged(said, values, bar)
        negated = replace(bar, threshold=-bar.threshold, control=-bar.control)
        return turned(self.judged(said, -values, negated))

    def _no_op(self, parts: Sequence[Verdict]) -> dict[str, Any]:
        """All parts together, which has no number of its own."""
        told = ", ".join(
            f"{part} {verdict.value}" for part, verdict in zip(NO_OP, parts, strict=True)
        )
        said = Statement(
            claim="no_op_sink",
            statement=f"On {self.text} and random blocks: the sink is a no-op, heads look there "
            f"when they have nothing to do, and so do nothing ({told})",
            statistic="the weakest verdict of its parts",
        )
        none = Interval.exactly(np.nan)
        row = self.decided(said, none, none, (0.0, "no number of its own"))
        return {**row, "threshold": None, "verdict": weaker(*parts).value}
