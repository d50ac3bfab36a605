"""Claims on components of a previous-token head: their redundancy, and the ways to ablate them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.components.ablation import Mode
from analysis.interventions import Head
from analysis.questions.verdicts.centres import Centre
from analysis.questions.verdicts.judgement import (
    Evidence,
    Group,
    Judgement,
    Statement,
    answers_of,
)
from analysis.studies.redundancy.claims import (
    EACH,
    HALF,
    LOG_RATIO,
    aligned,
    by_lag,
    counted,
    left_out,
    log_ratios,
    mean_of,
    most_of,
)

from .question import EFFECT_ERROR, HARM

FIGURES = {
    "component_redundant_attention": "07_component_redundancy#pair_in_attention",
    "component_redundant_predictions": "07_component_redundancy#pair_in_predictions",
    "component_*specific": "07_component_redundancy#pair_in_predictions",
    "component_adversary": "07_component_redundancy#adversary_chart",
}

REDUNDANT = 0.5
"""A pair closes the channel of an offset where it takes more than half of it."""
SPECIFIC = HALF
"""An ablation is specific to offset 1 where the log-ratio there is above its mean at others by
more."""

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
    outside: Mapping[str, Evidence]
    """Random pairs of matched norm of which neither component is in a pair that adds much to the
    head's score, by their names, `deterministic`: the controls."""
    matched: Mapping[str, Evidence]
    """Random pairs of matched norm, whatever they add, at offset 1: shown, and no control."""
    zeroed: Evidence
    """The head itself: an answer of `ValueRedundancy`, on the same positions."""


@dataclass(frozen=True, kw_only=True)
class ComponentRedundancyClaims(Judgement):
    """Is the value one back all that a pair of components was for, and how sure is an ablation?

    In the attention output R says how much less is read at t-1 once the pair is ablated: unlike
    that of a zeroed head it takes a pass of its own, since the pattern changes, and could be 0.

    Published: ablating the head is specific to offset 1, ablating the component is flat over
    offsets, and ablating the component within the head lies between.
    """

    version: ClassVar[int] = 4
    chapter: ClassVar[str] = "07_component_redundancy"

    evidence: ComponentEvidence

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return {**answers_of(self.evidence), "zeroed": {self.evidence.head: self.evidence.zeroed}}

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`; one whose number is undefined on every sequence has none."""
        return [*self._redundant(), *self._specific(), *self._ways()]

    def _redundant(self) -> Iterator[dict[str, Any]]:
        """Whether the pair takes most at offset 1, against other offsets and other pairs."""
        found, layer = self.evidence, Head.parse(self.evidence.head).layer
        with_pair = f"With {found.pair} ablated at t and t-1, removing the values at t-1 changes"
        beside = "than at each other offset and with each of the pairs of about the same norm"
        beside += " outside the mechanism ablated"
        mine, controls = _beside(found, lambda answer: by_lag(answer, "redundancy", layer))
        if controls:
            said = Statement(
                claim="component_redundant_attention",
                statement=f"{with_pair} the attention output of layer {layer} by less than half of "
                f"what it does alone, and by a smaller part of it {beside}",
                statistic="R = 1 - |A - AB|^2 / |base - B|^2 of B(all) at offset 1: the median "
                "over sequences",
            )
            most = most_of(controls, REDUNDANT, Centre.MEDIAN)
            note = f"{EACH}; {most}"
            tested = aligned([(mine, [*controls.values()])])
            yield self.judged_all(said, tested, (REDUNDANT, note), Centre.MEDIAN)
        mine, controls = _beside(found, log_ratios)
        if controls:
            said = Statement(
                claim="component_redundant_predictions",
                statement=f"{with_pair} the predictions by less than half of what it does alone, "
                f"and by a smaller part of it {beside}",
                statistic=f"{LOG_RATIO}, B at offset 1: the median over sequences",
            )
            most = most_of(controls, HALF, Centre.MEDIAN)
            note = f"{counted([mine], left_out(found.modes[WHOLE]))}; {most}"
            tested = aligned([(mine, [*controls.values()])])
            yield self.judged_all(said, tested, (HALF, note), Centre.MEDIAN)

    def _specific(self) -> Iterator[dict[str, Any]]:
        """Whether offset 1 is special to the head, to the pair within it, and to the pair."""
        found = self.evidence
        whole, within, zeroed = (
            specificity([answer])
            for answer in (found.modes[WHOLE], found.within[WHOLE], found.zeroed)
        )
        outside, head = specificity(list(found.outside.values())), found.head
        for name, statement, values, control, whose, bar in (
            (
                "component_specific",
                f"Ablating {found.pair} is specific to offset 1 and not flat over offsets, in the "
                "predictions, and more so than ablating pairs outside the mechanism",
                *(whole, outside, "the mean over pairs of about the same norm outside", SPECIFIC),
            ),
            (
                "component_within_specific",
                f"Cut from {head} alone, {found.pair} is more specific to offset 1 than cut from "
                "all heads, in the predictions",
                *(within, whole, "cut from all heads", 0.0),
            ),
            (
                "component_head_specific",
                f"Zeroing {head} is more specific to offset 1 than cutting {found.pair} from it, "
                "in the predictions",
                *(zeroed, within, f"cut from {head}", 0.0),
            ),
        ):
            if np.isnan(values).all() or np.isnan(control).all():
                continue
            said = Statement(
                claim=name,
                statement=statement,
                statistic="log-ratio of KL at offset 1 minus its mean at other offsets: the median "
                "over sequences",
            )
            note = f"{EACH}; control: {whose}"
            tested = aligned([(values, [control])])
            yield self.judged_all(said, tested, (bar, note), Centre.MEDIAN)

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
                statistic="KL(target || A) - KL(target || base), nats, the median over sequences",
            )
            note = f"{EACH}; control: all masks 1"
            tested = [(adversarial, [plain[: adversarial.size]])]
            yield self.judged_all(said, tested, (0.0, note), Centre.MEDIAN)

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


def _beside(
    found: ComponentEvidence, numbers: Callable[[Evidence], Mapping[int, np.ndarray]]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A number of the pair at offset 1, and of its controls by name; no controls without it."""
    mine = numbers(found.modes[WHOLE])
    if 1 not in mine:
        return np.full(1, np.nan), {}
    controls = {f"offset {lag}": values for lag, values in mine.items() if lag > 1}
    others = {name: numbers(answer) for name, answer in found.outside.items()}
    return mine[1], controls | {name: by[1] for name, by in others.items() if 1 in by}


def specificity(answers: Sequence[Evidence]) -> Float[np.ndarray, " sequence"]:
    """How far the log-ratio at offset 1 is above that at other offsets.

    Args:
        answers: Of `ComponentRedundancy` or `ValueRedundancy`, on the same sequences.

    Returns:
        By sequence the difference of the log-ratio of B(all) from its mean over the other offsets,
        and the mean of that over answers; NaN where it is undefined.
    """
    found = [log_ratios(answer) for answer in answers]
    known = aligned(
        [(r[1], [r[lag] for lag in r if lag > 1]) for r in found if len(r) > 1 and 1 in r]
    )
    return mean_of([first - mean_of(others) for first, others in known])
