"""How predictions differ, without logits of all positions and tokens at once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.interventions.effects import METRICS
from analysis.models.load import Model, unembed
from analysis.models.parts.linear import linear

LOGIT_ELEMENTS = 2**22
"""Logits exist for this many positions times tokens at a time (16 MiB in float32)."""

BLOCK_ELEMENTS = 2**17
"""Two distributions are compared for this many at a time, so that they stay in a core's cache."""

_MIN_TOKENS = 256
_MIN_POSITIONS = 128
"""Below so many rows a product waits for the weights of a large unembedding."""


class Metrics(Enum):
    """Which metrics of an effect are computed; the names are those of `METRICS`."""

    LEAN = ("kl_base_ablated", "top1_changed", "loss_change")
    """What the base's probabilities weigh: one matrix product for each condition."""

    DRAWN = ("kl_base_ablated", "loss_change", "logit_change")
    """What tokens that are drawn from the base's predictions tell: see `drawn`."""

    FULL = tuple(METRICS)
    """All; both distributions are compared token by token, at twice the cost."""


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


@dataclass(frozen=True)
class _Distribution:
    """What is predicted at a few positions, with all that is the same for every comparison."""

    logits: Float[Tensor, "position d_vocab"]
    log_p: Float[Tensor, "position d_vocab"]
    p: Float[Tensor, "position d_vocab"]
    tokens: Int[Tensor, "position two"]
    """As in `Predictions`."""
    peak: Float[Tensor, " position"]
    """The largest logit."""
    log_sum: Float[Tensor, " position"]
    """Log of the sum of exp(logit - peak)."""


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
    model: Model,
    base: Predictions,
    ablated: Float[Tensor, "condition position d_model"],
) -> dict[str, Float[Tensor, "condition position"]]:
    """Every metric, some positions at a time, with one set of base logits for all conditions."""
    found = {name: ablated.new_empty(ablated.shape[:2]) for name in METRICS}
    step = max(_MIN_POSITIONS, LOGIT_ELEMENTS // model.card.vocab)
    each = max(1, BLOCK_ELEMENTS // model.card.vocab)
    for start in range(0, len(base.hidden), step):
        at = slice(start, start + step)
        logits, tokens = unembed(model, base.hidden[at]), base.tokens[:, at].T
        pairs = zip(logits.split(each), tokens.split(each), strict=True)
        parts = [_distribution(*pair) for pair in pairs]
        for i, hidden in enumerate(ablated[:, at]):
            rows = unembed(model, hidden).split(each)
            compared = [_compare(*pair) for pair in zip(parts, rows, strict=True)]
            for name, values in found.items():
                values[i, at] = torch.cat([one[name] for one in compared])
    return found


def _distribution(logits: Tensor, tokens: Tensor) -> _Distribution:
    peak = logits.amax(-1)
    p = (logits - peak[:, None]).exp_()
    total = p.sum(-1)
    log_sum = total.log()
    log_p = (logits - peak[:, None]).sub_(log_sum[:, None])
    return _Distribution(logits, log_p, p.div_(total[:, None]), tokens, peak, log_sum)


def _compare(
    base: _Distribution, logits: Float[Tensor, "position d_vocab"]
) -> dict[str, Float[Tensor, " position"]]:
    """How other logits differ from the base's.

    A divergence is the expected change of a logit beside the change of the normaliser: sums of
    what is small where the two are close, so that rounding is, too.
    """
    peak, change = logits.amax(-1), logits - base.logits
    picked = change.gather(1, base.tokens).T
    log_q = logits - peak[:, None]
    q = log_q.exp()
    total = q.sum(-1)
    log_sum = total.log()
    normaliser = (peak - base.peak) + (log_sum - base.log_sum)
    q, log_q = q.div_(total[:, None]), log_q.sub_(log_sum[:, None])
    log_both = (base.p + q).clamp_(min=torch.finfo(q.dtype).tiny).log_()
    to_both = torch.linalg.vecdot(base.p, base.log_p - log_both)
    to_both += torch.linalg.vecdot(q, log_q.sub_(log_both))
    return {
        "kl_base_ablated": normaliser - torch.linalg.vecdot(base.p, change),
        "top1_changed": (peak > logits.gather(1, base.tokens)[:, 0]).to(peak.dtype),
        "loss_change": normaliser - picked[1],
        "kl_ablated_base": torch.linalg.vecdot(q, change) - normaliser,
        "js": to_both / 2 + math.log(2),
        "logit_change": picked[0],
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
