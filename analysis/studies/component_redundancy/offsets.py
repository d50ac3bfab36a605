"""How far back every head looks from one position, with a pair of components ablated or whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Taps
from analysis.components.ablation import Mode
from analysis.components.decomposed import Masks, masked
from analysis.components.stacking import stacks
from analysis.interventions.passes.sweep import on_device
from analysis.progress import Report
from analysis.questions.work import Work
from analysis.studies.redundancy.query_offsets import attention_from_last, offset_rows

from .conditions import NOWHERE, ComponentsAtPosition


@dataclass(frozen=True, kw_only=True)
class ComponentOffsets(ComponentsAtPosition):
    """Where does every head look from t when components are ablated there and at t - 1?

    `head` is the head that they are cut from besides.
    """

    version: ClassVar[int] = 6

    max_offset: int
    """Attention to t - 0, t - 1, ... t - this."""

    def work(self) -> Work:
        """A pass up to every position for each mask; the worst of one is searched.

        That within the head: the others are known where `ComponentRedundancy` was asked.
        """
        n_tokens = sum((t + 1) * len(rows) for t, rows in self.groups())
        whole = Mode(self.mode) is Mode.DETERMINISTIC
        read = n_tokens * self.n_masked + (0 if whole else self.tokens.ids.size) + self.n_tokens
        return Work(layers=self.card.n_layers * read) + self.searched_work(n_tokens, 1)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Watch every head under each condition.

        Returns:
            `head_profiles`: `query_offset`, attention by offset, its `data` the condition, and
            `query_offset_change`, condition minus its baseline, paired: ablated components are
            compared with the masks of their mode, those with the target.
        """
        worst = self.worst((NOWHERE, None, self.head), report)
        n_sequences, n_done = len(self.tokens.ids), 0
        shape = (n_sequences, self.card.n_layers, self.card.n_heads, self.max_offset + 1)
        found: dict[str, np.ndarray] = {}
        for t, rows in self.groups():
            whole = on_device(self.made[0].model, self.tokens.ids[rows])
            ids, importances = whole[:, : t + 1], self.importances(whole, t + 1)
            n_offsets = min(self.max_offset, t) + 1
            conditions = self.side_by_side(
                ids, importances, self.head, self.seed_of(t), worst.get(t, ())
            )
            for name, draws in conditions.items():
                looked = self._looked(ids, draws)[..., -n_offsets:]
                values = found.setdefault(name, np.full(shape, np.nan))
                values[rows, ..., :n_offsets] = looked.flip(-1).double().cpu().numpy()
            n_done += len(rows)
            report(n_done, n_sequences, "positions")
        return {"head_profiles": offset_rows(self, self.made[0].model, found, self.baseline_of)}

    def _looked(
        self, tokens: Int[Tensor, "row pos"], draws: Sequence[Masks]
    ) -> Float[Tensor, "row layer head key"]:
        """Attention from the last position, averaged over draws of masks."""
        decomposition, _ = self.made
        found: list[Tensor] = []
        for masks, ids in stacks(draws, tokens):
            with masked(decomposition, masks):
                found.append(attention_from_last(decomposition.model, ids, Taps()))
        return torch.cat(found).unflatten(0, (len(draws), -1)).mean(0)
