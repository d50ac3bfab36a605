"""Do the heads that copy depend on which random tokens they are shown?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import polars as pl

from analysis.progress import Report, stage
from analysis.questions.experiment import Experiment
from analysis.questions.rows import joined
from analysis.questions.work import Work, predicted
from analysis.text.tokens import Tokens

from .induction_scores import InductionScores


@dataclass(frozen=True, kw_only=True)
class PoolScores(Experiment):
    """How strong are induction and copying on random tokens of several pools?"""

    version: ClassVar[int] = 1

    text: str
    """What `read_source` takes."""
    pools: tuple[str, ...]
    """As `token_pool` takes them."""
    n_sequences: int
    block_len: int
    """Random tokens in the block that is shown twice, L."""

    @cached_property
    def _asked(self) -> Mapping[str, InductionScores]:
        shared = ("model", "seed", "device", "dtype", "config_bos", "no_bos", "text")
        told: dict[str, Any] = {name: getattr(self, name) for name in shared}
        told |= {"n_sequences": self.n_sequences, "block_len": self.block_len, "max_shift": 0}
        return {pool: InductionScores(**told, token_pool=pool) for pool in self.pools}

    def data(self) -> Sequence[Tokens]:
        """A random block shown twice, from every pool."""
        return [one.repeated for one in self._asked.values()]

    def work(self) -> Work:
        """A pass over every pool's blocks, with losses."""
        return super().work() + predicted(*self.data())

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head on every pool.

        Returns:
            `head_scores` and `model_scores` whose data is `repeated: ` and the pool.
        """
        model, n = self.loaded_model(), len(self.pools)
        frames = [
            one.scored(model, f"repeated: {pool}", one.repeated, stage(report, pool, i, n))
            for i, (pool, one) in enumerate(self._asked.items())
        ]
        found = joined(frames)
        return {name: found[name] for name in ("head_scores", "model_scores")}
