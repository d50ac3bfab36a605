"""What conditions change in a model's predictions."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from .kinds import Condition

METRICS = {
    "kl_base_ablated": "KL(base || ablated), nats",
    "kl_ablated_base": "KL(ablated || base), nats",
    "js": "Jensen-Shannon divergence of base and ablated, nats",
    "top1_changed": "share of positions whose most probable token changed",
    "loss_change": "next-token loss, ablated minus base, nats",
    "logit_change": "logit of the base's most probable token, ablated minus base",
}
"""Every metric of an effect, and its unit."""

KL_ERROR, EXACT_SHARE = "kl_base_ablated_error", "exact_share"
DRAWING = {
    KL_ERROR: "standard error of KL(base || ablated) and of the change of the loss, nats",
    EXACT_SHARE: "share of positions compared over the whole vocabulary",
}
"""What says how good an estimate by drawn tokens is, and its unit."""


@dataclass(frozen=True)
class Effects:
    """Means over positions, for each condition, scope and sequence."""

    conditions: tuple[Condition, ...]
    scopes: tuple[str, ...]
    """Which positions are averaged: `all`, `at`, `after`, or a name given by the experiment."""
    values: dict[str, Float[np.ndarray, "condition scope sequence"]]
    """By metric; NaN where a scope has no position that can be measured."""
    drawing: dict[str, Float[np.ndarray, "condition scope sequence"]] = field(
        default_factory=dict[str, np.ndarray]
    )
    """By `DRAWING` where tokens were drawn, else empty."""
