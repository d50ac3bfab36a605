"""An estimate of what replacing each head costs, from one gradient. It never replaces a sweep.

A first-order estimate is right for small changes; replacing a head is none. So it comes with
its rank correlation with what the sweep measures.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from analysis.attention import Edit, Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions.passes.sweep import Source, chunks, in_use, on_device
from analysis.interventions.passes.tapping import taps
from analysis.layered import layered
from analysis.models.load import Model, hidden_states, unembed
from analysis.progress import Report

from .heads import heads_of
from .kinds import Condition, Intervention, Method
from .stand_ins import StandIns


def estimated_loss_change(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    method: Method,
    source: Source,
    max_rows: int,
    report: Report,
) -> Float[np.ndarray, "layer head sequence"]:
    """Estimate how the loss changes where one head's z is replaced everywhere.

    The loss is the mean over a sequence's next tokens; the estimate is the sum over positions of
    (stand-in - z) . d loss / d z, all heads from one forward and one backward pass, and a pass
    over the donors where z is resampled.

    Args:
        model: The model.
        ids: Sequences of one length, at least 2 tokens, without padding.
        method: One that replaces z.
        source: Where stand-ins come from.
        max_rows: Sequences in one batch.
        report: Told how many sequences are done.

    Returns:
        Estimates in nats.

    Raises:
        UserError: The method does not replace z, or its stand-ins are missing.

    Source:
        Nanda 2023, "Attribution Patching: Activation Patching At Industrial Scale".
    """
    if not method.at_z:
        known = ", ".join(each.value for each in Method if each.at_z)
        raise UserError(
            f"expected one of {known} to estimate from a gradient, got {method.value}; run the "
            "sweep"
        )
    if ids.shape[1] < 2:
        raise UserError(f"expected at least 2 tokens, got {ids.shape[1]}; use longer sequences")
    card = model.card
    found = np.full((card.n_layers, card.n_heads, len(ids)), np.nan)
    every = Intervention(method=method, heads=heads_of(card), positions=None)
    used = in_use(source, [Condition(name="", family="", interventions=(every,))])
    for rows in chunks(len(ids), max_rows):
        stand_ins = used.stand_ins(model, ids, rows)
        found[..., rows] = _estimates(model, on_device(model, ids[rows]), every, stand_ins)
        report(rows.stop, len(ids), "attribution")
    return found


def _estimates(
    model: Model, tokens: Int[Tensor, "row pos"], every: Intervention, stand_ins: StandIns
) -> Float[np.ndarray, "layer head row"]:
    kept: dict[int, Tensor] = {}

    def keep(where: Where, z: Tensor) -> Tensor:
        # A tensor of its own, so that the model goes on with it wherever z was seen.
        kept[where.layer] = z.view_as(z) if z.requires_grad else z.detach().requires_grad_()
        return kept[where.layer]

    with torch.enable_grad():
        hidden = hidden_states(model, tokens, Taps(edits={Site.Z: keep}))
        gradients = torch.autograd.grad(
            hidden, list(kept.values()), _loss_gradient(model, hidden, tokens)
        )
    edit: Edit = taps([every], stand_ins, len(tokens)).edits[Site.Z]
    estimates: dict[int, Tensor] = {}
    with torch.no_grad():
        for (layer, z), gradient in zip(kept.items(), gradients, strict=True):
            change = edit(Where(layer, slice(0, len(z))), z) - z
            estimates[layer] = (change * gradient).double().sum((-1, -2)).T
    return layered(estimates, len(model.blocks), torch.nan).cpu().numpy()


def _loss_gradient(
    model: Model, hidden: Float[Tensor, "row pos d_model"], tokens: Int[Tensor, "row pos"]
) -> Float[Tensor, "row pos d_model"]:
    """Gradient of every row's mean loss by what the unembedding reads, one row's logits at once."""
    gradients: list[Tensor] = []
    for row, following in zip(hidden.detach(), tokens[:, 1:], strict=True):
        leaf = row.requires_grad_()
        loss = F.cross_entropy(unembed(model, leaf[:-1]), following)
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    return torch.stack(gradients)
