"""What every head adds to a logit by itself, whatever later layers make of it.

With the scale of each norm frozen at its value in the base's pass, a logit is a sum over what
is written to the residual stream. A head's part of it is its direct effect; where zeroing the
head changes the logit less than that, later layers repair it.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Edit, Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions.passes.staircase import trace
from analysis.interventions.passes.sweep import chunks, on_device
from analysis.layered import layered
from analysis.models.load import Model, check_shares, hidden_states, unembed
from analysis.models.projections import norm_gain, surroundings
from analysis.progress import Report

_LARGE = 1e6
"""Beside its square, what a norm adds to the mean square is nothing."""


@dataclass(frozen=True)
class DirectEffects:
    """Change of a logit, in nats, if a head wrote nothing and later layers did not notice.

    Means over positions; logits are those before a final soft cap.
    """

    top1: Float[np.ndarray, "layer head sequence"]
    """Of the base's most probable token, over all positions."""
    correct: Float[np.ndarray, "layer head sequence"]
    """Of the next token, over all positions but the last."""


def direct_effects(
    model: Model, ids: Int[np.ndarray, "sequence pos"], max_rows: int, report: Report
) -> DirectEffects:
    """The direct effect of zeroing every head.

    Args:
        model: The model.
        ids: Sequences of one length, at least 2 tokens, without padding.
        max_rows: Sequences in one batch.
        report: Told how many sequences are done.

    Returns:
        Effects on two logits, negative where a head raises it.

    Raises:
        UserError: Something else than a share of what heads write arrives at the final norm.
    """
    check_shares(model)
    card, (n_sequences, n_pos) = model.card, ids.shape
    if n_pos < 2:
        raise UserError(f"expected at least 2 tokens in a sequence, got {n_pos}; use longer ones")
    found = np.full((2, card.n_layers, card.n_heads, n_sequences), np.nan)
    for rows in chunks(n_sequences, max_rows):
        with torch.inference_mode():
            parts = head_contributions(model, on_device(model, ids[rows])).double()
        found[0, :, :, rows] = -parts[0].mean(-1).transpose(1, 2).cpu().numpy()
        found[1, :, :, rows] = -parts[1, ..., :-1].mean(-1).transpose(1, 2).cpu().numpy()
        report(rows.stop, n_sequences, "direct effects")
    return DirectEffects(*found)


def head_contributions(
    model: Model, tokens: Int[Tensor, "row pos"]
) -> Float[Tensor, "two layer row head pos"]:
    """What every head adds to the logits of the most probable token and of the next one.

    Args:
        model: The model.
        tokens: Sequences without padding; the last position's next token is a dummy.

    Returns:
        Contributions through the frozen norms.
    """
    with kept_input(model.final_norm) as inputs:
        base = trace(model, tokens, range(model.card.n_layers))
    top1 = torch.stack([unembed(model, row).argmax(-1) for row in base.hidden])
    directions = model.W_U[torch.stack([top1, tokens.roll(-1, 1)])]
    readers = frozen(model.final_norm, inputs[-1], directions)
    layers: dict[int, Tensor] = {}
    for layer, z in base.z.items():
        of_z = readers_of_z(model, layer, readers, base.attn_out[layer])
        if of_z is not None:
            layers[layer] = (of_z * z).sum(-1)
    return layered(layers, len(model.blocks), torch.nan, dim=1)


def readers_of_z(
    model: Model,
    layer: int,
    readers: Float[Tensor, "k row pos d_model"],
    written: Float[Tensor, "row pos d_model"] | None,
) -> Float[Tensor, "k row head pos d_head"] | None:
    """What directions of the residual stream read of what each head of a layer attended to.

    Args:
        model: The model.
        layer: Which.
        readers: The directions.
        written: What a norm behind attention is given, which fixes its scale; None without one.

    Returns:
        Directions r of each head, so that `r . z` is what is read of it; None where no share of
        what heads write arrives.
    """
    share, norm = model.holds.adds[layer], surroundings(model, layer).after
    if share is None:
        return None
    if norm is not None and written is not None:
        readers = frozen(norm, written, readers)
    return torch.einsum("krpm,hdm->krhpd", share * readers, model.W_O(layer))


def frozen(
    norm: nn.Module,
    at: Float[Tensor, "row pos d_model"],
    directions: Float[Tensor, "k row pos d_model"],
) -> Float[Tensor, "k row pos d_model"]:
    """What reads from before a norm what some directions read after it, its scale held.

    RMSNorm and LayerNorm map x to `gain * C x / s + bias`, where C takes the mean away or does
    nothing and the scale s depends on x; gain, bias, C and s are found by what the norm answers.

    Args:
        norm: An RMSNorm or a LayerNorm.
        at: Its input, which fixes the scale.
        directions: What is read after it; several for each position.

    Returns:
        Directions r, so that `r . x` is `direction . (norm(x) - norm(0))` at that input.
    """
    bias = norm(torch.zeros_like(at[0, 0]))
    gain, centred = norm_gain(norm, at[0, 0], _LARGE)
    linear = gain * (at - at.mean(-1, keepdim=True) if centred else at)
    unit = linear / linear.abs().amax(-1, keepdim=True)  # squares of large ones are infinite
    inverse_scale = ((norm(at) - bias) * unit).sum(-1) / (linear * unit).sum(-1)
    read = directions * gain * inverse_scale[..., None]
    return read - read.mean(-1, keepdim=True) if centred else read


@contextmanager
def kept_input(module: nn.Module) -> Generator[list[Tensor]]:
    """What a module is called with."""
    inputs: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    try:
        yield inputs
    finally:
        hook.remove()


def direct_logits(
    model: Model, tokens: Int[Tensor, "row pos"], block_len: int, taps: Taps
) -> Float[Tensor, "row layer head"]:
    """What every head adds to the logit of the next token, beyond its mean over the vocabulary.

    Args:
        model: The model.
        tokens: `BOS, s, s` for blocks s.
        block_len: Tokens in a block, L.
        taps: What else to observe; its edit of z, if any, is replaced.

    Returns:
        Means over the queries of the induction score, in logits before any soft cap.

    Raises:
        UserError: No share of what heads write arrives at the final norm.
    """
    check_shares(model)
    query = slice(tokens.shape[1] - block_len, tokens.shape[1] - 1)
    norms = {layer: after for layer, block in enumerate(model.blocks) if (after := block.after)}
    z: dict[int, Tensor] = {}

    def keep(where: Where, tensor: Tensor) -> Tensor:
        z[where.layer] = tensor[:, :, query].clone()
        return tensor

    edits: dict[Site, Edit] = {**taps.edits, Site.Z: keep}
    with ExitStack() as hooks:
        last = hooks.enter_context(kept_input(model.final_norm))
        normed = {layer: hooks.enter_context(kept_input(norm)) for layer, norm in norms.items()}
        hidden_states(model, tokens, Taps(edits=edits, watch=taps.watch))
    following = tokens[:, query.start + 1 : query.stop + 1]
    direction = (model.W_U[following] - model.W_U.mean(0))[None]
    reader = frozen(model.final_norm, last[-1][:, query], direction)
    columns: dict[int, Tensor] = {}
    for layer, part in z.items():
        written = normed[layer][-1][:, query] if layer in norms else None
        of_z = readers_of_z(model, layer, reader, written)
        if of_z is not None:
            columns[layer] = (of_z[0] * part).sum((-1, -2)) / part.shape[2]
    return layered(columns, len(model.blocks), torch.nan, dim=1)
