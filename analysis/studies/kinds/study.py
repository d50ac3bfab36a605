"""Everything that is asked about kinds of ablation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from analysis.errors import UserError
from analysis.interventions import (
    HeadSet,
    Method,
    Pooling,
    layer_matched_sets,
    random_sets,
    worth_drawing,
)
from analysis.interventions.heads import heads_of, parse_heads
from analysis.models.load import Model
from analysis.questions.asked import Profile
from analysis.questions.experiment import Experiment
from analysis.questions.second_text import no_second_text, second_text
from analysis.questions.study import Recall, TextStudy
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import usual_heads
from analysis.text.builtin import text_said

from .ablation_sweep import AblationSweep
from .claims import FIGURES, KindClaims, KindEvidence, ranking
from .estimates import DirectEffects, GradientEstimates
from .identities import AblationIdentities

KINDS = {
    "zero": (Method.ZERO, Pooling.PER_POSITION, None),
    "mean per position": (Method.MEAN, Pooling.PER_POSITION, None),
    "mean pooled": (Method.MEAN, Pooling.POOLED, None),
    "resample": (Method.RESAMPLE, Pooling.PER_POSITION, None),
    "uniform": (Method.UNIFORM, Pooling.PER_POSITION, None),
    "mean value": (Method.MEAN_VALUE, Pooling.PER_POSITION, None),
    "zero value at 0": (Method.ZERO_VALUE, Pooling.PER_POSITION, (0,)),
    "mask key 0": (Method.MASK_KEY, Pooling.PER_POSITION, (0,)),
}
"""The kinds of ablation that are compared: method, what means are over, positions."""


@dataclass(frozen=True, kw_only=True)
class KindSizes:
    """How much of what this study alone measures."""

    set_sizes: tuple[int, ...]
    """Heads ablated together: one, and more up to a third of the model's."""
    n_identity: int
    """Sequences on which interventions are compared exactly."""
    drawn_tokens: int
    """Drawn at every position to estimate KL, where `worth_drawing` says that it is worth it; 0 to
    compare the whole vocabulary of every model."""


SIZES = {
    Profile.TINY: KindSizes(set_sizes=(1, 4), n_identity=2, drawn_tokens=0),
    Profile.QUICK: KindSizes(set_sizes=(1, 2, 4, 8), n_identity=8, drawn_tokens=256),
    Profile.FULL: KindSizes(set_sizes=(1, 2, 3, 4, 6, 8, 10), n_identity=8, drawn_tokens=1024),
}


@dataclass(frozen=True)
class KindStudy(TextStudy[KindSizes]):
    """Do different kinds of ablation agree on which heads matter?"""

    SIZES = SIZES
    FIGURES = FIGURES

    def kinds(self) -> dict[str, AblationSweep]:
        """Every head alone, under every kind of ablation."""
        names = tuple((str(head),) for head in heads_of(self.asked.card))
        return {kind: self._sweep("single", names, None, kind) for kind in KINDS}

    def second(self) -> dict[str, AblationSweep]:
        """Every head alone under `zero` on the second text, by what that is; none without one."""
        if self.no_second:
            return {}
        other = KindStudy(second_text(self.asked))
        return {text_said(other.asked.text): other.kinds()["zero"]}

    @property
    def no_second(self) -> str:
        """Why there is no second text."""
        return no_second_text(self.asked, self.asked.ablated()["n_tokens"])

    def sets(self, singles: Evidence) -> dict[str, AblationSweep]:
        """The heads that matter most alone, zeroed together, and random sets beside them.

        Args:
            singles: Every head alone under `zero`; the ranking is by its even sequences.

        Returns:
            Sweeps by family; the others have only the sizes that there is room for, and a family
            without any is missing.
        """
        return self._sets(parse_heads(ranking(singles), self.asked.card))

    def _sets(self, ranked: HeadSet) -> dict[str, AblationSweep]:
        every = heads_of(self.asked.card)
        sets: dict[str, list[HeadSet]] = {"top": [], "random": [], "layer_matched": []}
        for size in (size for size in self.sizes.set_sizes if size <= max(1, len(every) // 3)):
            top = ranked[:size]
            n, seed = self.asked.sizes.n_draws, self.asked.seed
            sets["top"].append(top)
            with suppress(UserError):  # only of a single head are there too few others
                sets["random"] += random_sets(every, top, size, n, seed)
            with suppress(UserError):
                sets["layer_matched"] += layer_matched_sets(every, top, n, seed)
        return {
            family: self._sweep(
                family,
                tuple(tuple(map(str, heads)) for heads in found),
                None if family == "top" else 0,
                "zero",
            )
            for family, found in sets.items()
            if found
        }

    def _sweep(
        self, family: str, sets: tuple[tuple[str, ...], ...], first_draw: int | None, kind: str
    ) -> AblationSweep:
        method, pooling, positions = KINDS[kind]
        n_drawn = self.sizes.drawn_tokens
        return AblationSweep(
            **self.asked.ablated(),
            method=method.value,
            pooling=pooling.value,
            positions=positions,
            family=family,
            sets=sets,
            first_draw=first_draw,
            drawn_tokens=n_drawn if worth_drawing(self.asked.card, n_drawn) else 0,
        )

    def identities(self) -> AblationIdentities:
        """Which ways to switch a head off are the same."""
        return AblationIdentities(**self.asked.ablated(self.sizes.n_identity))

    def direct_effects(self) -> DirectEffects:
        """Every head's own part of a logit."""
        return DirectEffects(**self.asked.ablated())

    def gradient_estimates(self) -> GradientEstimates:
        """What one gradient says of every head."""
        return GradientEstimates(**self.asked.ablated(), method="zero")

    def evidence(self, recall: Recall) -> KindEvidence:
        """What the kinds of ablation are judged by."""
        kinds = {kind: recall(sweep) for kind, sweep in self.kinds().items()}
        second = {text: recall(sweep) for text, sweep in self.second().items()}
        return KindEvidence(
            kinds=kinds,
            estimates={"one gradient": recall(self.gradient_estimates())},
            identities=recall(self.identities()),
            sets={family: recall(sweep) for family, sweep in self.sets(kinds["zero"]).items()},
            second=second,
        )

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """Direct effects, where heads have none."""
        return self.direct_effects().gaps(model)

    def claims(self, evidence: KindEvidence) -> KindClaims:
        """What ablations show whichever way they are done."""
        asked = self.asked
        return KindClaims(
            card=asked.card,
            seed=asked.seed,
            text=text_said(asked.text),
            no_second=self.no_second,
            evidence=evidence,
        )

    def expected(self) -> Iterator[Experiment]:
        """Sets of heads, the top ones and those beside them."""
        n_top = max(self.sizes.set_sizes)
        yield from self._sets(usual_heads(self.asked.card, n_top)).values()

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on kinds of ablation, and each head's direct effect beside them."""
        recall(self.direct_effects())
        yield recall(self.claims(self.evidence(recall)))


STUDY = KindStudy
