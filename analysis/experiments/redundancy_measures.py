"""How far apart two conditions are at one position, and how much of one removal another leaves."""

import torch
from jaxtyping import Float
from torch import Tensor

FLOOR = 0.01
"""The index is undefined where |base - B| is under this share of |base|."""

FLOOR_KL = 1e-3
"""The index of predictions is undefined where KL(base || B) is under this, in nats."""


def nip(x: Float[Tensor, "*at d_model"], y: Float[Tensor, "*at d_model"]) -> Float[Tensor, "*at"]:
    """Normalised inner product <x, y> / |x|^2: how much of x is left in y; 1 where nothing changed.

    Args:
        x: The reference.
        y: What it is compared with.

    Returns:
        Any number; not symmetric.
    """
    return (x * y).sum(-1) / x.square().sum(-1)


def distance2(
    x: Float[Tensor, "*at d_model"], y: Float[Tensor, "*at d_model"]
) -> Float[Tensor, "*at"]:
    """Squared distance |x - y|^2."""
    return (x - y).square().sum(-1)


def kl(
    logits: Float[Tensor, "*at d_vocab"], others: Float[Tensor, "*at d_vocab"]
) -> Float[Tensor, "*at"]:
    """KL(p || q) of two predictions, in nats."""
    log_p, log_q = logits.log_softmax(-1), others.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def redundancy(
    left: Float[Tensor, "*at"], whole: Float[Tensor, "*at"], floor: Float[Tensor, "*at"] | float
) -> Float[Tensor, "*at"]:
    """The redundancy index R = 1 - left / whole.

    Args:
        left: What B still removes after A: |A - AB|^2, or KL(A || AB).
        whole: What B removes alone: |base - B|^2, or KL(base || B).
        floor: Under it `whole` is too small for a ratio.

    Returns:
        1 where A leaves nothing for B to remove, 0 where B removes as much as without A, negative
        where it removes more; NaN under the floor.
    """
    return torch.where(whole < floor, torch.nan, 1 - left / whole)
