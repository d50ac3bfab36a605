"""What was measured of a sink, by half of the sequences: one chooses heads, one judges them."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.halves import EVEN, ODD, heads_by_score, odd_values, strongest_head
from analysis.questions.verdicts.judgement import Evidence
from analysis.tables import named

from .conditions import OTHER_HEADS
from .data import BOS_FIRST, WORD_FIRST

SCOPE = "after"
"""Effects are told over every position that can change: all after position 0, for values and keys
alike. A part of the sequence would be a choice, and a different one would tell another story."""


class Measured:
    """What `BosSink` answered, by half: heads are chosen on even sequences, judged on odd ones."""

    def __init__(self, sink: Evidence) -> None:
        self._sink = sink
        designs = set(sink["head_scores"]["data"])
        self.has_bos = BOS_FIRST in designs
        self.has_text = WORD_FIRST in designs
        self.main = BOS_FIRST if self.has_bos else WORD_FIRST
        self.place = "BOS" if self.has_bos else "position 0"

    def strongest(self, score: str, data: str) -> Head:
        """The head with the largest mean over the even sequences."""
        return strongest_head(self._sink["head_scores"], score, data)

    @property
    def ranked(self) -> list[tuple[Head, float]]:
        """Heads and their induction scores on the even sequences, the strongest first."""
        return heads_by_score(self._sink["head_scores"], "induction", "repeated")

    def copiers(self, score: float) -> tuple[Head, ...]:
        """Heads of at least that induction score on the even sequences, or else the strongest."""
        found = tuple(head for head, mean in self.ranked if mean >= score)
        return found or (self.ranked[0][0],)

    def copies(self, score: float) -> bool:
        """Whether their induction score on the odd sequences is at least that, on average."""
        own = self.mean_odd("induction", "repeated", self.copiers(score))
        return self.ranked[0][1] >= score and bool(own.mean() >= score)

    def odd(self, score: str, data: str, head: Head, column: str = "value") -> np.ndarray:
        """A head's values on the odd sequences that can test it, by sequence."""
        return odd_values(self._sink["head_scores"], score, data, head, column)

    def effect(self, family: str, method: str) -> np.ndarray:
        """KL(base || ablated) after position 0 on the odd sequences, averaged over a family."""
        conditions = self._sink["ablations"].filter(
            pl.col("method").str.starts_with(method), family=family
        )["condition"]
        rows = self._sink["ablation_effects"].filter(
            ODD, pl.col("condition").is_in(conditions.to_list()), scope=SCOPE
        )
        means = rows.group_by("sequence").agg(pl.col("kl_base_ablated").mean())
        return means.sort("sequence")["kl_base_ablated"].to_numpy()

    def massive_layer(self) -> int:
        """The layer with the most massive activation on the even sequences."""
        named = pl.col("score").str.extract(r"^massive L(\d+)$").cast(pl.Int32)
        even = self._sink["model_scores"].filter(EVEN)
        rows = even.with_columns(layer=named).drop_nulls("layer")
        means = rows.filter(data=self.main).group_by("layer").agg(pl.col("value").mean())
        return int(means.sort("value", "layer")["layer"][-1])

    def of_layer(self, name: str, layer: int) -> np.ndarray:
        """A size of the residual stream on the odd sequences."""
        scores = self._sink["model_scores"]
        rows = scores.filter(ODD, score=f"{name} L{layer}", data=self.main)
        return rows.sort("sequence")["value"].to_numpy()

    def mean_odd(
        self, score: str, data: str, heads: Sequence[Head], column: str = "value"
    ) -> np.ndarray:
        """The mean over those of the heads that can be tested, by odd sequence."""
        return _means(self._odd_rows(score, data, heads), column)

    def beyond_position(
        self, score: str, heads: Sequence[Head], column: str = "value"
    ) -> np.ndarray:
        """The same on repeated blocks minus that on fresh ones."""
        repeated, fresh = (self._odd_rows(score, d, heads) for d in ("repeated", "fresh"))
        both = repeated.join(fresh, on=["sequence", "layer", "head"])
        change = pl.col(column) - pl.col(f"{column}_right")
        return _means(both.with_columns(change.alias(column)), column)

    def _odd_rows(self, score: str, data: str, heads: Sequence[Head]) -> pl.DataFrame:
        rows = self._sink["head_scores"].filter(ODD, score=score, data=data)
        return named(rows).filter(pl.col("name").is_in(list(map(str, heads))))

    @property
    def other_heads(self) -> str | None:
        """The family of random heads: layer-matched ones, unless the layers have too few."""
        families = set(self._sink["ablations"]["family"])
        return next((family for family in OTHER_HEADS if family in families), None)

    @property
    def top(self) -> str:
        """The heads that are ablated together, by name."""
        return self._sink["ablations"].filter(family="top")["heads"][0].replace(",", ", ")


def _means(rows: pl.DataFrame, column: str) -> np.ndarray:
    means = rows.group_by("sequence").agg(pl.col(column).mean())
    return means.sort("sequence")[column].to_numpy()
