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
from analysis.questions.verdicts.judgement import (
    Bar,
    Evidence,
    Group,
    Judgement,
    Statement,
    answers_of,
)
from analysis.studies.redundancy.claims import REDUNDANT, aligned, indices, mean_of

from .question import EFFECT_ERROR, HARM

FIGURES = {
    "component_redundant_attention": "07_component_redundancy#pair_in_attention",
    "component_redundant_predictions": "07_component_redundancy#pair_in_predictions",
    "component_*specific": "07_component_redundancy#pair_in_attention",
    "component_adversary": "07_component_redundancy#adversary_chart",
}

SPECIFIC = 0.1
"""An ablation is specific to offset 1 where R there is above its mean at others by more."""
POOLED = "redundancy_pooled"
"""R of all sequences together, which is shown; claims are on R of every sequence, bounded."""

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

    version: ClassVar[int] = 3
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
            mine = indices(self.evidence.modes[WHOLE], at)
            others = (indices(answer, at) for answer in self.evidence.matched.values())
            offsets = [values for lag, values in mine.items() if lag > 1]
            controls = [*offsets, mean_of(offsets)] if offsets else []
            controls += [found[1] for found in others if 1 in found]
            if not controls or 1 not in mine:
                continue
            said = Statement(
                claim=f"component_redundant_{place}",
                statement=f"With {self.evidence.pair} ablated at t and t-1, removing the values "
                f"at t-1 changes {where} by less than half of what it does alone, a smaller share "
                "than at other offsets and with other pairs of components ablated",
                statistic="R of B(all) at offset 1, each between -1 and 1, mean over sequences",
            )
            note = (
                "the most of other offsets, of their mean, and of random pairs of matched norm at "
                "offset 1"
            )
            tested = aligned([(mine[1], controls)])
            yield self.judged_all(said, tested, (REDUNDANT, note))

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
            ((mine, (other,)),) = aligned([(values, [control])])
            against = Bar(threshold=bar, control=other, control_name=whose)
            yield self.judged(said, mine, against)

    def _ways(self) -> Iterator[dict[str, Any]]:
        """Whether an adversary makes the pair matter more, on the sequences that it has."""
        modes = self.evidence.modes
        adversarial, plain = (
            by_sequence(modes[mode.value], HARM) for mode in (Mode.ADVERSARIAL, Mode.DETERMINISTIC)
        )
        if adversarial.size and plain.size:
            said = Statement(
                claim="component_adversary",
                statement="Where an adversary chooses all other masks in both arms, ablating "
                f"{self.evidence.pair} does more harm to predictions than where they are all 1",
                statistic="KL(target || A) - KL(target || base), nats, mean over sequences",
            )
            bar = Bar(threshold=0.0, control=plain[: adversarial.size], control_name="all masks 1")
            yield self.judged(said, adversarial, bar)

    def checks(self) -> Iterator[dict[str, Any]]:
        """Whether shared draws are as little noisy as draws apart: their noise cancels."""
        common, apart = (
            by_sequence(self.evidence.modes[mode.value], EFFECT_ERROR)
            for mode in (Mode.STOCHASTIC, Mode.STOCHASTIC_APART)
        )
        if common.size and common.size == apart.size and apart.any():
            yield self.checked(
                "component_shared_draws",
                "With the same masks drawn for both arms, the standard error of the effect of "
                f"ablating {self.evidence.pair} is no larger than with masks drawn apart: by how "
                "much it is, as a share, mean over sequences",
                max(0.0, float(common.mean() / apart.mean() - 1)),
                same=True,
            )


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
        By sequence the difference of R of B(all), each within -1 and 1, from its mean over the
        other offsets, and the mean of that over answers; NaN where it is undefined.
    """
    found = [indices(answer, layer) for answer in answers]
    known = aligned(
        [(r[1], [r[lag] for lag in r if lag > 1]) for r in found if len(r) > 1 and 1 in r]
    )
    return mean_of([first - mean_of(others) for first, others in known])
