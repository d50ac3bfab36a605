"""Load a causal language model and switch it to the instrumented attention function.

What imports transformers waits until a model is loaded: most of what is asked is known already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analysis.attention import NAME, Taps
from analysis.errors import UserError, reason
from analysis.precision import Precision, narrow, wide

from .files.card import ModelCard, read_card
from .parts.anatomy import Block, anatomy, asks_interface
from .parts.handed_on import hand_on
from .parts.holds import Holds, measured
from .parts.linear import Linear, with_products
from .parts.look import SHORT, hidden_of, probe, reaches, shown_logits
from .parts.own_attention import attend
from .parts.stock import ran
from .placement import AUTO, fetched, spread

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


@dataclass(frozen=True)
class Model:
    """A loaded model whose attention can be watched and edited."""

    card: ModelCard
    net: PreTrainedModel
    blocks: tuple[Block, ...]
    """The parts of the decoder layers, in order."""
    final_norm: nn.Module
    unembedding: nn.Linear
    holds: Holds
    """What is true of it, by numbers."""

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The decoder layers, in order."""
        return tuple(block.module for block in self.blocks)

    @property
    def attentions(self) -> tuple[nn.Module | None, ...]:
        """Each layer's attention module; None for a layer that does not attend."""
        return tuple(block.attention for block in self.blocks)

    @property
    def device(self) -> torch.device:
        """Where it computes; weights that do not fit there lie elsewhere."""
        return self.unembedding.weight.device

    def writer(self, layer: int) -> nn.Module:
        """The module that holds W_O of a layer that attends; it answers what all heads write."""
        projection = self.blocks[layer].projection
        if projection is None:
            raise ValueError(f"expected a layer that attends, got layer {layer}")
        return projection

    def W_O(self, layer: int) -> Float[Tensor, "head d_head d_model"]:  # noqa: N802
        """The output projection of a layer, split by head: head h writes `z_h W_O[h]`."""
        projection = self.writer(layer)
        with fetched(projection):
            weight: Tensor = wide(projection.get_parameter("weight").detach())
        rows = weight if _is_transposed(projection) else weight.T
        return rows.unflatten(0, (self.card.heads_by_layer[layer], -1))

    def b_O(self, layer: int) -> Float[Tensor, " d_model"]:  # noqa: N802
        """What the output projection adds whatever the heads read; zeros without a bias."""
        projection = self.writer(layer)
        with fetched(projection):
            bias = getattr(projection, "bias", None)
        if bias is None:
            return self.W_O(layer).new_zeros(self.card.d_model)
        return wide(bias.detach())

    @property
    def W_U(self) -> Float[Tensor, "d_vocab d_model"]:  # noqa: N802
        """The unembedding, one row a token, with the factor that logits are scaled by."""
        scaled = self.holds.logits.scale != 1
        return self._scaled_unembedding if scaled else self.unembedding.weight.detach()

    @cached_property
    def _scaled_unembedding(self) -> Float[Tensor, "d_vocab d_model"]:
        return self.unembedding.weight.detach() * self.holds.logits.scale

    @property
    def b_U(self) -> Float[Tensor, " d_vocab"] | None:  # noqa: N802
        """What logits hold whatever the unembedding reads, scaled as they are."""
        bias: Tensor | None = getattr(self.unembedding, "bias", None)
        return None if bias is None else bias.detach() * self.holds.logits.bias


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
        UserError: It cannot be found or loaded, or something does not hold of it without which
            numbers would be wrong.
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
    """Switch a model to our attention function and measure what holds of it.

    Args:
        net: A causal model in evaluation mode.
        card: Its sizes.

    Returns:
        The instrumented model; `net` itself is switched.

    Raises:
        UserError: Interventions would do nothing, or something else than what they say.
    """
    from .network import switch  # noqa: PLC0415 - imports transformers

    tokens = probe(card).to(next(net.parameters()).device)
    switch(net, "eager")
    found = anatomy(net, tokens[:, :SHORT], card.architecture)
    stock = ran(lambda: shown_logits(net, found.unembedding, tokens), card.architecture)
    _without_padding(found.unembedding, stock.shape[-1], card)
    if any(map(asks_interface, found.blocks)):
        switch(net, NAME)
        if not reaches(net, tokens):
            hand_on(net, found.blocks)
    else:
        attend(net, found.blocks, card.heads_by_layer)
    try:
        holds = measured(net, found, card, tokens, stock)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"expected attention that can be watched and edited, that of {card.architecture} "
            f"cannot: {reason(error)}; choose another architecture"
        ) from None
    return Model(card, net, found.blocks, found.final_norm, found.unembedding, holds)


def _without_padding(unembedding: nn.Linear, n_logits: int, card: ModelCard) -> None:
    """Leave out rows of the unembedding that no logits are made of, in place.

    Raises:
        UserError: What is left is no logit for each token.
    """
    weight, bias = unembedding.weight, unembedding.bias
    if n_logits == weight.shape[0]:
        return
    if n_logits != card.vocab:
        raise UserError(
            f"expected a logit for each of {card.vocab} tokens, {card.architecture} has "
            f"{n_logits}; choose another model"
        )
    unembedding.weight = nn.Parameter(weight.detach()[:n_logits], requires_grad=False)
    if bias is not None:  # pyright: ignore[reportUnnecessaryComparison] - what it says of Linear
        unembedding.bias = nn.Parameter(bias.detach()[:n_logits], requires_grad=False)
    unembedding.out_features = n_logits


def check_shares(model: Model) -> None:
    """Make sure that a share of what every attention writes arrives at the final norm.

    Raises:
        UserError: Something else arrives, so that no head has a direct effect.
    """
    pairs = zip(model.card.heads_by_layer, model.holds.adds, strict=True)
    for layer, (n_heads, share) in enumerate(pairs):
        if n_heads and share is None:
            raise UserError(
                f"expected a residual stream to which attention adds, layer {layer} of "
                f"{model.card.architecture} does something else with what heads write"
            )


def check_plain(model: Model) -> None:
    """Make sure that what heads write is linear in the values that they attend to.

    Raises:
        UserError: A gate or a norm stands between pattern and W_O.
    """
    pairs = zip(model.card.heads_by_layer, model.holds.plain, strict=True)
    for layer, (n_heads, plain) in enumerate(pairs):
        if n_heads and not plain:
            raise UserError(
                f"expected heads that write what they attend to through W_O alone, in layer "
                f"{layer} of {model.card.architecture} a gate or a norm stands before it"
            )


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
    """What the final norm answers, without computing any logits.

    Args:
        model: The model.
        tokens: Token ids.
        taps: What is observed and replaced.
        cache: Keys and values of positions before these, which theirs are added to.
    """
    earlier = {} if cache is None else {"past_key_values": cache}
    parts, cached = (model.final_norm, model.unembedding), cache is not None
    return hidden_of(model.net, parts, tokens, taps=taps, use_cache=cached, **earlier)


def unembed(
    model: Model, hidden: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_vocab"]:
    """Logits of normed hidden states, scaled and capped where the model does so."""
    return model.holds.logits.of(model.unembedding, hidden)
