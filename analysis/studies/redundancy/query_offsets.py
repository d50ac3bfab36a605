"""How far back every head looks from one position, with a head ablated there and without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.interventions import NOTHING, Intervention, Method, taps
from analysis.interventions.passes.stream import joined
from analysis.interventions.passes.visible import uniform, visible
from analysis.models.load import Model, hidden_states
from analysis.progress import Report
from analysis.questions.rows import Labels, head_profiles
from analysis.questions.work import Work

from .question import AtPosition

TARGET = "target"
"""The condition in which the model is as it is; the others are compared with it."""

PROFILE = "query_offset"
CHANGE = "query_offset_change"


@dataclass(frozen=True, kw_only=True)
class QueryOffsets(AtPosition):
    """Where does every head look from position t when one head is ablated there?

    Heads of the ablated head's layer and below cannot look elsewhere; those above can.
    """

    version: ClassVar[int] = 5

    max_offset: int
    """Attention to t - 0, t - 1, ... t - this."""

    def work(self) -> Work:
        """A pass up to every position for each condition, and what is by chance."""
        groups, n = list(self.groups()), self.card.n_layers
        n_tokens = sum((t + 1) * len(rows) for t, rows in groups)
        return Work(layers=n * (3 * n_tokens + self.n_tokens), calls=3 * n * len(groups))

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

        Returns:
            `head_profiles`: `query_offset`, attention by offset, its `data` the condition, and
            `query_offset_change`, condition minus target, paired.
        """
        model = self.loaded_model()
        n_sequences, n_done = len(self.tokens.ids), 0
        shape = (n_sequences, self.card.n_layers, self.card.n_heads, self.max_offset + 1)
        found = {name: np.full(shape, np.nan) for name in self.conditions(1)}
        for t, rows in self.groups():
            ids = self.opened(model, t, rows)
            for name, done in self.conditions(t).items():
                n_offsets = min(self.max_offset, t) + 1
                edited = taps(done, NOTHING, len(ids))
                looked = attention_from_last(model, ids, edited)[..., -n_offsets:]
                found[name][rows, ..., :n_offsets] = looked.flip(-1).double().cpu().numpy()
            n_done += len(rows)
            report(n_done, n_sequences, "positions")
        return {"head_profiles": offset_rows(self, model, found, lambda _: TARGET)}


def offset_rows(
    asked: AtPosition,
    model: Model,
    found: Mapping[str, Float[np.ndarray, "sequence layer head offset"]],
    baseline_of: Callable[[str], str],
) -> pl.DataFrame:
    """Rows of `head_profiles` of attention from one position of every sequence.

    Args:
        asked: The question: its positions and what rows are labelled with.
        model: The model that was watched.
        found: Attention by condition; NaN where an offset is before the sequence.
        baseline_of: The condition that a condition is compared with.

    Returns:
        `query_offset`, and `query_offset_change` of all conditions but the target.
    """
    by_chance = _by_chance(model, asked, found[TARGET].shape[-1])
    frames: list[pl.DataFrame] = []
    for name, values in found.items():
        labels = Labels(card=asked.card, tokens=asked.tokens, data=name, seed=asked.seed)
        frames.append(head_profiles(values, by_chance, PROFILE, 0, labels))
        if name != TARGET:
            change = values - found[baseline_of(name)]
            frames.append(head_profiles(change, 0 * by_chance, CHANGE, 0, labels))
    return pl.concat(frames)


def _by_chance(
    model: Model, asked: AtPosition, n_offsets: int
) -> Float[np.ndarray, "sequence layer head offset"]:
    """What attention that is uniform over visible keys gives; NaN before the sequence."""
    queries = asked.positions[:, None]
    keys = queries - np.arange(n_offsets)
    patterns = [uniform(mask)[0].numpy() for mask in visible(model, asked.tokens.ids[:1])]
    shape = (asked.card.n_heads, *keys.shape)
    layers = [np.broadcast_to(pattern[:, queries, keys], shape) for pattern in patterns]
    return np.where(keys[:, None, None] >= 0, np.stack(layers).transpose(2, 0, 1, 3), np.nan)


def attention_from_last(
    model: Model, tokens: Int[Tensor, "row pos"], edited: Taps
) -> Float[Tensor, "row layer head key"]:
    """Where every head looks from the last position.

    Args:
        model: The model.
        tokens: Sequences of one length.
        edited: What is replaced.

    Returns:
        Attention; every head's adds up to 1.
    """
    layers: list[list[Tensor]] = [[] for _ in range(model.card.n_layers)]

    def watch(where: Where, pattern: Tensor) -> None:
        layers[where.layer].append(pattern[:, :, -1])

    with torch.inference_mode():
        hidden_states(model, tokens, replace(edited, watch=watch))
    return joined(layers)
