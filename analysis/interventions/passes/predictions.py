"""How predictions differ, without logits of all positions and tokens at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.interventions.effects import METRICS
from analysis.models.linear import linear
from analysis.models.load import Model, unembed

LOGIT_ELEMENTS = 2**22
"""Logits exist for this many positions times tokens at a time (16 MiB in float32)."""

BLOCK_ELEMENTS = 2**18
"""Two distributions are compared for this many at a time, so that they stay in a core's cache."""

_MIN_TOKENS = 256


class Metrics(Enum):
    """Which metrics of an effect are computed; the names are those of `METRICS`."""

    LEAN = ("kl_base_ablated", "top1_changed", "loss_change")
    """What the base's probabilities weigh: one matrix product for each condition."""

    FULL = tuple(METRICS)
    """All; both distributions are compared token by token, at several times the cost."""


@dataclass(frozen=True)
class Predictions:
    """What a model predicts at some positions, as far as others are compared with it."""

    hidden: Float[Tensor, "position d_model"]
    """What the unembedding reads."""
    tokens: Int[Tensor, "two position"]
    """The most probable token, and the one that follows in the text."""
    logits: Float[Tensor, "two position"]
    """Of these tokens."""
    peak: Float[Tensor, " position"]
    """The largest logit."""
    log_sum: Float[Tensor, " position"]
    """Log of the sum of exp(logit - peak)."""
    expected_unembedding: Float[Tensor, "position d_model"]
    """Rows of W_U, averaged with the probabilities."""

    @property
    def finite(self) -> Tensor:
        """At which positions all logits are numbers."""
        return (self.peak + self.log_sum).isfinite()


def predictions(
    model: Model,
    hidden: Float[Tensor, "position d_model"],
    following: Int[Tensor, " position"],
) -> Predictions:
    """What a model predicts from hidden states.

    Args:
        model: The model.
        hidden: What the unembedding reads.
        following: The token after each position; where there is none, any.

    Returns:
        Predictions to compare others with.
    """
    picked, peak, log_sum = _read(model, hidden, following[None])
    top1, expected = torch.zeros_like(following), torch.zeros_like(hidden)
    for start, logits in _vocabulary(model, hidden):
        highest, index = logits.max(-1)
        top1 = torch.where(highest == peak, index + start, top1)
        probability = logits.sub_((peak + log_sum)[:, None]).exp_()
        expected += probability @ model.W_U[start : start + logits.shape[1]]
    tokens, logits = torch.stack([top1, following]), torch.stack([peak, picked[0]])
    return Predictions(hidden, tokens, logits, peak, log_sum, expected)


def differences(
    model: Model,
    base: Predictions,
    ablated: Float[Tensor, "condition position d_model"],
    metrics: Metrics,
) -> dict[str, Float[Tensor, "condition position"]]:
    """How predictions under some conditions differ from the base's, position by position.

    Args:
        model: The model.
        base: What it predicts as it is.
        ablated: What the unembedding reads under each condition, at the same positions.
        metrics: Which to compute.

    Returns:
        Values by metric; a loss is that of the token that the base was given as following.
    """
    capped = model.holds.logits.cap is not None
    if metrics is Metrics.LEAN and not capped:
        return _lean(model, base, ablated)
    found = _full(model, base, ablated)
    return {name: found[name] for name in metrics.value}


def _lean(
    model: Model, base: Predictions, ablated: Float[Tensor, "condition position d_model"]
) -> dict[str, Float[Tensor, "condition position"]]:
    """Without the base's probabilities at hand.

    Logits are linear in hidden states, so KL(base || ablated), the expected difference of logits
    and the difference of their normalisers, needs of the base no more than its expected
    unembedding. The bias of an unembedding cancels.
    """
    shape = ablated.shape[:2]
    tokens = base.tokens.repeat(1, shape[0])
    picked, peak, log_sum = (
        t.unflatten(-1, shape) for t in _read(model, ablated.flatten(0, 1), tokens)
    )
    normaliser = (peak - base.peak) + (log_sum - base.log_sum)
    expected = ((base.hidden - ablated) * base.expected_unembedding).sum(-1)
    return {
        "kl_base_ablated": expected + normaliser,
        "top1_changed": (peak > picked[0]).to(peak.dtype),
        "loss_change": normaliser - (picked[1] - base.logits[1]),
    }


def _full(
    model: Model, base: Predictions, ablated: Float[Tensor, "condition position d_model"]
) -> dict[str, Float[Tensor, "condition position"]]:
    """Every metric, from both distributions of a few positions at a time."""
    step = max(1, BLOCK_ELEMENTS // model.card.vocab)
    blocks: list[list[dict[str, Tensor]]] = []
    for start in range(0, len(base.hidden), step):
        at = slice(start, start + step)
        logits, tokens = unembed(model, base.hidden[at]), base.tokens[:, at]
        log_p = logits.log_softmax(-1)
        before = log_p, log_p.exp(), logits.gather(1, tokens[:1].T)[:, 0]
        blocks.append(
            [_compare(*before, unembed(model, hidden), tokens) for hidden in ablated[:, at]]
        )
    return {
        name: torch.cat([torch.stack([one[name] for one in block]) for block in blocks], 1)
        for name in METRICS
    }


def _compare(
    log_p: Float[Tensor, "position d_vocab"],
    p: Float[Tensor, "position d_vocab"],
    peak: Float[Tensor, " position"],
    ablated: Float[Tensor, "position d_vocab"],
    tokens: Int[Tensor, "two position"],
) -> dict[str, Float[Tensor, " position"]]:
    """Both divergences, their middle, and what happens to the base's token and the next."""
    log_q = ablated.log_softmax(-1)
    q, change = log_q.exp(), log_p - log_q
    both = p + q
    log_middle = (both / 2).clamp_(min=torch.finfo(both.dtype).tiny).log_()
    to_middle = (log_p - log_middle).mul_(p).add_(log_middle.neg_().add_(log_q).mul_(q))
    top1, following = tokens[0][:, None], tokens[1][:, None]
    kept = ablated.gather(1, top1)[:, 0]
    return {
        "kl_base_ablated": (p * change).sum(-1),
        "kl_ablated_base": -(q * change).sum(-1),
        "js": to_middle.sum(-1) / 2,
        "top1_changed": (ablated.amax(-1) > kept).to(kept.dtype),
        "loss_change": change.gather(1, following)[:, 0],
        "logit_change": kept - peak,
    }


def _read(
    model: Model,
    hidden: Float[Tensor, "position d_model"],
    tokens: Int[Tensor, "wanted position"],
) -> tuple[
    Float[Tensor, "wanted position"], Float[Tensor, " position"], Float[Tensor, " position"]
]:
    """Logits of wanted tokens, the largest logit, and the log of the sum relative to it."""
    peak = torch.full_like(hidden[:, 0], -torch.inf)
    total, picked = torch.zeros_like(peak), hidden.new_zeros(tokens.shape)
    for start, logits in _vocabulary(model, hidden):
        place = tokens - start
        inside = (place >= 0) & (place < logits.shape[1])
        here = logits.gather(1, place.clamp(0, logits.shape[1] - 1).T).T
        picked = torch.where(inside, here, picked)
        higher = torch.maximum(peak, logits.amax(-1))
        total = total * (peak - higher).exp() + logits.sub_(higher[:, None]).exp_().sum(-1)
        peak = higher
    return picked, peak, total.log()


def _vocabulary(
    model: Model, hidden: Float[Tensor, "position d_model"]
) -> Iterator[tuple[int, Float[Tensor, "position token"]]]:
    """Logits of all positions, some tokens at a time; the first of them is named."""
    weight, cap = model.W_U, model.holds.logits.cap
    bias = model.b_U
    step = max(_MIN_TOKENS, LOGIT_ELEMENTS // max(1, len(hidden)))
    for start in range(0, len(weight), step):
        at = slice(start, start + step)
        logits = linear(hidden, weight[at], None if bias is None else bias[at])
        yield start, logits if cap is None else torch.tanh(logits / cap) * cap
