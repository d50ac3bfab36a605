"""The models that are timed: random weights of stated sizes, and models that can be loaded."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import nn

from analysis.models.load import Model, load_model
from analysis.models.parts.linear import with_products

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SEED = 0
"""Of random weights and of tokens."""
_N_CTX = 2048


@dataclass(frozen=True)
class Size:
    """A Llama with as many key heads as query heads, an MLP of 4 d_model, untied embeddings."""

    n_layers: int
    n_heads: int
    d_model: int
    d_vocab: int

    def __str__(self) -> str:
        return (
            f"{self.n_layers} layers, {self.n_heads} heads, d_model {self.d_model}, "
            f"d_vocab {self.d_vocab}"
        )


SMALL = "small"
SIZES = {SMALL: Size(4, 8, 256, 4096), "large": Size(12, 12, 768, 50257)}
"""Random-weight models by name."""


def bench_model(name: str, device: str) -> Model:
    """A model that is timed.

    Args:
        name: A name of `SIZES`, or else what `load_model` takes.
        device: Where to put it.

    Returns:
        The instrumented model in float32.

    Raises:
        UserError: It cannot be found or loaded.
    """
    size = SIZES.get(name)
    return load_model(name, device) if size is None else random_model(size, device)


def random_model(size: Size, device: str) -> Model:
    """A Llama with weights of standard deviation d_model^-0.5, which keeps activations of order 1.

    Smaller ones would make every ablation's effect too small for a comparison to mean anything.

    Args:
        size: Its sizes.
        device: Where to put it.

    Returns:
        The instrumented model; the same weights for the same size.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig  # noqa: PLC0415 - slow to import
    from transformers.utils import logging  # noqa: PLC0415

    config = LlamaConfig(
        vocab_size=size.d_vocab,
        hidden_size=size.d_model,
        intermediate_size=4 * size.d_model,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        num_key_value_heads=size.n_heads,
        max_position_embeddings=_N_CTX,
        tie_word_embeddings=False,
    )
    logging.disable_progress_bar()
    net: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=size.d_model**-0.5, generator=generator)
    with TemporaryDirectory() as folder:
        net.save_pretrained(folder)
        return load_model(folder, device)


def stock(model: Model, implementation: str) -> PreTrainedModel:
    """The same network, sharing its weights, with an attention of transformers.

    Args:
        model: The instrumented model, which stays as it is.
        implementation: What transformers calls the attention, `sdpa` or `eager`.

    Returns:
        A network of its own: whatever is hooked or wrapped there is there alone.
    """
    net = deepcopy(model.net, {id(weight): weight for weight in model.net.parameters()})
    net.set_attn_implementation(implementation)
    with_products(net, nn.Linear)
    return net


def attention_paths(model: Model) -> list[str]:
    """Where the attention of each layer is in the network, such as `model.layers.0.self_attn`."""
    return [path_of(model, part) for part in model.attentions if part is not None]


def path_of(model: Model, wanted: nn.Module) -> str:
    """Where a module is in the network."""
    return next(path for path, module in model.net.named_modules() if module is wanted)
