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
from analysis.questions.work import Work, passes, predicted, scored
from analysis.text.pool import ceiling
from analysis.text.repeats import repeated_tokens
from analysis.text.sources import text_rows
from analysis.text.tokens import Tokens

from .writing import DIRECT, written, written_work

TEXT_TWICE, TEXT_SHUFFLED = "text twice", "text in random order, then as it is"
GAIN = "second_minus_first_loss"
CEILING = "induction_ceiling"
"""What a perfect induction head would score on blocks of this pool."""


@dataclass(frozen=True, kw_only=True)
class InductionScores(Drawing):
    """How strongly does each head of a model look one past the previous copy?

    And, of those that do, what is copying without what they write?
    """

    version: ClassVar[int] = 5

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
        """The same blocks either way, so that sequences can be compared one by one."""
        rng, order = Random(f"repeated/{self.seed}"), Random(f"repeated order/{self.seed}")
        pool, bos, length = self.pool, self.vocabulary.bos, self.block_len
        rows = [
            repeated_tokens(rng, pool.ids, bos, length, shuffled=False)
            for _ in range(self.n_sequences)
        ]
        if shuffled:
            rows = [[*row[:-length], *order.sample(row[-length:], k=length)] for row in rows]
        name = "random block, then shuffled" if shuffled else "random block twice"
        return pool.tokens(rows, name, self.seed, bos=bool(bos), block_len=length)

    @cached_property
    def _text(self) -> dict[str, Tokens]:
        """Pieces of the text twice, and in random order first; none without a tokenizer.

        What copies these and not random tokens may not know the tokens.
        """
        if self.vocabulary.tokenizer is None:
            return {}
        shape, rng = (self.n_sequences, self.block_len), Random(f"text twice/{self.seed}")
        text = text_rows(self.text, self.vocabulary, shape, bos=False, seed=self.seed, room=1)
        start, pieces = list(self.vocabulary.bos), text.ids.tolist()
        rows = {
            TEXT_TWICE: [[*start, *piece, *piece] for piece in pieces],
            TEXT_SHUFFLED: [[*start, *rng.sample(piece, len(piece)), *piece] for piece in pieces],
        }
        return {
            name: replace(text, ids=np.array(ids, np.int32), name=name, bos=bool(start))
            for name, ids in rows.items()
        }

    def data(self) -> Sequence[Tokens]:
        """A block shown twice, and with either copy shuffled: random tokens, and text."""
        return [self.repeated, self._shuffled, *self._text.values()]

    def work(self) -> Work:
        """Passes with losses, and what the usual number of heads write that look at the target."""
        random = self.repeated, self._shuffled
        first = scored(self.card, *random) + passes(self.card, *self._text.values())
        return first + predicted(*self.data()) + written_work(self.card, self.repeated)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Score every head and the model's own copying.

        Returns:
            `head_scores`, `head_profiles` and `model_scores`; of text the last alone. Scores of
            what heads write are of those alone that look at the target.
        """
        model = self.loaded_model()
        both = (("repeated", self.repeated), ("shuffled", self._shuffled))
        frames = [
            self.scored(model, data, tokens, stage(report, data, i, 5))
            for i, (data, tokens) in enumerate(both)
        ]
        frames += self._written(model, frames[0]["head_scores"], stage(report, "written", 2, 5))
        for i, (data, tokens) in enumerate(self._text.items()):
            keep, losses = token_losses(model, tokens.ids)
            stream_scores(model, tokens.ids, {}, stage(report, data, i + 3, 5), also=[keep])
            labels = Labels(card=self.card, tokens=tokens, data=data, seed=self.seed)
            frames.append({"model_scores": model_scores(self._copying(losses), {}, labels)})
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
            "model_scores": self._random_scores(losses, labels),
        }

    def _written(
        self, model: Model, scored: pl.DataFrame, report: Report
    ) -> list[dict[str, pl.DataFrame]]:
        """Rows of what the heads write that look at the target of repeated blocks."""
        each = scored.filter(pl.col("sequence").is_not_null(), score="induction")
        looks = np.full((self.n_sequences, self.card.n_layers, self.card.n_heads), np.nan)
        looks[tuple(each.select("sequence", "layer", "head").to_numpy().T)] = each["value"]
        labels = Labels(card=self.card, tokens=self.repeated, data="repeated", seed=self.seed)
        found = written(model, self.repeated, looks, self.block_len, self.seed, report)
        return [
            {"head_scores": head_scores(values, None if name == DIRECT else 0.0, name, labels)}
            for name, values in found.items()
        ]

    def _random_scores(self, losses: np.ndarray, labels: Labels) -> pl.DataFrame:
        """Losses beside those of a uniform guess, and what a perfect head would score."""
        most = ceiling(self.pool.size, self.block_len)
        values = {**self._copying(losses), CEILING: np.full(len(losses), most)}
        uniform = float(np.log(self.pool.size))
        return model_scores(
            values, {"first_copy_loss": uniform, "second_copy_loss": uniform, GAIN: 0.0}, labels
        )

    def _copying(self, losses: np.ndarray) -> dict[str, np.ndarray]:
        """Mean loss on either copy, leaving out the second copy's unpredictable first token."""
        cut = len(self.vocabulary.bos) + self.block_len
        first, second = losses[:, : cut - 1].mean(1), losses[:, cut:].mean(1)
        return {"first_copy_loss": first, "second_copy_loss": second, GAIN: second - first}
