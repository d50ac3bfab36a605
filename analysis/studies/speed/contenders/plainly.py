"""What the other libraries' forward passes are made into answers with, plainly but efficiently."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.interventions import Head
from analysis.interventions.passes.sweep import chunks, on_device
from analysis.models.load import Model

from .tasks import Answer, Run, Work, batches_of, score_functions

Forward = Callable[[Tensor, Head | None], Tensor]
"""From tokens, and the head to ablate if any, to logits, which the caller may overwrite."""

Patterns = Callable[[Tensor], Sequence[Tensor]]
"""From tokens to the pattern (batch, head, query, key) of every layer."""

_LOGIT_ELEMENTS = {"cpu": 2**26, "cuda": 2**30}
"""Logits of one call: 256 MiB on a CPU, 4 GiB on a GPU."""


@dataclass(frozen=True)
class Base:
    """What the model predicts as it is, kept while its heads are ablated."""

    probability: Float[Tensor, "row pos d_vocab"]
    entropy: Float[Tensor, "row pos"]
    tokens: Int[Tensor, "row pos two"]
    """The most probable token, and the one that follows."""
    loss: Float[Tensor, "row pos"]


def base_of(logits: Float[Tensor, "row pos d_vocab"], tokens: Int[Tensor, "row pos"]) -> Base:
    """Keep the base's probabilities, in the place of its logits."""
    log_p = logits.log_softmax(-1)
    picked = torch.stack([logits.argmax(-1), tokens.roll(-1, 1)], dim=-1)
    loss = -log_p.gather(-1, picked[..., 1:])[..., 0]
    torch.exp(log_p, out=logits)
    entropy = -torch.stack([torch.linalg.vecdot(*row) for row in zip(logits, log_p, strict=True)])
    return Base(logits, entropy, picked, loss)


def compare(base: Base, logits: Float[Tensor, "row pos d_vocab"]) -> Float[Tensor, "metric row"]:
    """KL(base || ablated), share of top-1 changed, and loss change, averaged over positions.

    Args:
        base: What the model predicts as it is.
        logits: What it says under an ablation; they are overwritten.

    Returns:
        One column a sequence; the last position has no loss.
    """
    columns: list[Tensor] = []
    for row, ablated in enumerate(logits):
        peak = ablated.amax(-1, keepdim=True)
        picked = ablated.gather(1, base.tokens[row])
        expected = torch.linalg.vecdot(base.probability[row], ablated)
        log_sum = peak[:, 0] + ablated.sub_(peak).exp_().sum(-1).log()
        kl = log_sum - expected - base.entropy[row]
        changed = (peak[:, 0] > picked[:, 0]).to(kl.dtype)
        loss = log_sum - picked[:, 1] - base.loss[row]
        columns.append(torch.stack([kl.mean(), changed.mean(), loss[:-1].mean()]))
    return torch.stack(columns, dim=1)


def head_by_head(model: Model, forward: Forward) -> Run:
    """Task A: the base once for some sequences, then one whole pass a head."""

    def run(work: Work) -> Answer:
        n_sequences, n_pos = work.ids.shape
        room = _LOGIT_ELEMENTS[model.device.type] // (n_pos * model.card.vocab)
        totals = np.zeros((3, len(work.heads)))
        with torch.inference_mode():
            for rows in chunks(n_sequences, max(1, room)):
                tokens = on_device(model, work.ids[rows])
                base = base_of(forward(tokens, None), tokens)
                for place, head in enumerate(work.heads):
                    found = compare(base, forward(tokens, head))
                    totals[:, place] += found.double().sum(1).cpu().numpy()
        names = ("kl_base_ablated", "top1_changed", "loss_change")
        return dict(zip(names, totals / n_sequences, strict=True))

    return run


def batch_by_batch(model: Model, patterns: Patterns) -> Run:
    """Task S: all patterns of a batch of sequences, then their scores."""

    def run(work: Work) -> Answer:
        found: dict[str, list[Tensor]] = {}
        with torch.inference_mode():
            for ids in batches_of(work):
                functions = score_functions(ids, model.device)
                rows = slice(0, len(ids))
                layers = patterns(on_device(model, ids))
                for name, function in functions.items():
                    scored = torch.stack([function(pattern, rows) for pattern in layers], dim=1)
                    found.setdefault(name, []).append(scored.cpu())
        return {name: torch.cat(parts).double().mean(0).numpy() for name, parts in found.items()}

    return run
