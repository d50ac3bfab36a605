"""What a head would write if it looked at a token: does it raise that token's own logit?"""

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attention import Edit, Site, Taps, Where
from analysis.layered import layered
from analysis.models.load import Model, hidden_states
from analysis.models.parts.anatomy import first
from analysis.models.projections import norm_gain, written_weights


def ov_copy_scores(model: Model, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each token t: W_U[t] . W_O[h] W_V[h] . ln(W_E[t] + MLP_0), for every head h.

    The model itself computes every factor, so that this holds for any architecture: each token is
    fed alone, so that every head attends to it fully; once with no head of layer 0 writing, to get
    W_E[t] + MLP_0 (with whatever biases and position embedding the model adds), and once with
    that as the input of every layer. The gain of a norm behind attention is multiplied into W_O,
    its scale left out.

    Args:
        model: The model.
        ids: Tokens t, as a rule names.

    Returns:
        Two arrays (token, layer, head), in logits: as above, and with the final norm's gain
        multiplied into W_U. Positive means that the head copies.

    Source:
        Wang et al. 2022, "Interpretability in the Wild".
    """
    tokens = torch.tensor(ids, device=model.device)[:, None]
    with torch.inference_mode():
        start = _effective_embedding(model, tokens)
        read = _read(model, tokens, start)
        rows = model.W_U[tokens[:, 0]]
        gain, _ = norm_gain(model.final_norm, model.W_U[0], size=1.0)
        write = {layer: written_weights(model, layer) for layer in read}
        plain, gained = (
            layered(
                {
                    layer: torch.einsum("thd,hdm,tm->th", z, write[layer], direction)
                    for layer, z in read.items()
                },
                model.card.n_layers,
                torch.nan,
                dim=1,
            )
            for direction in (rows, rows * gain)
        )
    return plain.double().cpu().numpy(), gained.double().cpu().numpy()


def _effective_embedding(model: Model, tokens: Tensor) -> Float[Tensor, "*token d_model"]:
    """The residual stream after layer 0 with all of its heads silent."""
    kept: list[Tensor] = []

    def silence(where: Where, z: Tensor) -> Tensor:
        return torch.zeros_like(z) if where.layer == 0 else z

    def keep(_module: nn.Module, _args: object, output: object) -> None:
        kept.append(first(output))

    with ExitStack() as hooks:
        hooks.callback(model.layers[0].register_forward_hook(keep).remove)
        _forward(model, tokens, {Site.Z: silence})
    return kept[0]


def _read(
    model: Model, tokens: Tensor, start: Float[Tensor, "*token d_model"]
) -> dict[int, Float[Tensor, "token head d_head"]]:
    """What every head of every layer reads when each layer's input is `start`."""
    read: dict[int, Tensor] = {}

    def keep(where: Where, z: Tensor) -> Tensor:
        read[where.layer] = z[:, :, 0]
        return z

    def fully(_where: Where, pattern: Tensor) -> Tensor:
        return torch.ones_like(pattern)  # a learned sink would take its share

    def replace(_module: nn.Module, args: tuple[object, ...]) -> tuple[object, ...]:
        return (start, *args[1:])

    with ExitStack() as hooks:
        for layer in model.layers:
            hooks.callback(layer.register_forward_pre_hook(replace).remove)
        _forward(model, tokens, {Site.PATTERN: fully, Site.Z: keep})
    return read


def _forward(model: Model, tokens: Tensor, edits: dict[Site, Edit]) -> None:
    hidden_states(model, tokens, Taps(edits=edits))
