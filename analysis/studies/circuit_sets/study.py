"""Everything that is asked about circuits as wholes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from analysis.interventions import Head, Method
from analysis.interventions.heads import heads_of
from analysis.questions.asked import Asked
from analysis.questions.experiment import Experiment
from analysis.questions.halves import heads_by_score
from analysis.questions.study import Recall, Study
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import usual_heads
from analysis.studies.atlas.study import AtlasStudy
from analysis.studies.circuit.heads import looking_back
from analysis.studies.circuit.study import CircuitStudy

from .claims import FIGURES, CircuitSetClaims
from .conditions import USUAL_CIRCUIT
from .edges import MAX_HEADS, CircuitEdges
from .question import CircuitSets
from .views import needs

METHODS = (Method.RESAMPLE, Method.MEAN)
"""What stands in for heads that are not kept: both must leave the same behaviour."""


@dataclass(frozen=True)
class CircuitSetStudy(Study[None]):
    """How few heads are enough to copy, and is each of them needed?"""

    FIGURES = FIGURES

    @classmethod
    def hindrance(cls, asked: Asked) -> str:
        """As for the circuit that is made of a previous-token head and induction heads."""
        return CircuitStudy.hindrance(asked)

    def sets(self, method: Method, text: Evidence, induction: Evidence) -> CircuitSets:
        """What is left of copying with every head replaced but some.

        Args:
            method: What stands in.
            text: Answer of `TextScores`.
            induction: Answer of `InductionScores`.
        """
        return self._sets(method, by_attention(text, induction))

    def _sets(self, method: Method, ranking: tuple[str, ...]) -> CircuitSets:
        sizes = self.asked.sizes
        return CircuitSets(
            **self.asked.random(n_sequences=sizes.n_blocks, block_len=sizes.block_len),
            method=method.value,
            by_attention=ranking,
            n_draws=sizes.n_draws,
        )

    def edges(self, sets: Mapping[str, Evidence]) -> CircuitEdges:
        """What paths between heads of the circuit are worth, those that add most to it.

        Args:
            sets: Answers of `CircuitSets` by method; the circuit of `resample` is taken.
        """
        added = needs(sets, Method.RESAMPLE.value, self.asked.seed)
        return self._edges(sorted(added, key=lambda head: -added[head])[:MAX_HEADS])

    def _edges(self, circuit: Iterable[str]) -> CircuitEdges:
        sizes = self.asked.sizes
        return CircuitEdges(
            **self.asked.random(n_sequences=sizes.n_blocks, block_len=sizes.block_len),
            circuit=tuple(sorted(circuit)),
        )

    def between(self, sets: Mapping[str, Evidence], recall: Recall) -> Evidence | None:
        """What those paths are worth; none where there is no circuit."""
        return recall(self.edges(sets)) if sets else None

    def claims(self, sets: Mapping[str, Evidence]) -> CircuitSetClaims:
        """What holds of circuits as wholes."""
        return CircuitSetClaims(card=self.asked.card, seed=self.asked.seed, sets=sets)

    def evidence(self, recall: Recall) -> dict[str, Evidence]:
        """What is left under each method; nothing is asked of a model that does not copy."""
        atlas = AtlasStudy(self.asked)
        text, induction = recall(atlas.text_scores()), recall(atlas.induction_scores())
        if not atlas.copies(induction):
            return {}
        return {m.value: recall(self.sets(m, text, induction)) for m in METHODS}

    def expected(self) -> Iterator[Experiment]:
        """Circuits as wholes, and the paths between the heads of one."""
        card = self.asked.card
        for method in METHODS:
            yield self._sets(method, tuple(map(str, heads_of(card))))
        yield self._edges(map(str, usual_heads(card, USUAL_CIRCUIT)))

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on circuits as wholes."""
        sets = self.evidence(recall)
        self.between(sets, recall)  # no claim rests on it, and pages show it
        if sets:
            yield recall(self.claims(sets))


def by_attention(text: Evidence, induction: Evidence) -> tuple[str, ...]:
    """All heads by their induction or previous-token score, the larger of both, from the top.

    Args:
        text: Answer of `TextScores`; without a tokenizer its scores on random tokens count.
        induction: Answer of `InductionScores`.
    """
    looking = [
        *heads_by_score(induction["head_scores"], "induction", "repeated"),
        *looking_back(text),
    ]
    best: dict[Head, float] = {}
    for head, mean in looking:
        best[head] = max(best.get(head, 0.0), mean)
    ranked = sorted(best, key=lambda head: -best[head])
    return tuple(map(str, ranked))


STUDY = CircuitSetStudy
