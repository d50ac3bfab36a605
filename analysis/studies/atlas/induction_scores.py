"""Does a head look one past the previous copy, and does the model copy?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from analysis.questions.drawing import Drawing
from analysis.questions.rows import Labels, head_profiles, head_scores, joined, model_scores
from analysis.text.repeats import repeated_tokens
from analysis.text.sources import text_rows
from analysis.text.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class InductionScores(Drawing):
    """How strongly does each head of a model look one past the previous copy?"""

    version: ClassVar[int] = 3

    n_sequences: int
    block_len: int
    """Random tokens in the block that is shown twice, L."""
    max_shift: int
    """The profile covers targets from -max_shift to +max_shift tokens off."""

    @cached_property
    def repeated(self) -> Tokens:
        """A random block shown twice."""
        return self._rows(shuffled=False)

    @cached_property
    def _shuffled(self) -> Tokens:
        return self._rows(shuffled=True)

    def _rows(self, *, shuffled: bool) -> Tokens:
        rng = Random(f"repeated/{self.seed}")
        pool, bos, length = self.pool, self.vocabulary.bos, self.block_len
        rows = [
            repeated_tokens(rng, pool.ids, bos, length, shuffled=shuffled)
            for _ in range(self.n_sequences)
        ]
        name = "random block, then shuffled" if shuffled else "random block twice"
        return pool.tokens(rows, name, self.seed, bos=bool(bos), block_len=length)

    @cached_property
    def _text_twice(self) -> dict[str, Tokens]:
        """Pieces of the text shown twice, and the control; none without a tokenizer.

        What a model copies there and not on random tokens says that it does not know these.
        """
        if self.vocabulary.tokenizer is None:
            return {}
        shape, rng = (self.n_sequences, self.block_len), Random(f"text twice/{self.seed}")
        text = text_rows(self.text, self.vocabulary, shape, bos=False, seed=self.seed, room=1)
        start, rows = list(self.vocabulary.bos), text.ids.tolist()
        found = {
            "text twice": [[*start, *row, *row] for row in rows],
            "text, then shuffled": [[*start, *row, *rng.sample(row, len(row))] for row in rows],
        }
        return {
            name: replace(text, ids=np.array(ids, np.int32), name=name, bos=bool(start))
            for name, ids in found.items()
        }

    def data(self) -> Sequence[Tokens]:
        """A block shown twice, and its second copy shuffled: of random tokens, and of text."""
        return [self.repeated, self._shuffled, *self._text_twice.values()]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head and the model's own copying.

        Returns:
            `head_scores`, `head_profiles` and `model_scores`; of text the last alone.
        """
        model = self.loaded_model()
        both = (("repeated", self.repeated), ("shuffled", self._shuffled))
        frames = [
            self.scored(model, data, tokens, stage(report, data, i, 4))
            for i, (data, tokens) in enumerate(both)
        ]
        for i, (data, tokens) in enumerate(self._text_twice.items()):
            keep, losses = token_losses(model, tokens.ids)
            stream_scores(model, tokens.ids, {}, stage(report, data, i + 2, 4), also=[keep])
            labels = Labels(card=self.card, tokens=tokens, data=data, seed=self.seed)
            frames.append({"model_scores": self._copying(losses, labels, None)})
        return joined(frames)

    def scored(
        self, model: Model, data: str, tokens: Tokens, report: Report
    ) -> dict[str, pl.DataFrame]:
        """Rows of every head and of the model's own copying.

        Args:
            model: The model.
            data: What the rows are called.
            tokens: Blocks shown twice.
            report: Told how many sequences are done.
        """
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
            "model_scores": self._copying(losses, labels, float(np.log(self.pool.size))),
        }

    def _copying(self, losses: np.ndarray, labels: Labels, uniform: float | None) -> pl.DataFrame:
        """Mean loss on either copy, leaving out the second copy's unpredictable first token."""
        cut = len(self.vocabulary.bos) + self.block_len
        first, second = losses[:, : cut - 1].mean(1), losses[:, cut:].mean(1)
        values = {
            "first_copy_loss": first,
            "second_copy_loss": second,
            "second_minus_first_loss": second - first,
        }
        alike = () if uniform is None else ("first_copy_loss", "second_copy_loss")
        by_chance = {**dict.fromkeys(alike, uniform or 0.0), "second_minus_first_loss": 0.0}
        return model_scores(values, by_chance, labels)
