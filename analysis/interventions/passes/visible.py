"""Which keys a model's queries see: what chance levels are uniform over."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analysis.attention import Site, Taps, Where
from analysis.models.load import Model, hidden_states

Mask = Bool[Tensor, "row_or_one head_or_one query key"]


def visible(model: Model, ids: Int[np.ndarray, "row pos"]) -> list[Mask]:
    """Read off the model itself which keys every query sees, whatever hides the others.

    Args:
        model: The model.
        ids: Rows of token ids, without padding.

    Returns:
        For every layer, on the CPU; rows and heads that see the same are one, and layers that see
        the same share a tensor.
    """
    chunks: list[list[Tensor]] = [[] for _ in model.layers]

    def note(where: Where, scores: Tensor) -> Tensor:
        seen = scores > torch.finfo(scores.dtype).min / 2
        chunks[where.layer].append(_once(_once(seen, 1), 0).cpu())
        return scores

    tokens = torch.from_numpy(ids.astype(np.int64)).to(model.device)
    with torch.inference_mode():
        hidden_states(model, tokens, Taps(edits={Site.SCORES: note}))
    found: list[Tensor] = []
    some = next(parts for parts in chunks if parts)
    for parts in (each or some for each in chunks):  # a layer that does not attend sees anything
        n_heads = max(part.shape[1] for part in parts)
        mask = _once(torch.cat([part.expand(-1, n_heads, -1, -1) for part in parts]), 0)
        found.append(next((same for same in found if torch.equal(same, mask)), mask))
    return found


def uniform(mask: Mask) -> Float[Tensor, "row_or_one head_or_one query key"]:
    """Attention that is equal over everything visible, in float64."""
    seen = mask.double()
    return seen / seen.sum(-1, keepdim=True)


def _once(mask: Tensor, axis: int) -> Tensor:
    """The first entry of an axis, if all are alike."""
    first = mask.narrow(axis, 0, 1)
    return first if bool((mask == first).all()) else mask
