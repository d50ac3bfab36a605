"""Claims about the components of an induction circuit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.verdicts.head_sets import set_null
from analysis.questions.verdicts.judgement import Bar, Evidence, Judgement, Statement
from analysis.questions.verdicts.verdict import Null
from analysis.statistics.comparisons import sign_flip_p
from analysis.statistics.resampling import Interval, central, mean_interval, ratio_of_sums
from analysis.studies.circuit.claims import COPYING_BY_PATH, NEEDED, sequences

from .measures import MATCHED, SUM, TOP, condition, judged_size

FIGURES = {
    "components_needed": "02_induction_circuit#components_together",
    "components_additive": "02_induction_circuit#components_together",
    "components_concentrated": "02_induction_circuit#concentration_table",
    "components_needed_loss": "02_induction_circuit#component_claim_chart",
}

CONCENTRATED = 0.5
"""Share of the summed squared effects from which a few components carry what is done to a head."""

ADDITIVE = 0.8
"""Effects add up where the joint effect and the sum of the single ones are at least so close: the
smaller over the larger."""


@dataclass(frozen=True, kw_only=True)
class ComponentEffectClaims(Judgement):
    """Are a few components what an induction head needs, and do their effects add up?

    Components are chosen on the even blocks, as many as a circuit of one a weight would take, and
    judged on the odd ones.
    """

    version: ClassVar[int] = 3
    chapter: ClassVar[str] = "02_induction_circuit"

    copier: str
    """The induction head, as `L2H4`."""
    effects: Evidence
    """Answer of `ComponentEffects`."""

    @cached_property
    def few(self) -> int:
        """How many components are judged together."""
        return judged_size(self.effects["ablations"])

    def claims(self) -> Iterator[dict[str, Any]]:
        """Rows of `claims`."""
        chosen = f"the {self.few} components that harm {self.copier} most alone"
        needed = Statement(
            claim="components_needed",
            statement=f"{self.copier} needs a few components: it looks at the target with at least "
            f"{NEEDED:g} less of its attention without {chosen}, and loses more than without "
            "random ones of the same weights and norms",
            statistic="fall of the induction score",
        )
        yield self._against_matched(needed, self._falls, NEEDED)
        loss = Statement(
            claim="components_needed_loss",
            statement="Copying needs them: the loss on the second copy rises by at least "
            f"{COPYING_BY_PATH:g} nats per token without {chosen}, and by more than without random "
            "ones",
            statistic="rise of the loss on the second copy",
        )
        yield self._against_matched(loss, self._rises, COPYING_BY_PATH)
        n = self.effects["component_scores"].filter(score="norm").height
        concentrated = Statement(
            claim="components_concentrated",
            statement=f"What components do to {self.copier} is concentrated: the {self.few} "
            f"largest effects of {n} are at least {CONCENTRATED:.0%} of all in summed squares, and "
            "more than by their norms",
            statistic="share of the summed squared effects",
        )
        bar = Bar(
            threshold=CONCENTRATED,
            control=self._share("component_norm_share"),
            control_name="share that the same components have of the summed squared norms",
        )
        yield self.judged(concentrated, self._share("component_share_few"), bar)
        yield self._additive(chosen)

    def _additive(self, chosen: str) -> dict[str, Any]:
        """Is the joint fall nearer to the sum of the single ones than to the first of them?"""
        joint, alone, first = (
            self._falls(condition(family, size).name)
            for family, size in ((TOP, self.few), (SUM, self.few), (TOP, 1))
        )
        said = Statement(
            claim="components_additive",
            statement=f"Effects add up: of what {self.copier} loses without {chosen}, and the sum "
            f"of what it loses without each alone, the smaller is at least {ADDITIVE:g} of the "
            "larger, and they are closer than the former and what it loses without the first alone",
            statistic="joint fall of the induction score and sum of single falls, smaller over "
            "larger",
        )
        nearer = np.abs(joint - first) - np.abs(joint - alone)
        p, size = sign_flip_p(nearer, self.seed)
        return self.decided(
            said,
            closeness(joint, alone, self.seed),
            closeness(joint, first, self.seed),
            (ADDITIVE, "control: joint fall and the fall without the first component alone"),
            beyond=mean_interval(nearer, self.seed),
            null=Null(p=p, size=size),
        )

    def _falls(self, name: str) -> np.ndarray:
        """What the induction head loses under a condition, by sequence."""
        changed = self.effects["head_effects"].filter(
            pl.col("sequence").is_not_null(), condition=name, score="induction"
        )
        return -changed.sort("sequence")["value"].to_numpy()

    def _rises(self, name: str) -> np.ndarray:
        """What the loss on the second copy gains, by sequence."""
        rows = self.effects["ablation_effects"].filter(condition=name).sort("sequence")
        return rows["loss_change"].to_numpy()

    def _against_matched(
        self, said: Statement, measure: Callable[[str], np.ndarray], threshold: float
    ) -> dict[str, Any]:
        """Chosen components together, beside different random sets on the same sequences."""
        own = measure(condition(TOP, self.few).name)
        sets = self.effects["ablations"].filter(family=MATCHED, size=self.few).sort("draw")
        rows = sets.select("heads", "condition").rows()
        different = {frozenset(parts.split(",")): name for parts, name in rows if parts}
        random = np.array([measure(name) for name in different.values()], dtype=float)
        drawn = random.mean(1) if different else np.empty(0)
        null, told = set_null(float(own.mean()), drawn)
        gaps = own - (random.mean(0) if different else np.nan)
        note = f"control: central 95 % of {len(different)} random sets; {told}"
        return self.decided(
            said,
            mean_interval(own, self.seed),
            central(drawn),
            (threshold, note),
            beyond=mean_interval(gaps, self.seed),
            null=null,
        )

    def _share(self, score: str) -> np.ndarray:
        """A share of the induction head's, by sequence."""
        rows = self.effects["head_scores"].filter(score=score)
        return sequences(rows, Head.parse(self.copier))


def closeness(one: np.ndarray, other: np.ndarray, seed: int) -> Interval:
    """How near two sums over sequences are to each other.

    Args:
        one: One number a sequence.
        other: The same sequences.
        seed: Of the bootstrap.

    Returns:
        The smaller over the larger, in [0, 1], and 0 where their signs differ; with an interval
        that follows from that of their ratio.
    """
    ratio, lower, upper = ratio_of_sums(one[:, None], other[:, None], seed).intervals()[0]
    ends = (_nearness(lower), _nearness(upper))
    return Interval(_nearness(ratio), min(ends), 1.0 if lower <= 1 <= upper else max(ends))


def _nearness(ratio: float) -> float:
    """A ratio or its inverse, whichever is smaller; 0 if it is negative."""
    return 0.0 if ratio <= 0 else min(ratio, 1 / ratio)
