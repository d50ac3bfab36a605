"""Claims about the components of an induction circuit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.judgement import Evidence, Judgement, Statement
from analysis.statistics.comparisons import permutation_p
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

    version: ClassVar[int] = 2
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
        yield self._claim(
            "components_needed",
            f"{self.copier} needs a few components: it looks at the target with at least "
            f"{NEEDED:g} less of its attention without {chosen}, and loses more than without "
            "random ones of the same weights and norms",
            "fall of the induction score",
            self._against_matched(self._falls),
            NEEDED,
        )
        yield self._claim(
            "components_needed_loss",
            f"Copying needs them: the loss on the second copy rises by at least {COPYING_BY_PATH:g}"
            f" nats per token without {chosen}, and by more than without random ones",
            "rise of the loss on the second copy",
            self._against_matched(self._rises),
            COPYING_BY_PATH,
        )
        n = self.effects["component_scores"].filter(score="norm").height
        yield self._claim(
            "components_concentrated",
            f"What components do to {self.copier} is concentrated: the {self.few} largest effects "
            f"of {n} are at least {CONCENTRATED:.0%} of all in summed squares, and more than by "
            "their norms",
            "share of the summed squared effects",
            (
                mean_interval(self._share("component_share_few"), self.seed),
                mean_interval(self._share("component_norm_share"), self.seed),
                "share that the same components have of the summed squared norms",
            ),
            CONCENTRATED,
        )
        joint, alone, first = (
            self._falls(condition(family, size).name)
            for family, size in ((TOP, self.few), (SUM, self.few), (TOP, 1))
        )
        yield self._claim(
            "components_additive",
            f"Effects add up: of what {self.copier} loses without {chosen}, and the sum of what it "
            f"loses without each alone, the smaller is at least {ADDITIVE:g} of the larger, and "
            "they are closer than the former and what it loses without the first alone",
            "joint fall of the induction score and sum of single falls, smaller over larger",
            (
                closeness(joint, alone, self.seed),
                closeness(joint, first, self.seed),
                "joint fall and the fall without the first component alone",
            ),
            ADDITIVE,
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
        self, measure: Callable[[str], np.ndarray]
    ) -> tuple[Interval, Interval, str]:
        """Chosen components together, and the central 95 % of the random sets."""
        own = measure(condition(TOP, self.few).name)
        sets = self.effects["ablations"].filter(family=MATCHED)
        names = [condition(MATCHED, self.few, draw).name for draw in sets["draw"].unique().sort()]
        random = np.array([measure(name).mean() for name in names], dtype=float)
        words = "no other components"
        if random.size:
            p = permutation_p(float(own.mean()), random)
            words = f"central 95 % of {random.size} random sets, permutation p = {p:.3f}"
        return mean_interval(own, self.seed), central(random), words

    def _share(self, score: str) -> np.ndarray:
        """A share of the induction head's, by sequence."""
        rows = self.effects["head_scores"].filter(score=score)
        return sequences(rows, Head.parse(self.copier))

    def _claim(
        self,
        claim: str,
        statement: str,
        statistic: str,
        measured: tuple[Interval, Interval, str],
        threshold: float,
    ) -> dict[str, Any]:
        said = Statement(claim=claim, statement=statement, statistic=statistic)
        estimate, control, words = measured
        return self.decided(said, estimate, control, (threshold, f"control: {words}"))


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
