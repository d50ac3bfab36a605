"""How far apart two conditions are at one position, and how much of one removal another leaves."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from analysis.interventions import Endings
from analysis.models.load import Model, unembed
from analysis.precision import Precision

FLOOR = 0.01
"""The index is undefined where |base - B| is under this share of |base|."""

FLOOR_KL = {Precision.FLOAT32: 1e-8, Precision.BFLOAT16: 1e-2}
"""Under this rounding alone may make a divergence, in nats, by what the blocks compute in. On three
models two ways to compute one prediction in float32 were 6e-11 apart at most, and one in bfloat16
4e-3 from that in float32."""


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
        left: What B still removes after A, |A - AB|^2.
        whole: What B removes alone, |base - B|^2.
        floor: Under it `whole` is too small for a ratio.

    Returns:
        1 where A leaves nothing for B to remove, 0 where B removes as much as without A, negative
        where it removes more; NaN under the floor.
    """
    return torch.where(whole < floor, torch.nan, 1 - left / whole)


def log_ratio(
    left: Float[Tensor, "*at"], whole: Float[Tensor, "*at"], floor: float
) -> Float[Tensor, "*at"]:
    """log(whole / left): by which factor A makes B do less, as its natural logarithm.

    Args:
        left: What B still does after A, KL(A || AB).
        whole: What B does alone, KL(base || B).
        floor: What rounding may make; one that is under it counts as the floor, which brings the
            ratio nearer to 1.

    Returns:
        log 2 where A takes half of what B does, 0 where nothing, negative where B does more after
        A; NaN where both are under the floor.
    """
    ratio = whole.clamp(min=floor).log() - left.clamp(min=floor).log()
    return torch.where((whole < floor) & (left < floor), torch.nan, ratio)


Key = tuple[int | None, str, str, int | None, str]
"""Lag, reference, condition, layer and metric; no layer means the predictions."""
Measured = dict[Key, Tensor]
"""One value a sequence."""


@dataclass(frozen=True)
class Read:
    """What is read at t under some conditions: nothing else, then B at every lag and scope."""

    attn_out: Float[Tensor, "condition layer *draw row d_model"]
    logits: Float[Tensor, "condition *averaged row d_vocab"]

    def __getitem__(self, condition: int) -> tuple[Tensor, Tensor]:
        return self.attn_out[condition], self.logits[condition]

    @property
    def size(self) -> int:
        """Numbers that it holds."""
        return self.attn_out.numel() + self.logits.numel()


def read(model: Model, ended: Endings) -> Read:
    """What was read at the last position, in double precision."""
    return Read(ended.attn_out.double(), unembed(model, ended.hidden).double())


def pair(
    key: tuple[int | None, str, str], one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]
) -> Measured:
    """One comparison of two conditions.

    Args:
        key: Lag, reference and condition.
        one: The reference's attention outputs (layer, *draw, row, d_model) and logits.
        other: The same of the condition.

    Returns:
        `nip`, `cosine` and `distance2` by layer, averaged over draws, and `kl`.
    """
    x, y = one[0], other[0]
    metrics = {
        "nip": nip(x, y),
        "cosine": F.cosine_similarity(x, y, dim=-1),
        "distance2": distance2(x, y),
    }
    found: Measured = {
        (*key, layer, name): over_draws(values[layer])
        for name, values in metrics.items()
        for layer in range(len(x))
    }
    found[*key, None, "kl"] = kl(one[1], other[1])
    return found


def over_draws(values: Float[Tensor, "*draw row"]) -> Float[Tensor, " row"]:
    """The mean over draws, where there are any."""
    return values if values.ndim == 1 else values.flatten(0, -2).mean(0)
