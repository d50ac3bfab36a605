"""The sweep without any shortcut: a whole pass and all logits for every condition."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from analysis.attention import Taps
from analysis.interventions.averages import Measurement
from analysis.interventions.effects import Effects
from analysis.interventions.kinds import Condition
from analysis.interventions.passes.sweep import (
    Source,
    chunks,
    in_use,
    on_device,
    prepared,
    refuse_unpredictable,
)
from analysis.interventions.passes.tapping import taps
from analysis.models.load import Model
from analysis.progress import Report


def slow_sweep(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    conditions: Sequence[Condition],
    source: Source,
    measurement: Measurement,
    report: Report,
) -> Effects:
    """Measure what `sweep` measures, plainly: what it is tested against.

    Args:
        model: The model.
        ids: Sequences of one length, without padding.
        conditions: What to replace.
        source: Where stand-ins come from.
        measurement: Scopes, metrics and the size of a batch.
        report: Told how many conditions times sequences are done.

    Returns:
        Effects of the conditions in the order given.

    Raises:
        UserError: As `sweep` does.
    """
    averages = prepared(model, ids, conditions, source, measurement)
    used = in_use(source, conditions)
    with torch.inference_mode():
        for rows in chunks(len(ids), measurement.max_rows):
            tokens = on_device(model, ids[rows])
            stand_ins = used.stand_ins(model, ids, rows)
            base: Tensor = model.net(tokens, use_cache=False, taps=Taps()).logits
            refuse_unpredictable(~base.isfinite().all(-1).all(-1).cpu().numpy(), rows)
            for index, condition in enumerate(conditions):
                tapped = taps(condition.interventions, stand_ins, len(tokens))
                ablated: Tensor = model.net(tokens, use_cache=False, taps=tapped).logits
                averages.add(index, rows, _differences(base, ablated, tokens))
                done = rows.start * len(conditions) + (index + 1) * len(tokens)
                report(done, len(ids) * len(conditions), "ablations, the slow way")
    return averages.effects()


def _differences(
    base: Float[Tensor, "row pos d_vocab"],
    ablated: Float[Tensor, "row pos d_vocab"],
    tokens: Int[Tensor, "row pos"],
) -> dict[str, Float[Tensor, "row pos"]]:
    """Every metric by its textbook formula."""
    log_p, log_q = base.log_softmax(-1), ablated.log_softmax(-1)
    log_middle = ((log_p.exp() + log_q.exp()) / 2).log()
    top1, following = base.argmax(-1), tokens.roll(-1, 1)

    def divergence(log_a: Tensor, log_b: Tensor) -> Tensor:
        return F.kl_div(log_b, log_a, log_target=True, reduction="none").sum(-1)

    def at(tensor: Tensor, chosen: Tensor) -> Tensor:
        return tensor.gather(-1, chosen[..., None])[..., 0]

    return {
        "kl_base_ablated": divergence(log_p, log_q),
        "kl_ablated_base": divergence(log_q, log_p),
        "js": (divergence(log_p, log_middle) + divergence(log_q, log_middle)) / 2,
        "top1_changed": (ablated.argmax(-1) != top1).to(base.dtype),
        "loss_change": at(log_p, following) - at(log_q, following),
        "logit_change": at(ablated, top1) - at(base, top1),
    }
