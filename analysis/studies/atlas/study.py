"""Everything that is asked about what heads look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.interventions.heads import parse_heads, pictured_heads
from analysis.models.load import Model
from analysis.questions.asked import N_OFFSETS, Profile
from analysis.questions.study import Recall, Study
from analysis.questions.verdicts.judgement import Evidence

from .claims import FIGURES, HeadClaims, copies
from .copy_lags import CopyLags
from .induction_scores import InductionScores
from .pool_scores import PoolScores
from .s_inhibition_scores import SInhibitionScores
from .successor_scores import SuccessorScores
from .text_scores import TextPatterns, TextScores
from .views import leaders

N_PICTURED = 32
"""Positions of pictured patterns."""
POOLS = ("text", "frequent:200", "all")
"""Which random tokens induction is measured on beside each other."""
MAX_SHIFT = 8
"""How far beside their target induction heads are looked at."""


@dataclass(frozen=True, kw_only=True)
class AtlasSizes:
    """How much of what this study alone measures."""

    n_repeats: int
    """Random blocks that are shown twice."""
    n_lists: int
    """Ordered lists."""
    n_items: int
    """Items of a list."""
    n_gifts: int
    """Sentences about gifts."""


SIZES = {
    Profile.TINY: AtlasSizes(n_repeats=4, n_lists=2, n_items=4, n_gifts=4),
    Profile.QUICK: AtlasSizes(n_repeats=64, n_lists=24, n_items=8, n_gifts=100),
    Profile.FULL: AtlasSizes(n_repeats=256, n_lists=100, n_items=10, n_gifts=500),
}


@dataclass(frozen=True)
class AtlasStudy(Study[AtlasSizes]):
    """What does every head look at?"""

    SIZES = SIZES
    FIGURES = FIGURES

    def text_scores(self) -> TextScores:
        """What heads look at in text and on random tokens."""
        n_offsets = min(N_OFFSETS, self.asked.sizes.n_tokens - 1)
        return TextScores(**self._text_rows(self._named()), n_offsets=n_offsets)

    def patterns(self, head_scores: pl.DataFrame) -> list[TextPatterns]:
        """What `text_scores` does not picture: heads that lead in a score of a large model.

        Args:
            head_scores: Rows of all scores.

        Returns:
            One question; none where all patterns are kept already.
        """
        every = dict.fromkeys((*self._named(), *leaders(head_scores)["name"]))
        kept = set[str]() if self.asked.vocabulary.tokenizer is None else set(self._named())
        missing = tuple(name for name in every if name not in kept)
        return [TextPatterns(**self._text_rows(missing))] if missing else []

    def _named(self) -> tuple[str, ...]:
        """Heads that are pictured whatever they do."""
        card, heads = self.asked.card, self.asked.heads
        named = pictured_heads(card) if heads is None else heads
        parse_heads(named, card)
        return named

    def _text_rows(self, pictured: tuple[str, ...]) -> dict[str, Any]:
        """Text, random tokens, and whose patterns on them are kept."""
        sizes = self.asked.sizes
        return {
            **self.asked.text_rows(sizes.n_sequences, sizes.n_tokens),
            "token_pool": self.asked.token_pool,
            "n_pictured": min(N_PICTURED, sizes.n_tokens - 1),
            "pictured": pictured,
        }

    def induction_scores(self) -> InductionScores:
        """Induction and copying on a random block shown twice."""
        block_len = self.asked.sizes.block_len
        return InductionScores(
            **self.asked.random(n_sequences=self.sizes.n_repeats, block_len=block_len),
            max_shift=min(MAX_SHIFT, block_len - 2),
        )

    def pool_scores(self) -> PoolScores:
        """The same heads on random tokens of several pools, the one that was asked for first."""
        asked, sizes = self.asked, self.sizes
        size = {"n_sequences": sizes.n_repeats, "block_len": asked.sizes.block_len}
        pools = tuple(dict.fromkeys((asked.token_pool, *POOLS)))
        return PoolScores(**asked.drawn(text=asked.text, pools=pools, **size))

    def copy_lags(self) -> CopyLags:
        """Which keys copying needs, by their lag from the induction target."""
        sizes = self.asked.sizes
        return CopyLags(
            **self.asked.random(n_sequences=sizes.n_blocks, block_len=sizes.block_len),
            max_shift=min(MAX_SHIFT, sizes.block_len // 2 - 1),
        )

    def successor_scores(self) -> SuccessorScores:
        """Attention along ordered lists."""
        sizes = self.sizes
        return SuccessorScores(**self.asked.drawn(n_sequences=sizes.n_lists, n_items=sizes.n_items))

    def s_inhibition_scores(self) -> SInhibitionScores:
        """Attention to the repeated name in gift sentences."""
        return SInhibitionScores(**self.asked.drawn(n_sequences=self.sizes.n_gifts))

    def scores(self) -> list[TextScores | InductionScores | SuccessorScores | SInhibitionScores]:
        """All scores of heads."""
        return [
            self.text_scores(),
            self.induction_scores(),
            self.successor_scores(),
            self.s_inhibition_scores(),
        ]

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """What single scores lack."""
        return [gap for one in self.scores() for gap in one.gaps(model)]

    def claims(self, text: Evidence, induction: Evidence, lags: Evidence) -> HeadClaims:
        """What holds of single heads."""
        about = {"text": text, "induction": induction, "lags": lags}
        return HeadClaims(card=self.asked.card, seed=self.asked.seed, **about)

    def copies(self, induction: Evidence) -> bool:
        """Whether the model copies anything, so that claims on what copying needs can be tested."""
        return copies(induction, self.asked.seed)

    def findings(self, recall: Recall) -> Iterator[Evidence]:
        """Claims on single heads."""
        text, induction, *others = map(recall, self.scores())
        recall(self.pool_scores())
        yield recall(self.claims(text, induction, recall(self.copy_lags())))
        every = (text, induction, *others)
        for one in self.patterns(pl.concat(a["head_scores"] for a in every if "head_scores" in a)):
            recall(one)


STUDY = AtlasStudy
