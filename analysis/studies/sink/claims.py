"""Claims about the sink: judged on the sequences that did not choose the heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from analysis.interventions import Head, Method
from analysis.questions.judgement import Bar, Evidence, Judgement, Statement, Verdict
from analysis.statistics.resampling import Interval

from .conditions import OTHER_HEADS
from .data import BOS_FIRST, BOS_MOVED, WORD_FIRST
from .evidence import Measured

FIGURES = {
    "sink_attends": "03_bos_sink#sink_grid",
    "sink_is_token": "03_bos_sink#designs",
    "sink_needs_both": "03_bos_sink#designs",
    "sink_without_bos": "03_bos_sink#designs",
    "sink_carries_little": "03_bos_sink#carried_table",
    "sink_value_unused": "03_bos_sink#value_effects",
    "sink_attention_needed": "03_bos_sink#key_effects",
    "sink_rests": "03_bos_sink#resting",
    "sink_massive": "03_bos_sink#massive",
    "no_op_sink": "03_bos_sink#claims_chart",
}

SINK = 0.5
"""A sink takes more than this share of a head's attention."""

PUBLISHED_MASS = (0.22, 0.49)
"""Shares on position 0, without any BOS, that were published for the heads of a layer of sinks."""

TOKEN_OVER_POSITION = 0.25
"""How much more attention one design must give than another for the sink to belong to it."""

CARRIES_LITTLE = 0.1
"""A sink that carries little gives less than this share of the head's output, in norm."""

NEGLIGIBLE_KL = 0.01
"""Predictions that differ by less, in nats per token, are taken to be the same."""

RESTING = 0.1
"""A head that rests on the sink puts at least this much more there when it has nothing to copy."""

MASSIVE = 10.0
"""A massive activation has a norm at least this many times that of ordinary positions."""

NO_OP = ("sink_attends", "sink_carries_little", "sink_value_unused", "sink_rests")
"""A no-op sink is all of these: heads look there when they have nothing to do, and so do nothing.
"""

OF_A_SINK = ("sink_carries_little", "sink_value_unused", "sink_attention_needed")
"""Claims about the attention of a sink: as weak as the claim that there is one."""

_STRENGTH = (Verdict.NOT_SUPPORTED, Verdict.UNDECIDED, Verdict.SUPPORTED)


def weaker(one: Verdict, other: Verdict) -> Verdict:
    """The verdict on both claims together."""
    return min(one, other, key=_STRENGTH.index)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One claim before it is judged."""

    claim: str
    statement: str
    statistic: str
    values: np.ndarray
    """One a sequence, of the odd ones."""
    bar: Bar
    larger: bool = True
    """Whether the statistic must exceed threshold and control, or stay below both."""


@dataclass(frozen=True, kw_only=True)
class SinkClaims(Judgement):
    """Is the sink its token or its place, does it carry anything, and is it a no-op?"""

    version: ClassVar[int] = 2
    chapter: ClassVar[str] = "03_bos_sink"

    sink: Evidence
    """Answer of `BosSink`."""

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`."""
        measured = Measured(self.sink)
        findings = [*_mass_findings(measured), *_effect_findings(measured), _resting(measured)]
        rows = [self._judged(finding) for finding in findings if finding.values.size]
        verdicts = {row["claim"]: Verdict(row["verdict"]) for row in rows}
        for row in rows:
            if row["claim"] in OF_A_SINK:
                both = weaker(verdicts[row["claim"]], verdicts["sink_attends"])
                verdicts[row["claim"]], row["verdict"] = both, both.value
        if set(NO_OP) <= set(verdicts):
            rows.append(self._no_op([verdicts[part] for part in NO_OP]))
        return rows

    def _judged(self, finding: Finding) -> dict[str, Any]:
        gate = "; as weak as sink_attends" if finding.claim in OF_A_SINK else ""
        said = Statement(
            claim=finding.claim,
            statement=finding.statement,
            statistic=f"{finding.statistic}, odd sequences{gate}",
        )
        values, bar = finding.values, finding.bar
        if finding.larger:
            return self.judged(said, values, bar)
        # Smaller is larger with the signs turned, which leaves one rule for all verdicts.
        turned = replace(bar, threshold=-bar.threshold, control=-bar.control)
        return _turned(self.judged(said, -values, turned))

    def _no_op(self, parts: Sequence[Verdict]) -> dict[str, Any]:
        """All parts together: the interval runs from what holds to what may still hold."""
        held = float(sum(part is Verdict.SUPPORTED for part in parts))
        possible = float(sum(part is not Verdict.NOT_SUPPORTED for part in parts))
        said = Statement(
            claim="no_op_sink",
            statement="The sink is a no-op: heads look there when they have nothing to do, and so "
            "do nothing",
            statistic=f"how many of {', '.join(NO_OP)} are supported",
        )
        bar = len(parts) - 0.5, "all are needed; the upper end counts the undecided ones"
        return self.decided(said, Interval(held, held, possible), Interval.exactly(0.0), bar)


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose numbers have the other sign, and whose verdict stays."""
    ends = {"lower": "upper", "control_lower": "control_upper"}
    sources = {name: name for name in ("estimate", "control", "threshold")}
    sources |= ends | {upper: lower for lower, upper in ends.items()}
    return {**row, **{n: None if row[s] is None else -row[s] for n, s in sources.items()}}


def _mass_findings(measured: Measured) -> list[Finding]:
    """Is there a sink, and does it come with the token or with the position?"""
    if not measured.has_text:
        return []
    head, main = measured.strongest("sink_mass", measured.main), measured.main
    bare = measured.strongest("sink_mass", WORD_FIRST)
    found = [
        Finding(
            claim="sink_attends",
            statement=f"{head}, the strongest on the even sequences, puts more than half of its "
            f"attention on {measured.place}",
            statistic=f"attention to {measured.place}",
            values=measured.odd("sink_mass", main, head),
            bar=Bar(
                threshold=SINK,
                control=measured.odd("sink_mass", main, head, "chance"),
                control_name="uniform attention",
            ),
        ),
        Finding(
            claim="sink_without_bos",
            statement=f"Without any BOS, {bare}, then the strongest on the even sequences, still "
            f"puts more than {PUBLISHED_MASS[0]} of its attention on position 0",
            statistic="attention to an ordinary word at position 0",
            values=measured.odd("sink_mass", WORD_FIRST, bare),
            bar=Bar(
                threshold=PUBLISHED_MASS[0],
                control=measured.odd("sink_mass", WORD_FIRST, bare, "chance"),
                control_name="uniform attention",
            ),
        ),
    ]
    return [*found, *_token_findings(measured, head)] if measured.has_bos else found


def _token_findings(measured: Measured, head: Head) -> list[Finding]:
    first = measured.odd("attention_to_0", BOS_FIRST, head)
    word = measured.odd("attention_to_0", WORD_FIRST, head)
    moved = measured.odd("attention_to_middle", BOS_MOVED, head)
    by_chance = measured.odd("attention_to_0", BOS_FIRST, head, "chance")
    return [
        Finding(
            claim="sink_is_token",
            statement=f"The sink of {head} is the token, not the position: moved to the middle, "
            f"BOS gets at least {TOKEN_OVER_POSITION} more attention than the word at position 0",
            statistic="attention to BOS in the middle minus attention to the word at position 0",
            values=moved - measured.odd("attention_to_0", BOS_MOVED, head),
            bar=Bar(
                threshold=TOKEN_OVER_POSITION,
                control=measured.odd("attention_to_middle", WORD_FIRST, head) - word,
                control_name="words at both",
            ),
        ),
        Finding(
            claim="sink_needs_both",
            statement=f"The sink of {head} needs BOS and position 0 together: BOS at position 0 "
            f"gets at least {TOKEN_OVER_POSITION} more attention than BOS in the middle and a word "
            "at position 0 taken together",
            statistic="attention to BOS at position 0, minus BOS in the middle, minus a word at "
            "position 0",
            values=first - moved - word,
            bar=Bar(
                threshold=TOKEN_OVER_POSITION, control=-by_chance, control_name="uniform attention"
            ),
        ),
    ]


def _effect_findings(measured: Measured) -> list[Finding]:
    """Does the sink carry anything, is its attention needed, is its activation massive?"""
    if not measured.has_text:
        return []
    head, layer = measured.strongest("sink_mass", measured.main), measured.massive_layer()
    place, top, half = measured.place, measured.top, "second_half"
    return [
        Finding(
            claim="sink_carries_little",
            statement=f"What {head} reads from {place} is less than a tenth of what it writes",
            statistic=f"norm of what {place} adds to the head's output over the norm of the output",
            values=measured.odd("carried_share", measured.main, head),
            bar=Bar(
                threshold=CARRIES_LITTLE,
                control=measured.odd("carried_by_attention", measured.main, head),
                control_name="the same attention to a value of mean norm",
            ),
            larger=False,
        ),
        Finding(
            claim="sink_value_unused",
            statement=f"Without the value of {place}, {top} leave the predictions as they are",
            statistic="KL(base || value zeroed) over the second half, nats",
            values=measured.effect("top", Method.ZERO_VALUE, half),
            bar=Bar(
                threshold=NEGLIGIBLE_KL,
                control=measured.effect("top_elsewhere", Method.ZERO_VALUE, half),
                control_name="the value at one random other position zeroed",
            ),
            larger=False,
        ),
        Finding(
            claim="sink_attention_needed",
            statement=f"With {place} hidden from {top}, so that their attention goes elsewhere, "
            "the predictions change",
            statistic="KL(base || key masked), nats",
            values=measured.effect("top", Method.MASK_KEY, "after"),
            bar=Bar(
                threshold=NEGLIGIBLE_KL,
                control=measured.effect(measured.other_heads, Method.MASK_KEY, "after"),
                control_name=f"the key hidden from {OTHER_HEADS[measured.other_heads]}",
            ),
        ),
        Finding(
            claim="sink_massive",
            statement=f"Entering layer {layer}, the residual stream at {place} is at least "
            f"{MASSIVE:.0f} times as large as elsewhere",
            statistic="norm at position 0 over the mean norm at other positions",
            values=measured.ratio("residual_norm_ratio", layer),
            bar=Bar(
                threshold=MASSIVE,
                control=measured.ratio("residual_norm_ratio_elsewhere", layer),
                control_name="random other positions",
            ),
        ),
    ]


def _resting(measured: Measured) -> Finding:
    head = measured.strongest("induction", "repeated")
    return Finding(
        claim="sink_rests",
        statement=f"{head}, the strongest induction head on the even sequences, rests on position "
        f"0: tokens without an earlier copy put at least {RESTING} more of its attention there",
        statistic="attention to position 0 from new tokens of the first block minus from copied "
        "ones of the second",
        values=measured.odd("resting", "repeated", head),
        bar=Bar(
            threshold=RESTING,
            control=measured.odd("resting", "fresh", head),
            control_name="new tokens in both blocks",
        ),
    )
