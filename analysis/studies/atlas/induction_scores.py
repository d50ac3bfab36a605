"""Does a head look one past the previous copy, and does the model copy?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

import numpy as np
import polars as pl
import torch

from analysis import scores
from analysis.interventions.passes.stream import Score, chance, stream_scores, token_losses
from analysis.models.load import Model
from analysis.progress import Report, stage
from analysis.questions.experiment import Experiment
from analysis.questions.rows import Labels, head_profiles, head_scores, joined, model_scores
from analysis.text.repeats import repeated_tokens
from analysis.text.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class InductionScores(Experiment):
    """How strongly does each head of a model look one past the previous copy?"""

    version: ClassVar[int] = 3

    n_sequences: int
    block_len: int
    """Random tokens in the block that is shown twice, L."""
    max_shift: int
    """The profile covers targets from -max_shift to +max_shift tokens off."""

    @cached_property
    def _repeated(self) -> Tokens:
        return self._rows(shuffled=False)

    @cached_property
    def _shuffled(self) -> Tokens:
        return self._rows(shuffled=True)

    def _rows(self, *, shuffled: bool) -> Tokens:
        rng = Random(f"repeated/{self.seed}")
        bos = self.vocabulary.bos
        rows = [
            repeated_tokens(rng, self.vocabulary.ordinary, bos, self.block_len, shuffled=shuffled)
            for _ in range(self.n_sequences)
        ]
        name = "random block, then shuffled" if shuffled else "random block twice"
        ids = np.array(rows, dtype=np.int32)
        return Tokens(ids, name, f"uniform, seed {self.seed}", bool(bos), "")

    def data(self) -> Sequence[Tokens]:
        """A random block shown twice, and the control whose second copy is shuffled."""
        return [self._repeated, self._shuffled]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head and the model's own copying.

        Returns:
            `head_scores`, `head_profiles` and `model_scores`.
        """
        model = self.loaded_model()
        both = (("repeated", self._repeated), ("shuffled", self._shuffled))
        frames = [
            self._frames(model, data, tokens, stage(report, data, i, len(both)))
            for i, (data, tokens) in enumerate(both)
        ]
        return joined(frames)

    def _frames(
        self, model: Model, data: str, tokens: Tokens, report: Report
    ) -> dict[str, pl.DataFrame]:
        n_bos = len(self.vocabulary.bos)
        ids = torch.from_numpy(tokens.ids)
        functions: dict[str, Score] = {
            "induction": lambda p, _: scores.induction_score(p, n_bos),
            "duplicate_token": lambda p, rows: scores.duplicate_token_score(
                p, ids[rows].to(p.device)
            ),
            "induction_lag": lambda p, _: scores.induction_profile(p, n_bos, self.max_shift),
        }
        keep, losses = token_losses(model, tokens.ids)
        found = stream_scores(model, tokens.ids, functions, report, also=[keep])
        expected = chance(model, tokens.ids, functions)
        labels = Labels(card=self.card, tokens=tokens, data=data, seed=self.seed)
        lags = found["induction_lag"], expected["induction_lag"]
        return {
            "head_scores": pl.concat(
                head_scores(found[name], expected[name], name, labels)
                for name in ("induction", "duplicate_token")
            ),
            "head_profiles": head_profiles(*lags, "induction_lag", -self.max_shift, labels),
            "model_scores": self._copying(losses, n_bos, labels),
        }

    def _copying(self, losses: np.ndarray, n_bos: int, labels: Labels) -> pl.DataFrame:
        """Mean loss on either copy, leaving out the second copy's unpredictable first token."""
        cut = n_bos + self.block_len
        first, second = losses[:, : cut - 1].mean(1), losses[:, cut:].mean(1)
        uniform = float(np.log(len(self.vocabulary.ordinary)))
        values = {
            "first_copy_loss": first,
            "second_copy_loss": second,
            "second_minus_first_loss": second - first,
        }
        by_chance = {
            "first_copy_loss": uniform,
            "second_copy_loss": uniform,
            "second_minus_first_loss": 0.0,
        }
        return model_scores(values, by_chance, labels)
