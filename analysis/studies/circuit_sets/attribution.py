"""Heads by what a gradient says of replacing them, on the way from all replaced to none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from analysis.attention import Edit, Site, Taps, Where
from analysis.interventions import Head, Intervention, taps
from analysis.models.load import hidden_states

from .passes import Rows

STEPS = 5
"""Points between a head's stand-in and what it reads at which the gradient is taken."""


def by_gradient(some: Sequence[Rows], every: Sequence[Head]) -> list[Head]:
    """All heads, those first whose replacement is estimated to cost most.

    Every head's z is moved towards its stand-in, all heads together, and later layers see it; the
    estimate is what the mean gradient of the loss on the way says of the whole move.

    Args:
        some: Sequences to judge by.
        every: All heads.

    Source:
        Hanna et al. 2024, "Have Faith in Faithfulness", integrated gradients; of heads, not edges.
    """
    totals = np.zeros(len(every))
    for rows in some:
        totals += _estimates(rows, every)
    return [every[i] for i in np.argsort(-totals, kind="stable")]


def _estimates(rows: Rows, every: Sequence[Head]) -> np.ndarray:
    """Rise of the summed loss of all rows, by head."""
    whole = Intervention(method=rows.method, heads=tuple(every), positions=None)
    put: Edit = taps([whole], rows.stand_ins, len(rows.tokens)).edits[Site.Z]
    clean: dict[int, Tensor] = {}

    def keep(where: Where, z: Tensor) -> Tensor:
        clean[where.layer] = z.detach().clone()
        return z

    with torch.no_grad():
        hidden_states(rows.model, rows.tokens, Taps(edits={Site.Z: keep}))
    whole_rows = slice(0, len(rows.tokens))
    away = {at: put(Where(at, whole_rows), z) - z for at, z in clean.items()}
    found = {at: torch.zeros_like(z, dtype=torch.float64) for at, z in clean.items()}
    for step in range(STEPS):
        moved = {at: torch.zeros_like(z, requires_grad=True) for at, z in clean.items()}
        move = _move(away, moved, (step + 0.5) / STEPS)
        with torch.enable_grad():
            hidden = hidden_states(rows.model, rows.tokens, Taps(edits={Site.Z: move}))
            gradients = torch.autograd.grad(rows.loss(hidden).sum(), list(moved.values()))
        for at, gradient in zip(moved, gradients, strict=True):
            found[at] += gradient.double() / STEPS
    change = {at: (found[at] * away[at].double()).sum((0, 2, 3)).cpu().numpy() for at in found}
    return np.array([change[head.layer][head.head] for head in every])


def _move(away: Mapping[int, Tensor], moved: Mapping[int, Tensor], share: float) -> Edit:
    """Move every z by a share of its way and by what gradients are taken of, and go on with it."""
    return lambda where, z: z + share * away[where.layer] + moved[where.layer]
