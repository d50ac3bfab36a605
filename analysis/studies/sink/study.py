"""Everything that is asked about the sink at position 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from analysis.models.load import Model
from analysis.questions.asked import Profile
from analysis.questions.study import Recall, TextStudy
from analysis.questions.verdicts.judgement import Evidence

from .claims import FIGURES
from .question import BosSink
from .verdicts import SinkClaims

N_SINKS = 4
"""Heads that interventions on the sink act on together, at most."""


@dataclass(frozen=True, kw_only=True)
class SinkSizes:
    """How much of what this study alone measures."""

    n_places: int
    """Random positions, and layer-matched sets, beside each set of heads with sinks."""


SIZES = {
    Profile.TINY: SinkSizes(n_places=2),
    Profile.QUICK: SinkSizes(n_places=4),
    Profile.FULL: SinkSizes(n_places=4),
}


@dataclass(frozen=True)
class SinkStudy(TextStudy[SinkSizes]):
    """Is the sink at position 0 the BOS token, does it carry anything, and is it needed?"""

    SIZES = SIZES
    FIGURES = FIGURES

    def sink(self) -> BosSink:
        """What happens at position 0, and what for."""
        asked, card, sizes = self.asked, self.asked.card, self.asked.sizes
        n_tokens = min(sizes.ablated_tokens, card.n_ctx - 1)
        return BosSink(
            **asked.text_rows(sizes.n_blocks, n_tokens),
            token_pool=asked.token_pool,
            moved_to=n_tokens // 4,
            n_top=max(1, min(N_SINKS, sum(card.heads_by_layer) // 2)),
            n_draws=self.sizes.n_places,
            block_len=sizes.block_len,
        )

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """What the sink of this model cannot show."""
        return self.sink().gaps(model)

    def claims(self, sink: Evidence) -> SinkClaims:
        """What holds of the sink."""
        return SinkClaims(card=self.asked.card, seed=self.asked.seed, sink=sink)

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on the sink."""
        yield recall(self.claims(recall(self.sink())))


STUDY = SinkStudy
