"""How predictions differ, by tokens that are drawn once from the base's own distribution.

KL(base || ablated) is the log of the mean of exp(change) less the mean change of a logit, both
under the base: K drawn tokens estimate both, and their errors cancel as far as the change is
small. All conditions share the draws. Tokens that the base hardly predicts are never drawn, so
where a condition changes logits much it is compared over the whole vocabulary: the choice looks
at no draw, or it would favour what was drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from analysis.models.files.card import ModelCard
from analysis.models.load import Model, unembed

from .predictions import LOGIT_ELEMENTS, Metrics, Predictions, differences

SPREAD = 0.5
"""Nats: where the change of a logit has a larger standard deviation over the vocabulary, each of
its tokens counting alike, all of them are compared. On prose, with single heads of SmolLM2-135M
zeroed, the weights exp(change) over their mean have variances of at most 1.2 below it, and of up
to millions above, where 3 of 100 positions lie. A rare token that rises alone is not seen."""

LARGE = 64
"""A vocabulary is large with so many tokens for each that is drawn."""

VARIANCE, EXACT = "kl_variance", "exact"
"""Beside the metrics: of the estimate of KL at a position, and where it is none (1, else 0)."""


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn at every position."""

    n_tokens: int
    """With replacement; at least 2."""
    seed: int

    def __post_init__(self) -> None:
        if self.n_tokens < 2:
            raise ValueError(f"expected to draw at least 2 tokens, got {self.n_tokens}")

    def uniform(self, rows: slice, n_pos: int) -> Float[np.ndarray, "row_and_pos draw"]:
        """Numbers in [0, 1) for some sequences, each from a generator of its own."""
        return np.concatenate(
            [
                np.random.default_rng([self.seed, row]).random((n_pos, self.n_tokens))
                for row in range(rows.start, rows.stop)
            ]
        )


def worth_drawing(card: ModelCard, n_tokens: int) -> bool:
    """Whether comparing over the vocabulary is enough of a sweep to be worth an estimate.

    Args:
        card: The model's sizes.
        n_tokens: How many would be drawn.

    Returns:
        True where the vocabulary is `LARGE`, and its unembedding is at least a quarter as much as
        the half of the layers that a condition walks on average (12 d_model^2 weights each).
    """
    half = card.n_layers * 6 * card.d_model
    return n_tokens > 1 and LARGE * n_tokens <= card.vocab and 4 * card.vocab >= half


def draw(
    model: Model, base: Predictions, uniform: Float[np.ndarray, "position draw"]
) -> Int[Tensor, "position draw"]:
    """Tokens from the base's own distribution.

    Args:
        model: The model.
        base: What it predicts.
        uniform: Numbers in [0, 1), one for each draw.

    Returns:
        Token ids.
    """
    step = max(1, LOGIT_ELEMENTS // model.card.vocab)
    found: list[Tensor] = []
    for start in range(0, len(base.hidden), step):
        at = slice(start, start + step)
        logits = unembed(model, base.hidden[at])
        total = logits.softmax(-1).double().cumsum_(-1)
        below = torch.from_numpy(uniform[at]).to(total.device) * total[:, -1:]
        found.append(torch.searchsorted(total, below, right=True).clamp_(max=logits.shape[1] - 1))
    return torch.cat(found)


def drawn_differences(
    model: Model,
    base: Predictions,
    tokens: Int[Tensor, "position draw"],
    ablated: Float[Tensor, "condition position d_model"],
) -> dict[str, Float[Tensor, "condition position"]]:
    """How predictions under some conditions differ from the base's, by tokens that were drawn.

    Args:
        model: The model.
        base: What it predicts as it is.
        tokens: Drawn from that.
        ablated: What the unembedding reads under each condition, at the same positions.

    Returns:
        Values of `Metrics.DRAWN`, `VARIANCE` and `EXACT`. The change of the loss is KL and the
        expected change of a logit, which is exact, less that of the token that follows: its error
        is that of KL. Where logits are capped, everything is exact.
    """
    change = ablated - base.hidden
    if model.holds.logits.cap is not None:
        exact = torch.ones_like(change[..., 0], dtype=torch.bool)
    else:
        exact = _spread(model, change) > SPREAD
    kl, variance = _estimated(model, tokens, change)
    top1, following = (
        (change * model.W_U[ids]).sum(-1) for ids in (base.tokens[0], base.tokens[1])
    )
    expected = (change * base.expected_unembedding).sum(-1)
    found = {
        "kl_base_ablated": kl,
        "loss_change": kl + expected - following,
        "logit_change": top1,
        VARIANCE: variance.masked_fill(exact, 0),
        EXACT: exact.to(kl.dtype),
    }
    for metric, values in _compared(model, base, ablated, exact).items():
        found[metric][exact] = values
    return found


def _compared(
    model: Model,
    base: Predictions,
    ablated: Float[Tensor, "condition position d_model"],
    exact: Bool[Tensor, "condition position"],
) -> dict[str, Float[Tensor, " chosen"]]:
    """Some conditions at some positions over the whole vocabulary."""
    at = exact.nonzero()[:, 1]
    if len(at) == 0:
        return {}
    there = Predictions(
        hidden=base.hidden[at],
        tokens=base.tokens[:, at],
        logits=base.logits[:, at],
        peak=base.peak[at],
        log_sum=base.log_sum[at],
        expected_unembedding=base.expected_unembedding[at],
    )
    metrics = Metrics.LEAN if model.holds.logits.cap is None else Metrics.DRAWN
    found = differences(model, there, ablated[exact][None], metrics)
    return {metric: found[metric][0] for metric in Metrics.DRAWN.value if metric in found}


def _estimated(
    model: Model,
    tokens: Int[Tensor, "position draw"],
    change: Float[Tensor, "condition position d_model"],
) -> tuple[Float[Tensor, "condition position"], Float[Tensor, "condition position"]]:
    """KL(base || ablated), and the variance of that estimate.

    With weights r = exp(change) over their mean, the log of a mean of n is var(r) / 2n too small
    on average, which is added; r less the change is what a draw adds to the error.
    """
    kl, variance = torch.empty_like(change[..., 0]), torch.empty_like(change[..., 0])
    for at, each in _changes(model, tokens, change):
        centred = each - each.mean(-1, keepdim=True)
        weights = centred.expm1()
        mean = weights.mean(-1, keepdim=True)
        weights = (weights - mean).div_(1 + mean)
        n = tokens.shape[1]
        kl[:, at] = (mean[..., 0].log1p() + weights.var(-1) / (2 * n)).T
        variance[:, at] = ((weights - centred).var(-1) / n).T
    return kl, variance


def _changes(
    model: Model,
    tokens: Int[Tensor, "position draw"],
    change: Float[Tensor, "condition position d_model"],
) -> Iterator[tuple[slice, Float[Tensor, "position condition draw"]]]:
    """How logits of drawn tokens change, some positions at a time."""
    n_conditions, n_positions, d_model = change.shape
    step = max(1, LOGIT_ELEMENTS // (tokens.shape[1] * max(d_model, n_conditions)))
    for start in range(0, n_positions, step):
        at = slice(start, start + step)
        rows = model.W_U[tokens[at]]
        yield at, change[:, at].transpose(0, 1) @ rows.transpose(1, 2)


_COVARIANCE: WeakKeyDictionary[nn.Module, Tensor] = WeakKeyDictionary()


def _spread(
    model: Model, change: Float[Tensor, "condition position d_model"]
) -> Float[Tensor, "condition position"]:
    """Standard deviation over the vocabulary of the change of a logit, in nats."""
    if model.net not in _COVARIANCE:
        weight = model.W_U
        mean = weight.mean(0)
        _COVARIANCE[model.net] = weight.T @ weight / len(weight) - mean[:, None] * mean
    covariance = _COVARIANCE[model.net]
    return ((change @ covariance) * change).sum(-1).clamp_(min=0).sqrt_()
