"""How far back every head looks from one position, with a head ablated there and without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.interventions import NOTHING, Intervention, Method, taps
from analysis.models.load import Model, hidden_states, load_model

from .experiment import Report
from .redundancy import AtPosition
from .tables import Labels, head_profiles

TARGET = "target"
"""The condition in which the model is as it is; the others are compared with it."""

PROFILE = "query_offset"
CHANGE = "query_offset_change"


@dataclass(frozen=True, kw_only=True)
class QueryOffsets(AtPosition):
    """Where does every head look from position t when one head is ablated there?

    Heads of the ablated head's layer and below cannot look elsewhere; those above can.
    """

    version: ClassVar[int] = 1

    max_offset: int
    """Attention to t - 0, t - 1, ... t - this."""

    @property
    def n_passes(self) -> int:
        """One for each condition."""
        return 3

    def conditions(self, t: int) -> dict[str, tuple[Intervention, ...]]:
        """What is done, by name."""
        unread = self.unread(Method.ZERO_VALUE, t - 1, "all")
        return {
            TARGET: (),
            f"zero {self.head} at t": (self.zeroed(t),),
            f"values at t-1 zeroed, layer {self.ablated.layer}": (unread,),
        }

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Watch every head under each condition.

        Args:
            report: Told the progress.

        Returns:
            `head_profiles`: `query_offset`, attention by offset, its `data` the condition, and
            `query_offset_change`, condition minus target, paired.
        """
        model = load_model(self.model, self.device)
        n_sequences, n_done = len(self.tokens.ids), 0
        shape = (n_sequences, self.card.n_layers, self.card.n_heads, self.max_offset + 1)
        found = {name: np.full(shape, np.nan) for name in self.conditions(1)}
        for t, rows in self.groups():
            ids = self.opened(model, t, rows)
            for name, done in self.conditions(t).items():
                n_offsets = min(self.max_offset, t) + 1
                looked = _from_last(model, ids, done)[..., -n_offsets:]
                found[name][rows, ..., :n_offsets] = looked.flip(-1).double().cpu().numpy()
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
                change = values - found[TARGET]
                frames.append(head_profiles(change, 0 * uniform, CHANGE, 0, labels))
        return pl.concat(frames)


def _from_last(model: Model, ids: Tensor, interventions: tuple[Intervention, ...]) -> Tensor:
    """Attention from the last position (row, layer, head, key)."""
    layers: list[list[Tensor]] = [[] for _ in range(model.card.n_layers)]

    def watch(where: Where, pattern: Tensor) -> None:
        layers[where.layer].append(pattern[:, :, -1])

    edited: Taps = taps(interventions, NOTHING, len(ids))
    with torch.inference_mode():
        hidden_states(model, ids, replace(edited, watch=watch))
    return torch.stack([torch.cat(chunks) for chunks in layers], dim=1)
