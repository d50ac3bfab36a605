"""Everything that is asked about the redundancy of a previous-token head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.interventions import Head
from analysis.questions.asked import Profile
from analysis.questions.experiment import Experiment
from analysis.questions.study import Recall, TextStudy
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies.atlas.study import AtlasStudy
from analysis.studies.circuit.heads import previous_token_head, usual_circuit

from .claims import FIGURES, RedundancyClaims, RedundancyEvidence
from .query_offsets import QueryOffsets
from .question import MAX_TOKENS, ValueRedundancy

MAX_QUERY_OFFSET = 20
"""How far back attention from that position is shown."""
VALUE_METHODS = ("zero_value", "mean_value", "mask_key")
"""How values are ablated there."""


@dataclass(frozen=True, kw_only=True)
class RedundancySizes:
    """How much of what this study alone measures."""

    max_lag: int
    """How far back values are ablated from the position of a previous-token head."""
    n_others: int
    """Other heads of its layer that are compared, at most."""


SIZES = {
    Profile.TINY: RedundancySizes(max_lag=2, n_others=1),
    Profile.QUICK: RedundancySizes(max_lag=8, n_others=7),
    Profile.FULL: RedundancySizes(max_lag=8, n_others=7),
}


@dataclass(frozen=True)
class RedundancyStudy(TextStudy[RedundancySizes]):
    """Is the value a few tokens back all that a previous-token head carried?"""

    SIZES = SIZES
    FIGURES = FIGURES

    def value_redundancy(self, head: Head, method: str) -> ValueRedundancy:
        """Whether a value a few tokens back is all that a head carried."""
        return ValueRedundancy(
            **self._at_positions(), head=str(head), method=method, max_lag=self.sizes.max_lag
        )

    def query_offsets(self, head: Head) -> QueryOffsets:
        """Where heads look from a position with a head ablated there."""
        rows = self._at_positions()
        offset = min(MAX_QUERY_OFFSET, rows["n_tokens"] - 1)
        return QueryOffsets(**rows, head=str(head), max_offset=offset)

    def others_of_layer(self, head: Head) -> tuple[Head, ...]:
        """Other heads of a head's layer; a random draw where there are many."""
        n_heads = self.asked.card.heads_by_layer[head.layer]
        others = [Head(head.layer, i) for i in range(n_heads) if i != head.head]
        rng = np.random.default_rng(self.asked.seed)
        chosen = rng.permutation(len(others))[: self.sizes.n_others]
        return tuple(others[i] for i in sorted(chosen))

    def evidence(self, recall: Recall, head: Head) -> RedundancyEvidence:
        """What the redundancy of a previous-token head is judged by."""
        return RedundancyEvidence(
            head=str(head),
            methods={m: recall(self.value_redundancy(head, m)) for m in VALUE_METHODS},
            others={
                str(other): recall(self.value_redundancy(other, "zero_value"))
                for other in self.others_of_layer(head)
            },
        )

    def claims(self, evidence: RedundancyEvidence) -> RedundancyClaims:
        """What holds of previous-token redundancy."""
        return RedundancyClaims(card=self.asked.card, seed=self.asked.seed, evidence=evidence)

    def expected(self) -> Iterator[Experiment]:
        """Where heads look without one, and what values bring without it and others."""
        head = usual_circuit(self.asked.card).previous
        yield self.query_offsets(head)
        yield from (self.value_redundancy(head, method) for method in VALUE_METHODS)
        yield from (self.value_redundancy(o, "zero_value") for o in self.others_of_layer(head))

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on the redundancy of a previous-token head, and where heads look without it."""
        previous = previous_token_head(recall(AtlasStudy(self.asked).text_scores()))
        recall(self.query_offsets(previous))
        yield recall(self.claims(self.evidence(recall, previous)))

    def _at_positions(self) -> dict[str, Any]:
        """Text with a random position in every sequence."""
        return self.asked.text_rows(self.asked.sizes.n_positions, MAX_TOKENS)


STUDY = RedundancyStudy
