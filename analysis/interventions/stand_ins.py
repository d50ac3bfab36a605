"""What takes the place of what heads read: means over a reference set, and other sequences."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Edit, Site, Taps, Where
from analysis.batches import rows_at_once
from analysis.errors import UserError
from analysis.layered import layered
from analysis.models.load import Model, hidden_states

_TOKENS_PER_BATCH = 8_192


class Pooling(Enum):
    """Over what a reference mean is taken."""

    PER_POSITION = "per position"
    """Over sequences, for each position: the reference set must be as long as the sequences."""

    POOLED = "pooled"
    """Over sequences and positions together."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """What heads read, and the values that they read from, on average over a reference set."""

    z: Float[Tensor, "layer pos head d_head"]
    """One position where it is pooled; zeros for heads or widths that a layer does not have."""
    v: Float[Tensor, "layer pos head d_head"]
    """One copy for each query head."""
    n_sequences: int
    pooling: Pooling


@dataclass(frozen=True, kw_only=True)
class StandIns:
    """What interventions may put in place of what is there."""

    means: Means | None
    donors: Float[Tensor, "layer batch head pos d_head"] | None
    """What every head reads on another sequence, for each row of the batch."""


NOTHING = StandIns(means=None, donors=None)
"""For methods that need no data."""


def means(model: Model, ids: Int[np.ndarray, "sequence pos"], pooling: Pooling) -> Means:
    """Average what every head reads over a reference set.

    Args:
        model: The model.
        ids: Token ids of the reference set.
        pooling: Over what to average.

    Returns:
        Means of z and v, in float32.

    Raises:
        UserError: The reference set is empty.
    """
    n_sequences, n_pos = ids.shape
    if n_sequences * n_pos == 0:
        raise UserError(
            "expected a reference set for the mean, got no sequences; give at least one"
        )
    sums: dict[Site, dict[int, Tensor]] = {Site.Z: {}, Site.V: {}}

    def add(site: Site) -> Edit:
        def edit(where: Where, tensor: Tensor) -> Tensor:
            here = tensor.double().sum(0).transpose(0, 1)
            sums[site][where.layer] = sums[site].get(where.layer, 0) + here
            return tensor

        return edit

    taps = Taps(edits={site: add(site) for site in sums})
    step = rows_at_once(_TOKENS_PER_BATCH, n_pos)
    with torch.inference_mode():
        for start in range(0, n_sequences, step):
            batch = torch.from_numpy(ids[start : start + step].astype(np.int64))
            hidden_states(model, batch.to(model.device), taps)
    every = (layered(sums[site], model.card.n_layers, 0.0) / n_sequences for site in sums)
    pooled = pooling is Pooling.POOLED
    z, v = (t.mean(1, keepdim=True).float() if pooled else t.float() for t in every)
    return Means(z=z, v=v, n_sequences=n_sequences, pooling=pooling)


def read_z(
    model: Model, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "layer batch head pos d_head"]:
    """What every head reads on some sequences, untouched; zeros where a layer has no such head."""
    found: dict[int, Tensor] = {}

    def keep(where: Where, z: Tensor) -> Tensor:
        found[where.layer] = z.clone()
        return z

    with torch.inference_mode():
        hidden_states(model, tokens, Taps(edits={Site.Z: keep}))
    return layered(found, model.card.n_layers, 0.0)


def derangement(n: int, seed: int) -> np.ndarray:
    """A random permutation that leaves nothing in its place: each sequence's donor.

    Args:
        n: Sequences, at least two.
        seed: Of the draw; all derangements are equally likely.

    Returns:
        Index of the donor of every sequence.

    Raises:
        UserError: There is no other sequence to resample from.
    """
    if n < 2:
        raise UserError(
            f"expected at least 2 sequences to resample from, got {n}; raise --sequences"
        )
    rng, places = np.random.default_rng(seed), np.arange(n)
    while True:
        drawn = rng.permutation(n)
        if (drawn != places).all():
            return drawn
