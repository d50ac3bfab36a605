"""From the second copy of a block: where every head looks, and which token it raises."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.errors import UserError
from analysis.interventions.direct import direct_logits
from analysis.interventions.passes.stream import chance, joined
from analysis.models.load import Model, check_shares, hidden_states
from analysis.progress import Report, stage
from analysis.questions.rows import Labels, absence, head_scores
from analysis.text.tokens import Tokens

from .heads import BlockExperiment
from .passes import batches

PLACES = ("target", "duplicate", "previous", "bos", "elsewhere")
"""Where a head looks from the second copy: the token after the first copy of the query's token,
that copy itself, the token before the query, BOS, and all the rest."""


@dataclass(frozen=True, kw_only=True)
class SecondCopy(BlockExperiment):
    """Where does every head look from the second copy of a block, and which token does it raise?

    The induction target is one place among others: what is missing there lies elsewhere. The
    direct logit of a head is what it adds to the logit of the next token, minus what it adds to
    the mean logit of the vocabulary: z W_O through the norm behind the attention, if any, and the
    final one, their scales frozen, and W_U.
    """

    version: ClassVar[int] = 4

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Read every head.

        Returns:
            `head_scores`: `second_copy_` and each of `PLACES`, shares that add up to 1, and
            `direct_logit`; `absences` of that where no share of what heads write arrives.
        """
        model = self.loaded_model()
        gaps = self.gaps(model)
        both = (("repeated", self.repeated), ("shuffled", self.shuffled))
        frames: list[pl.DataFrame] = []
        for i, (data, tokens) in enumerate(both):
            told = stage(report, data, i, len(both))
            places, logits = self._measure(model, tokens, told, direct=not gaps)
            expected = chance(model, tokens.ids, {"places": self._shares})["places"]
            frames.append(self._rows((places, expected), logits, tokens, data))
        found = {"head_scores": pl.concat(frames)}
        return {**found, "absences": pl.concat(gaps)} if gaps else found

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """What a token gains, where no share of what heads write arrives at the final norm."""
        try:
            check_shares(model)
        except UserError as error:
            both = ("repeated", "shuffled")
            return [absence(self.card, "direct_logit", data, str(error)) for data in both]
        return []

    def _measure(
        self, model: Model, tokens: Tokens, report: Report, *, direct: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Shares (sequence, layer, head, place) and direct logits (sequence, layer, head)."""
        n_sequences, n_pos = tokens.ids.shape
        shares: list[np.ndarray] = []
        logits: list[np.ndarray] = []
        for rows in batches(n_sequences, n_pos):
            ids = torch.from_numpy(tokens.ids[rows].astype(np.int64)).to(model.device)
            found: list[list[Tensor]] = [[] for _ in model.layers]

            def watch(where: Where, pattern: Tensor, found: list[list[Tensor]] = found) -> None:
                found[where.layer].append(self._shares(pattern, where.rows))

            with torch.inference_mode():
                if direct:
                    added = direct_logits(model, ids, self.block_len, Taps(watch=watch))
                    logits.append(added.double().cpu().numpy())
                else:
                    hidden_states(model, ids, Taps(watch=watch))
            shares.append(joined(found).double().cpu().numpy())
            report(rows.stop, n_sequences, "")
        return np.concatenate(shares), np.concatenate(logits) if direct else None

    def _shares(self, pattern: Tensor, _rows: slice) -> Tensor:
        return second_copy_shares(pattern, len(self.vocabulary.bos))

    def _rows(
        self,
        places: tuple[np.ndarray, np.ndarray],
        logits: np.ndarray | None,
        tokens: Tokens,
        data: str,
    ) -> pl.DataFrame:
        """Rows of shares as they are and by chance, and of direct logits."""
        labels = Labels(card=self.card, tokens=tokens, data=data, seed=self.seed)
        n_bos = len(self.vocabulary.bos)
        shares, expected = places
        frames = [
            head_scores(shares[..., i], expected[..., i], f"second_copy_{place}", labels)
            for i, place in enumerate(PLACES)
            if place != "bos" or n_bos
        ]
        if logits is not None:
            frames.append(head_scores(logits, None, "direct_logit", labels))
        return pl.concat(frames)


def second_copy_shares(
    pattern: Float[Tensor, "batch head query key"], n_bos: int
) -> Float[Tensor, "batch head place"]:
    """Where heads look from the second copy, on average over its queries.

    The rows must be `BOS, s, s` for a block s of length L; queries are those of the induction
    score: L + k for k = 1..L-1, whose target k + 1 lies in the first copy.

    Args:
        pattern: Post-softmax attention, n_bos + 2 L positions, L at least 3.
        n_bos: Tokens before the first block, 0 or 1.

    Returns:
        Shares in the order of `PLACES`; they add up to 1, or to less where a head has a sink of
        its own that holds nothing.

    Raises:
        ValueError: No block of at least 3 tokens fits twice.
    """
    block_len, odd = divmod(pattern.shape[-1] - n_bos, 2)
    if odd or block_len < 3:
        raise ValueError(f"expected {n_bos} + 2 L positions, L >= 3, got {pattern.shape[-1]}")
    query = torch.arange(n_bos + block_len, n_bos + 2 * block_len - 1)
    keys = (query - block_len + 1, query - block_len, query - 1)
    named = [pattern[..., query, key].mean(-1) for key in keys]
    first = pattern[..., query, 0].mean(-1) if n_bos else torch.zeros_like(named[0])
    everything = pattern[..., query, :].sum(-1).mean(-1)
    elsewhere = everything - torch.stack([*named, first]).sum(0)
    return torch.stack([*named, first, elsewhere], dim=-1)
