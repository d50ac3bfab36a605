"""Everything that is asked about the sink at position 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from analysis.models.load import Model
from analysis.questions.asked import Profile
from analysis.questions.second_text import no_second_text, second_text
from analysis.questions.study import Recall, TextStudy
from analysis.questions.verdicts.judgement import Evidence
from analysis.text.builtin import text_said

from .claims import FIGURES
from .mass import SinkMass
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
        return BosSink(
            **asked.text_rows(sizes.n_blocks, self.n_tokens),
            token_pool=asked.token_pool,
            moved_to=self.n_tokens // 4,
            n_top=max(1, min(N_SINKS, sum(card.heads_by_layer) // 2)),
            n_draws=self.sizes.n_places,
            block_len=sizes.block_len,
        )

    @property
    def n_tokens(self) -> int:
        """Length of each sequence of text; the context holds one more, as the designs begin so."""
        return min(self.asked.sizes.ablated_tokens, self.asked.card.n_ctx - 1)

    def second(self) -> dict[str, SinkMass]:
        """How much attention position 0 gets on the second text, by what that is."""
        if self.no_second:
            return {}
        other = second_text(self.asked)
        rows = other.text_rows(other.sizes.n_blocks, self.n_tokens)
        return {text_said(other.text): SinkMass(**rows)}

    @property
    def no_second(self) -> str:
        """Why there is no second text."""
        return no_second_text(self.asked, self.n_tokens)

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """What the sink of this model cannot show."""
        return self.sink().gaps(model)

    def claims(self, sink: Evidence, second: Mapping[str, Evidence]) -> SinkClaims:
        """What holds of the sink."""
        asked = self.asked
        return SinkClaims(
            card=asked.card,
            seed=asked.seed,
            text=text_said(asked.text),
            no_second=self.no_second,
            sink=sink,
            second=second,
        )

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on the sink."""
        sink = recall(self.sink())
        second = {text: recall(mass) for text, mass in self.second().items()}
        yield recall(self.claims(sink, second))


STUDY = SinkStudy
