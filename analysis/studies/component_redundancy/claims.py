"""Claims on components of a previous-token head: their redundancy, and the ways to ablate them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.components.ablation import Mode
from analysis.interventions import Head
from analysis.questions.judgement import Bar, Evidence, Group, Judgement, Statement, answers_of
from analysis.statistics.resampling import Interval
from analysis.studies.redundancy.claims import REDUNDANT, indices, largest

from .question import EFFECT_ERROR, HARM

FIGURES = {
    "component_redundant_attention_*": "07_component_redundancy#pair_in_attention",
    "component_redundant_predictions_*": "07_component_redundancy#pair_in_predictions",
    "component_*specific": "07_component_redundancy#pair_in_attention",
    "component_adversary": "07_component_redundancy#adversary_chart",
    "component_shared_draws": "07_component_redundancy#ways_table",
}

SPECIFIC = 0.1
"""An ablation is specific to offset 1 where R there is above its mean at others by more."""
ENDS = (-1.0, 1.0)
"""R of a sequence counts as one of these beyond them, so that no sequence rules a mean."""

POOLED = "redundancy_pooled"
"""R of all sequences together: ablated components can move so much attention elsewhere that single
sequences would rule a mean of R."""

WHOLE = Mode.DETERMINISTIC.value
"""The mode that claims are about where none is named: everything else is the target itself."""


@dataclass(frozen=True, kw_only=True)
class ComponentEvidence:
    """What the redundancy of components is judged by."""

    head: str
    """The strongest previous-token head."""
    pair: str
    """The components, as `h.1.attn.q_proj:12,h.1.attn.k_proj:7`."""
    modes: Mapping[str, Evidence]
    """The pair under every mode: answers of `ComponentRedundancy`."""
    within: Mapping[str, Evidence]
    """The pair cut from that head alone, by mode; `deterministic` is one."""
    matched: Mapping[str, Evidence]
    """Random pairs of matched norm by their names, `deterministic`."""
    zeroed: Evidence
    """The head itself: an answer of `ValueRedundancy`, on the same positions."""


@dataclass(frozen=True, kw_only=True)
class ComponentRedundancyClaims(Judgement):
    """Is the value one back all that a pair of components was for, and how sure is an ablation?

    Published: ablating the head is specific to offset 1, ablating the component is flat over
    offsets, and ablating the component within the head lies between.
    """

    version: ClassVar[int] = 1
    chapter: ClassVar[str] = "07_component_redundancy"

    evidence: ComponentEvidence

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return {**answers_of(self.evidence), "zeroed": {self.evidence.head: self.evidence.zeroed}}

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`; one whose number is undefined on every sequence has none."""
        return [*self._redundant(), *self._specific(), *self._ways()]

    def _redundant(self) -> Iterator[dict[str, Any]]:
        """Whether R is large at offset 1, against other offsets and against random pairs."""
        layer = Head.parse(self.evidence.head).layer
        places = {
            "attention": (layer, f"the attention output of layer {layer}"),
            "predictions": (None, "the predictions"),
        }
        for place, (at, where) in places.items():
            mine = indices(self.evidence.modes[WHOLE], at, POOLED)
            others = [
                found[1]
                for answer in self.evidence.matched.values()
                if 1 in (found := indices(answer, at, POOLED))
            ]
            offsets = [figure for lag, figure in mine.items() if lag > 1]
            for kind, plural, figures, whose in (
                ("offset", "offsets", offsets, "the other offsets"),
                ("pair", "pairs of components", others, "random pairs of matched norm, offset 1"),
            ):
                control = largest(figures)
                if control is None or 1 not in mine:
                    continue
                said = Statement(
                    claim=f"component_redundant_{place}_{kind}",
                    statement=f"With {self.evidence.pair} ablated at t and t-1, removing the "
                    f"values at t-1 changes {where} by less than half of what it does alone, "
                    f"unlike other {plural}",
                    statistic="R of B(all) at offset 1, of all sequences together",
                )
                note = f"control: the largest estimate, lower and upper end of {whose}"
                yield self.decided(said, mine[1], control, (REDUNDANT, note))

    def _specific(self) -> Iterator[dict[str, Any]]:
        """Whether offset 1 is special to the head, to the pair within it, and to the pair."""
        found, layer = self.evidence, Head.parse(self.evidence.head).layer
        whole, within, zeroed = (
            specificity([answer], layer)
            for answer in (found.modes[WHOLE], found.within[WHOLE], found.zeroed)
        )
        matched = specificity(list(found.matched.values()), layer)
        head, place = found.head, f"in the attention output of layer {layer}"
        what = "R at offset 1 minus its mean at other offsets, R between -1 and 1"
        for name, statement, values, control, whose, bar in (
            (
                "component_specific",
                f"Ablating {found.pair} is specific to offset 1 and not flat over offsets, {place}",
                *(whole, matched, "the mean over random pairs of matched norm", SPECIFIC),
            ),
            (
                "component_within_specific",
                f"Cut from {head} alone, {found.pair} is more specific to offset 1 than cut from "
                f"all heads, {place}",
                *(within, whole, "cut from all heads", 0.0),
            ),
            (
                "component_head_specific",
                f"Zeroing {head} is more specific to offset 1 than cutting {found.pair} from it, "
                f"{place}",
                *(zeroed, within, f"cut from {head}", 0.0),
            ),
        ):
            if np.isnan(values).all() or np.isnan(control).all():
                continue
            said = Statement(claim=name, statement=statement, statistic=what)
            against = Bar(threshold=bar, control=control, control_name=whose)
            yield self.judged(said, values, against)

    def _ways(self) -> Iterator[dict[str, Any]]:
        """Whether shared draws are less noisy, and an adversary makes the pair matter more."""
        modes = self.evidence.modes
        common, apart = (
            by_sequence(modes[mode.value], EFFECT_ERROR)
            for mode in (Mode.STOCHASTIC, Mode.STOCHASTIC_APART)
        )
        if len(common) and len(common) == len(apart):
            said = Statement(
                claim="component_shared_draws",
                statement="With masks drawn apart for both arms, the standard error of the effect "
                f"of ablating {self.evidence.pair} is larger than with the same draws in both",
                statistic="Standard error over draws of the change of the probability of the "
                "target's token, drawn apart minus the same draws, paired by sequence",
            )
            zero = np.zeros_like(common)
            name = "the same draws in both arms: no difference, by definition"
            same = Bar(threshold=0.0, control=zero, control_name=name)
            yield self.judged(said, apart - common, same)
        adversarial, plain = (
            figure(modes[mode.value], HARM) for mode in (Mode.ADVERSARIAL, Mode.DETERMINISTIC)
        )
        if adversarial is not None and plain is not None:
            said = Statement(
                claim="component_adversary",
                statement="Where an adversary chooses all other masks in both arms, ablating "
                f"{self.evidence.pair} does more harm to predictions than where they are all 1",
                statistic="KL(target || A) - KL(target || base), nats, mean over sequences",
            )
            note = "control: all masks 1, on more sequences"
            yield self.decided(said, adversarial, plain, (0.0, note))


def figure(answer: Evidence, metric: str) -> Interval | None:
    """A number of A in the predictions, with its interval; None where it has none."""
    every = _of_a(answer, metric)
    rows = every.filter(pl.col("sequence").is_null(), pl.col("lower").is_not_null())
    return None if rows.is_empty() else Interval(*rows.select("value", "lower", "upper").row(0))


def by_sequence(answer: Evidence, metric: str) -> Float[np.ndarray, " sequence"]:
    """A number of A in the predictions on every sequence, in order; empty if it has none."""
    rows = _of_a(answer, metric).filter(pl.col("sequence").is_not_null())
    return rows.sort("sequence")["value"].to_numpy()


def _of_a(answer: Evidence, metric: str) -> pl.DataFrame:
    """Rows of a number of A in the predictions."""
    rows = answer["comparisons"].filter(reference="base", condition="A", metric=metric)
    return rows.filter(pl.col("layer").is_null())


def specificity(answers: Sequence[Evidence], layer: int) -> Float[np.ndarray, " sequence"]:
    """How far R at offset 1 is above R at other offsets.

    Args:
        answers: Of `ComponentRedundancy` or `ValueRedundancy`, on the same sequences.
        layer: Whose attention output.

    Returns:
        The difference of R of B(all), each within `ENDS`, from its mean over the other offsets,
        and the mean of that over answers; NaN for sequences where one of them is undefined.
    """
    rows = [
        answer["comparisons"]
        .filter(
            pl.col("sequence").is_not_null(),
            layer=layer,
            metric="redundancy",
            condition="A+B(all)",
        )
        .select("sequence", "lag", pl.col("value").clip(*ENDS))
        for answer in answers
    ]
    every = pl.concat(rows) if rows else pl.DataFrame(schema={"sequence": pl.Int32})
    if every.is_empty():
        return np.full(1, np.nan)
    means = every.group_by("sequence").agg(
        pl.col("value").filter(pl.col("lag") == 1).mean().alias("first"),
        pl.col("value").filter(pl.col("lag") > 1).mean().alias("others"),
    )
    known = means.with_columns(value=pl.col("first") - pl.col("others")).sort("sequence")
    return known["value"].cast(pl.Float64).fill_null(np.nan).to_numpy()
