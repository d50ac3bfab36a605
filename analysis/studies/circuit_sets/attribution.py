"""Heads by what a gradient says of replacing them, on the way from none replaced to all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from analysis.interventions import Head

from .gates import grid, moved_loss
from .passes import Rows

STEPS = 5
"""Points on the way from what heads read to their stand-ins at which the gradient is taken."""


def by_gradient(some: Sequence[Rows], every: Sequence[Head]) -> list[Head]:
    """All heads, those first whose replacement is estimated to cost most.

    Args:
        some: Sequences to judge by.
        every: All heads.
    """
    totals = sum(integrated(rows, every, STEPS).sum(0) for rows in some)
    return [every[i] for i in np.argsort(-np.asarray(totals), kind="stable")]


def integrated(
    rows: Rows, every: Sequence[Head], n_steps: int
) -> Float[np.ndarray, "row every_head"]:
    """What each head's replacement adds to the loss, as all are replaced little by little.

    Every z is moved towards its stand-in, all heads by the same share and later layers see it; the
    gradient of the loss by a head's own share is averaged over the way from 0 to 1. Over all heads
    it adds up to the rise of the loss from none replaced to all.

    Args:
        rows: The sequences.
        every: All heads.
        n_steps: Points on the way.

    Returns:
        Nats per token.

    Source:
        Hanna et al. 2024, "Have Faith in Faithfulness", integrated gradients; of heads, not edges.
    """
    layers, heads = [list(each) for each in zip(*every, strict=True)]
    found = np.zeros((len(rows.tokens), len(every)))
    for step in range(n_steps):
        shares = grid(rows, every).fill_((step + 0.5) / n_steps).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(moved_loss(rows, shares).sum(), [shares])
        found += slope[:, layers, heads].double().cpu().numpy() / n_steps
    return found
