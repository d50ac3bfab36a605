"""From the second copy of a block: where every head looks, and which token it raises."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Site, Taps, Where
from analysis.interventions.direct import frozen, kept_input
from analysis.interventions.passes.stream import chance, joined
from analysis.layered import layered
from analysis.models.load import Model, hidden_states
from analysis.models.projections import surroundings
from analysis.progress import Report, stage
from analysis.questions.rows import Labels, absence, head_scores
from analysis.text.tokens import Tokens

from .heads import BlockExperiment
from .passes import batches

PLACES = ("target", "duplicate", "previous", "bos", "elsewhere")
"""Where a head looks from the second copy: the token after the first copy of the query's token,
that copy itself, the token before the query, BOS, and all the rest."""

_NORMED = (
    "layers norm or scale what attention writes before it is added, so that no head adds z W_O"
)


@dataclass(frozen=True, kw_only=True)
class SecondCopy(BlockExperiment):
    """Where does every head look from the second copy of a block, and which token does it raise?

    The induction target is one place among others: what is missing there lies elsewhere. The
    direct logit of a head is what it adds to the logit of the next token, minus what it adds to
    the mean logit of the vocabulary: z W_O through the final norm, its scale frozen, and W_U.
    """

    version: ClassVar[int] = 3

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Read every head.

        Returns:
            `head_scores`: `second_copy_` and each of `PLACES`, shares that add up to 1, and
            `direct_logit`; `absences` of that where layers norm what attention writes.
        """
        model = self.loaded_model()
        gaps = self.gaps(model)
        both = (("repeated", self.repeated), ("shuffled", self.shuffled))
        frames: list[pl.DataFrame] = []
        for i, (data, tokens) in enumerate(both):
            places, logits = self._measure(model, tokens, stage(report, data, i, len(both)))
            expected = chance(model, tokens.ids, {"places": self._shares})["places"]
            frames.append(self._rows((places, expected), None if gaps else logits, tokens, data))
        found = {"head_scores": pl.concat(frames)}
        return {**found, "absences": pl.concat(gaps)} if gaps else found

    def gaps(self, model: Model) -> list[pl.DataFrame]:
        """What a token gains, where layers do not add what attention writes as it is."""
        attend = self.card.attending
        normed = any(surroundings(model, layer).after for layer in attend)
        if not normed and all(model.holds.adds[layer] == 1 for layer in attend):
            return []
        return [absence(self.card, "direct_logit", d, _NORMED) for d in ("repeated", "shuffled")]

    def _measure(
        self, model: Model, tokens: Tokens, report: Report
    ) -> tuple[np.ndarray, np.ndarray]:
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
                direct = direct_logits(model, ids, self.block_len, Taps(watch=watch))
            shares.append(joined(found).double().cpu().numpy())
            logits.append(direct.double().cpu().numpy())
            report(rows.stop, n_sequences, "")
        return np.concatenate(shares), np.concatenate(logits)

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


def direct_logits(
    model: Model, tokens: Int[Tensor, "row pos"], block_len: int, taps: Taps
) -> Float[Tensor, "row layer head"]:
    """What every head adds to the logit of the next token, beyond its mean over the vocabulary.

    Args:
        model: A model whose layers add what attention writes as it is.
        tokens: `BOS, s, s` for blocks s.
        block_len: Tokens in a block, L.
        taps: What else to observe; its edit of z, if any, is replaced.

    Returns:
        Means over the queries of the induction score, in logits before any soft cap.
    """
    query = slice(tokens.shape[1] - block_len, tokens.shape[1] - 1)
    z: dict[int, Tensor] = {}

    def keep(where: Where, tensor: Tensor) -> Tensor:
        z[where.layer] = tensor[:, :, query].clone()
        return tensor

    edits = {**taps.edits, Site.Z: keep}
    with kept_input(model.final_norm) as last:
        hidden_states(model, tokens, Taps(edits=edits, watch=taps.watch))
    following = tokens[:, query.start + 1 : query.stop + 1]
    direction = model.W_U[following] - model.W_U.mean(0)
    (read,) = frozen(model.final_norm, last[-1][:, query], direction[None])
    columns = {
        layer: torch.einsum("rhpd,hdm,rpm->rh", part, model.W_O(layer), read) / read.shape[1]
        for layer, part in z.items()
    }
    return layered(columns, len(model.blocks), torch.nan, dim=1)
