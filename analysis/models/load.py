"""Load a causal language model and switch it to the instrumented attention function.

What imports transformers waits until a model is loaded: most of what is asked is known already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import Site, Taps, Where
from analysis.errors import UserError, reason
from analysis.precision import Precision, narrow, wide

from .card import ModelCard, read_card
from .linear import Linear, with_products
from .placement import AUTO, fetched, spread

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

_OUTPUT_PROJECTIONS = ("o_proj", "c_proj", "out_proj", "dense")
_LAYER_LISTS = ("layers", "h", "blocks")
_FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


@dataclass(frozen=True)
class Model:
    """A loaded model whose attention can be watched and edited."""

    card: ModelCard
    net: PreTrainedModel
    layers: tuple[nn.Module, ...]
    """The decoder layers, in order."""
    attentions: tuple[nn.Module, ...]
    """Each layer's attention module."""
    final_norm: nn.Module
    unembedding: nn.Linear

    @property
    def device(self) -> torch.device:
        """Where it computes; weights that do not fit there lie elsewhere."""
        return self.unembedding.weight.device

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:  # noqa: N802
        """The output projection of a layer, split by head: head h writes `z_h W_O[h]`."""
        projection = _projection(self.attentions[layer])
        with fetched(projection):
            weight: Tensor = wide(projection.get_parameter("weight").detach())
        rows = weight if _is_transposed(projection) else weight.T
        return rows.reshape(self.card.n_heads, self.card.d_head, -1)

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:  # noqa: N802
        """What the output projection adds whatever the heads read; zeros without a bias."""
        projection = _projection(self.attentions[layer])
        with fetched(projection):
            bias = getattr(projection, "bias", None)
        if bias is None:
            return self.W_O(layer).new_zeros(self.card.d_model)
        return wide(bias.detach())

    @property
    def W_U(self) -> Float[Tensor, "d_vocab d_model"]:  # noqa: N802
        """The unembedding, one row a token."""
        return self.unembedding.weight.detach()


def load_model(name: str, device: str = "cpu", precision: Precision = Precision.FLOAT32) -> Model:
    """Load a model in evaluation mode, instrumented.

    Args:
        name: `reference`, a folder with `config.json` and `*.safetensors`, or a Hugging Face id.
        device: Where to put it, such as `cpu` or `cuda`, or `auto`: see `placement`.
        precision: What its blocks compute in; weights are read in float32 all the same, before
            they are put on the device.

    Returns:
        The model, switched to the attention function of `analysis.attention`.

    Raises:
        UserError: It cannot be found or loaded, is not causal, or bypasses the attention interface.
    """
    return _load(name, device, precision, read_card(name).model)


@lru_cache(maxsize=1)
def _load(name: str, device: str, precision: Precision, _model: str) -> Model:
    """Load once for all experiments that ask the same weights in a row."""
    from .network import causal_classes, weighed  # noqa: PLC0415 - imports transformers

    card = read_card(name)
    if card.architecture not in causal_classes():
        raise UserError(
            f"expected a causal language model, {name} is a {card.architecture}; "
            "choose a model with a ...ForCausalLM class"
        )
    try:
        net, missing = weighed(card)
        early = precision is Precision.FLOAT32 and device != AUTO
        if early:
            nn.Module.to(net, device)
    except UserError:
        raise
    except Exception as error:  # what a config can say wrong raises errors of many kinds
        raise UserError(
            f"expected weights that fit {card.architecture} on {device}, loading {name} failed: "
            f"{reason(error)}; check the folder and the device"
        ) from None
    if missing:
        raise UserError(
            f"expected all weights of {card.architecture} in {card.folder}, found none for "
            f"{', '.join(missing[:3])}; copy or save the folder again"
        )
    with_products(net, Linear)
    model = instrument(net.eval(), card)
    if precision is Precision.BFLOAT16:
        narrow(model.net, model.final_norm, model.unembedding)
    if device == AUTO:
        spread(model.net, model.layers)
    elif not early:
        nn.Module.to(model.net, device)
    return model


def instrument(net: PreTrainedModel, card: ModelCard) -> Model:
    """Switch a model to our attention function and make sure that it is really used.

    Args:
        net: A causal model in evaluation mode.
        card: Its sizes.

    Returns:
        The instrumented model; `net` itself is switched.

    Raises:
        UserError: Some layer keeps its own attention, so that an ablation would change nothing.
    """
    from .network import switch  # noqa: PLC0415 - imports transformers

    seen: list[int] = []

    def count(where: Where, z: Tensor) -> Tensor:
        seen.append(where.layer)
        return z

    refusal = UserError(
        f"expected attention through the transformers attention interface, {card.architecture} "
        "computes its own, so that interventions would silently do nothing; "
        "choose an architecture that supports set_attn_implementation"
    )
    try:
        switch(net)
        probe = torch.zeros(1, 2, dtype=torch.long, device=next(net.parameters()).device)
        with torch.no_grad():
            net(probe, use_cache=False, taps=Taps(edits={Site.Z: count}))
    except (ValueError, TypeError):
        raise refusal from None
    if seen != list(range(card.n_layers)):
        raise refusal
    model = _anatomy(net, card)
    with torch.no_grad():
        expected = net(probe, use_cache=False).logits
        if not torch.allclose(unembed(model, hidden_states(model, probe, Taps())), expected):
            raise UserError(
                f"expected logits to be the unembedding of the normed residual stream, "
                f"{card.architecture} scales them otherwise; choose a supported architecture"
            )
    return model


def _anatomy(net: PreTrainedModel, card: ModelCard) -> Model:
    """Find the parts of a model by their common names."""
    parts: list[tuple[str, nn.Module]] = [
        (name.rsplit(".", 1)[-1], module) for name, module in net.named_modules()
    ]
    layers = [m for name, m in parts if name in _LAYER_LISTS and isinstance(m, nn.ModuleList)]
    inside = {part for stack in layers for part in stack.modules()}
    norms = [m for name, m in parts if name in _FINAL_NORMS and m not in inside]
    attentions = [module for _, module in parts if _is_attention(module)]
    head = net.get_output_embeddings()
    found = len(attentions) == card.n_layers and layers and norms
    if not found or not isinstance(head, nn.Linear):
        raise UserError(
            f"expected decoder layers with one attention module each, {card.architecture} names "
            "its parts otherwise; choose a supported architecture (see the README)"
        )
    return Model(card, net, tuple(layers[0]), tuple(attentions), norms[-1], head)


def _is_attention(module: nn.Module) -> bool:
    named = any(isinstance(getattr(module, p, None), nn.Module) for p in _OUTPUT_PROJECTIONS)
    return named and isinstance(getattr(module, "layer_idx", None), int)


def _projection(module: nn.Module) -> nn.Module:
    return next(getattr(module, p) for p in _OUTPUT_PROJECTIONS if hasattr(module, p))


def _is_transposed(projection: nn.Module) -> bool:
    """Whether the weight is stored (in, out), as GPT-2 does."""
    return type(projection).__name__ == "Conv1D"


def last_logits(
    model: Model, tokens: Int[Tensor, "batch pos"], lengths: Int[Tensor, " batch"], taps: Taps
) -> Float[Tensor, "batch d_vocab"]:
    """Logits after each row's last token; rows are padded on the right."""
    hidden = hidden_states(model, tokens, taps)
    last = hidden[torch.arange(len(lengths), device=hidden.device), lengths - 1]
    return unembed(model, last)


def hidden_states(
    model: Model, tokens: Int[Tensor, "batch pos"], taps: Taps, cache: Cache | None = None
) -> Float[Tensor, "batch pos d_model"]:
    """What the unembedding reads, after the final norm, without computing any logits.

    Args:
        model: The model.
        tokens: Token ids.
        taps: What is observed and replaced.
        cache: Keys and values of positions before these, which theirs are added to.
    """
    earlier = {} if cache is None else {"past_key_values": cache}
    kept: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        kept.append(args[0])
        return (args[0][:, :0],)

    handle = model.unembedding.register_forward_pre_hook(keep)
    try:
        model.net(tokens, use_cache=cache is not None, taps=taps, **earlier)
    finally:
        handle.remove()
    return kept[0]


def unembed(
    model: Model, hidden: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_vocab"]:
    """Logits of normed hidden states, with the final soft cap where the model has one."""
    logits: Tensor = model.unembedding(hidden)
    cap = model.card.config.get("final_logit_softcapping")
    return logits if cap is None else torch.tanh(logits / cap) * cap
