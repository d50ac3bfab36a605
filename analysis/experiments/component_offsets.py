"""How far back every head looks from one position, with a pair of components ablated or whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.components.decomposed import Decomposition, Masks, masked
from analysis.interventions.sweep import on_device
from analysis.models.load import hidden_states

from .component_conditions import ComponentsAtPosition
from .experiment import Report
from .query_offsets import CHANGE, PROFILE, TARGET
from .tables import Labels, head_profiles


@dataclass(frozen=True, kw_only=True)
class ComponentOffsets(ComponentsAtPosition):
    """Where does every head look from t when components are ablated there and at t - 1?

    `head` is the head that they are cut from besides.
    """

    version: ClassVar[int] = 1

    max_offset: int
    """Attention to t - 0, t - 1, ... t - this."""

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Watch every head under each condition.

        Args:
            report: Told the progress.

        Returns:
            `head_profiles`: `query_offset`, attention by offset, its `data` the condition, and
            `query_offset_change`, condition minus its baseline, paired: ablated components are
            compared with the masks of their mode, those with the target.
        """
        decomposition, _ = self.made
        n_sequences, n_done = len(self.tokens.ids), 0
        shape = (n_sequences, self.card.n_layers, self.card.n_heads, self.max_offset + 1)
        found: dict[str, np.ndarray] = {}
        for t, rows in self.groups():
            whole = on_device(decomposition.model, self.tokens.ids[rows])
            ids, importances = whole[:, : t + 1], self.importances(whole, t + 1)
            n_offsets = min(self.max_offset, t) + 1
            conditions = self.side_by_side(ids, importances, self.head, self.seed_of(t))
            for name, draws in conditions.items():
                patterns = [attention_from_last(decomposition, ids, masks) for masks in draws]
                looked = torch.stack(patterns).mean(0)[..., -n_offsets:].flip(-1)
                values = found.setdefault(name, np.full(shape, np.nan))
                values[rows, ..., :n_offsets] = looked.double().cpu().numpy()
            n_done += len(rows)
            report(n_done, n_sequences, "positions")
        return {"head_profiles": self._rows(found)}

    def _rows(self, found: Mapping[str, np.ndarray]) -> pl.DataFrame:
        reach = np.arange(self.max_offset + 1) <= self.positions[:, None]
        uniform = np.where(reach, 1 / (self.positions[:, None] + 1), np.nan)
        frames: list[pl.DataFrame] = []
        for name, values in found.items():
            labels = Labels(card=self.card, tokens=self.tokens, data=name, seed=self.seed)
            frames.append(head_profiles(values, uniform, PROFILE, 0, labels))
            if name != TARGET:
                change = values - found[self.baseline_of(name)]
                frames.append(head_profiles(change, 0 * uniform, CHANGE, 0, labels))
        return pl.concat(frames)


def attention_from_last(
    decomposition: Decomposition, tokens: Int[Tensor, "row pos"], masks: Masks
) -> Float[Tensor, "row layer head key"]:
    """Where every head looks from the last position, computed under masks.

    Args:
        decomposition: The decomposed model.
        tokens: Sequences of one length.
        masks: By layer; none is the target.

    Returns:
        Attention; every head's adds up to 1.
    """
    layers: list[list[Tensor]] = [[] for _ in range(decomposition.model.card.n_layers)]

    def watch(where: Where, pattern: Tensor) -> None:
        layers[where.layer].append(pattern[:, :, -1])

    with torch.inference_mode(), masked(decomposition, masks):
        hidden_states(decomposition.model, tokens, Taps(watch=watch))
    return torch.stack([torch.cat(chunks) for chunks in layers], dim=1)
