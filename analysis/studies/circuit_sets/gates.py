"""A gate for every head, learned: which heads are enough, and which are needed?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attention import Where
from analysis.interventions import Head, HeadSet
from analysis.interventions.heads import heads_of
from analysis.models.load import hidden_states

from .conditions import Goal
from .passes import Rows

STEPS = 40
"""Steps of the optimiser."""

RATE = 0.3
"""Its learning rate, of the logits of gates."""

START = 1.0
"""The logit that every gate begins with: heads are all but chosen, so that the others' worth is
seen before they are not."""

STRETCH = (-0.1, 1.1)
"""Gates are stretched to this and cut to 0 and 1, so that they can be wholly open or closed."""

SHARPNESS = 1.5
"""How much a gate's logit counts beside the noise: the inverse of the temperature, 2 / 3."""


def learned(rows: Rows, every: Sequence[Head], goal: Goal, cost: float, seed: int) -> HeadSet:
    """Choose heads by gates that gradient descent opens and closes.

    A gate says with some noise how far a head is replaced. What is minimised is the share of the
    gain that is lost (`ENOUGH`) or kept (`NEEDED`), and `cost` for every chosen head; to do better
    than all heads, or worse than none, is worth nothing.

    Args:
        rows: Sequences to learn from.
        every: All heads.
        goal: What they are chosen for.
        cost: Share of the gain that a head must be worth.
        seed: Of the noise.

    Returns:
        Heads whose gate is chosen more often than not, in the order of the model.

    Source:
        Louizos et al. 2018, "Learning Sparse Neural Networks through L0 Regularization".
    """
    layers, heads = [list(each) for each in zip(*every, strict=True)]
    noise = torch.Generator().manual_seed(seed)
    n, like = len(rows.tokens), grid(rows, every)
    with torch.no_grad():
        base, floor = (moved_loss(rows, like + share).mean() for share in (0.0, 1.0))
    logits = torch.full((len(every),), START, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=RATE)
    for _ in range(STEPS):
        with torch.enable_grad():
            chosen = _gates(logits, torch.rand(n, len(every), generator=noise)).to(like.device)
            replaced = chosen if goal is Goal.NEEDED else 1 - chosen
            shares = like.index_put(
                (torch.arange(n)[:, None], torch.tensor(layers), torch.tensor(heads)), replaced
            )
            lost = (moved_loss(rows, shares).mean() - base) / (floor - base)
            missed = (1 - lost if goal is Goal.NEEDED else lost).clamp(min=0)
            goal_missed = missed + cost * _open(logits).sum().to(missed.device)
            (logits.grad,) = torch.autograd.grad(goal_missed, [logits])
        optimiser.step()
    return tuple(head for head, logit in zip(every, logits.tolist(), strict=True) if logit > 0)


def _gates(logits: Float[Tensor, " head"], uniform: Float[Tensor, "row head"]) -> Tensor:
    """Gates in [0, 1], 1 where a head is chosen."""
    low, high = STRETCH
    noise = (uniform.clamp(1e-6, 1 - 1e-6)).logit()
    return ((noise + logits) * SHARPNESS).sigmoid().mul(high - low).add(low).clamp(0, 1)


def _open(logits: Float[Tensor, " head"]) -> Float[Tensor, " head"]:
    """How probable it is that a gate is not closed."""
    low, high = STRETCH
    return (logits - math.log(-low / high) / SHARPNESS).sigmoid()


def grid(rows: Rows, every: Sequence[Head]) -> Float[Tensor, "row layer head"]:
    """Zeros, one for each row and head."""
    n_layers, n_heads = (max(each) + 1 for each in zip(*every, strict=True))
    return torch.zeros(len(rows.tokens), n_layers, n_heads, device=rows.tokens.device)


def moved_loss(rows: Rows, shares: Float[Tensor, "row layer head"]) -> Float[Tensor, " row"]:
    """Mean loss on what counts with every head moved some share of the way to its stand-in.

    Args:
        rows: The sequences.
        shares: 0 leaves a head as it is, 1 replaces it.

    Returns:
        Nats per token, differentiable by the shares.
    """

    def share(where: Where, z: Tensor) -> Tensor:
        return shares[where.rows, where.layer, : z.shape[1], None, None]

    taps = rows.moved(heads_of(rows.model.card), share)
    return rows.loss(hidden_states(rows.model, rows.tokens, taps))
