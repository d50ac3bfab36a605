"""Which keys does copying need: how far beside the induction target are they?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.attention import Site, Taps, Where
from analysis.batches import rows_at_once
from analysis.interventions.passes.stream import token_losses
from analysis.models.load import hidden_states
from analysis.progress import Report
from analysis.questions.drawing import Drawing
from analysis.questions.rows import Labels, model_scores
from analysis.questions.work import Work, passes, predicted
from analysis.text.repeats import repeated_tokens
from analysis.text.tokens import Tokens

SCORE = "second_copy_loss_rise"
ELSEWHERE = "elsewhere"
_TOKENS_AT_ONCE = 4_096


@dataclass(frozen=True, kw_only=True)
class CopyLags(Drawing):
    """What does copying lose when no head of any layer sees one of its keys?

    From every query of the second copy the key at one lag from the induction target is hidden in
    all heads, and the next token's loss is compared with that of the model as it is. So a model
    that copies by other heads than induction heads shows where it reads what it copies, whichever
    heads look there and through however many layers. The control hides a random token of the first
    copy, farther from the target than all lags.
    """

    version: ClassVar[int] = 1

    n_sequences: int
    block_len: int
    """Random tokens in the block that is shown twice, L."""
    max_shift: int
    """Lags go from -max_shift to +max_shift, at most L / 2 - 1; 0 is the target."""

    @cached_property
    def _rows(self) -> Tokens:
        rng, bos, length = Random(f"copy lags/{self.seed}"), self.vocabulary.bos, self.block_len
        rows = [
            repeated_tokens(rng, self.pool.ids, bos, length, shuffled=False)
            for _ in range(self.n_sequences)
        ]
        name = "random block twice, whose keys are hidden"
        return self.pool.tokens(rows, name, self.seed, bos=bool(bos), block_len=length)

    def data(self) -> Sequence[Tokens]:
        """Random blocks shown twice, drawn apart from those of `InductionScores`."""
        return [self._rows]

    def work(self) -> Work:
        """A pass with losses for each lag, one without any, and the control."""
        return (passes(self.card, self._rows) + predicted(self._rows)) * (2 * self.max_shift + 3)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Hide one lag after the other.

        Returns:
            `model_scores`: `SCORE`, nats per token, whose data is the lag, such as `+4`, or
            `elsewhere`.
        """
        base, every = self._losses(None), list(self._hidden())
        frames: list[pl.DataFrame] = []
        for i, (data, keys) in enumerate(every):
            seen = (keys >= self._first).numpy()
            rise = np.where(seen, self._losses(keys) - base, np.nan)
            values = {SCORE: np.nanmean(rise, axis=1)}
            labels = Labels(card=self.card, tokens=self._rows, data=data, seed=self.seed)
            frames.append(model_scores(values, {SCORE: 0.0}, labels))
            report(i + 1, len(every), data)
        return {"model_scores": pl.concat(frames)}

    @property
    def _first(self) -> int:
        """Position of the first copy."""
        return len(self.vocabulary.bos)

    @property
    def _queries(self) -> range:
        """Positions of the second copy whose next token is in it."""
        start = self._first + self.block_len
        return range(start, start + self.block_len - 1)

    def _hidden(self) -> Iterator[tuple[str, Int[Tensor, "sequence query"]]]:
        """The key that each query does not see; below the first copy none is hidden."""
        target = torch.tensor(self._queries) - self.block_len + 1
        alike = target.expand(self.n_sequences, -1)
        for shift in range(-self.max_shift, self.max_shift + 1):
            yield f"{shift:+d}", alike + shift
        far = range(self.max_shift + 1, self.block_len - self.max_shift)
        offsets = torch.from_numpy(np.random.default_rng(self.seed).choice(far, alike.shape))
        yield ELSEWHERE, self._first + (alike - self._first + offsets) % self.block_len

    def _losses(self, keys: Int[Tensor, "sequence query"] | None) -> np.ndarray:
        """Losses of what follows the queries (sequence, query)."""
        model, ids = self.loaded_model(), self._rows.ids
        keep, losses = token_losses(model, ids)
        step = rows_at_once(_TOKENS_AT_ONCE, ids.shape[1])
        for start in range(0, len(ids), step):
            rows = slice(start, min(start + step, len(ids)))
            batch = torch.from_numpy(ids[rows].astype(np.int64)).to(model.device)
            taps = Taps() if keys is None else self._hiding(keys[rows].to(model.device))
            with torch.inference_mode():
                keep(rows, hidden_states(model, batch, taps))
        return losses[:, list(self._queries)]

    def _hiding(self, keys: Int[Tensor, "row query"]) -> Taps:
        """Lowest scores for one key of each query, in all heads and layers."""
        query = torch.tensor(self._queries, device=keys.device)

        def hide(where: Where, scores: Tensor) -> Tensor:
            here = keys[where.rows]
            hidden = torch.zeros(
                len(here), *scores.shape[-2:], dtype=torch.bool, device=keys.device
            )
            row, place = (here >= self._first).nonzero(as_tuple=True)
            hidden[row, query[place], here[row, place]] = True
            return scores.masked_fill(hidden[:, None], torch.finfo(scores.dtype).min)

        return Taps(edits={Site.SCORES: hide})
