"""Models as transformers makes them, which learns of our attention function here."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.utils import logging

from analysis.attention import NAME, attention
from analysis.errors import UserError

from . import published
from .anatomy import attending
from .card import ModelCard
from .llama_simple_mlp import LlamaSimpleMLPConfig, LlamaSimpleMLPForCausalLM

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "num_q_heads", "n_head")


def causal_classes() -> set[str]:
    """Names of the architectures that predict the next token, also with pictures before it."""
    named = (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    return {
        *(name for names in named for name in names.values()),
        LlamaSimpleMLPForCausalLM.__name__,
    }


def _class_of(config: PreTrainedConfig, architecture: str) -> Any:
    """What makes and loads a model of a configuration."""
    if MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) == architecture:
        return AutoModelForCausalLM
    pictured = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type) == architecture
    return AutoModelForImageTextToText if pictured else AutoModelForCausalLM


def built_heads(folder: Path, n_layers: int, n_heads: int) -> tuple[int, ...]:
    """How many heads each layer of a model has that is built without its weights.

    Args:
        folder: Of the model.
        n_layers: How many layers it has.
        n_heads: How many heads one has that says nothing of its own.
    """
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        net: nn.Module = _class_of(config, config.architectures[0]).from_config(config)
    stacks = [
        [attending(layer) for layer in stack]
        for stack in net.modules()
        if isinstance(stack, nn.ModuleList) and len(stack) == n_layers
    ]
    attends = [stack for stack in stacks if any(stack)]
    if not attends:
        return (n_heads,) * n_layers
    return tuple(_n_heads(found[0], n_heads) if found else 0 for found in attends[-1])


def _n_heads(attention: nn.Module, otherwise: int) -> int:
    told = (getattr(attention, name, None) for name in _HEADS)
    return next((n for n in told if type(n) is int), otherwise)


def weighed(card: ModelCard) -> tuple[PreTrainedModel, list[str]]:
    """The model with its weights, and the names of those that were not found."""
    if published.is_published(card.folder):
        target = published.parts(card.folder).target
        if sum(tensor.numel() for tensor in target.values()) < card.n_params:
            raise UserError(
                f"expected the {card.n_params} weights of the target in {card.folder}, found "
                "fewer; copy the whole run folder"
            )
        config = LlamaSimpleMLPConfig(**card.config)
        net = LlamaSimpleMLPForCausalLM(config)
        loaded = net.load_state_dict(target, strict=False)
        return net, sorted(loaded.missing_keys)
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(card.folder, trust_remote_code=False)
    found: Any = _class_of(config, card.architecture).from_pretrained(
        card.folder,
        dtype=torch.float32,
        attn_implementation="eager",
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    return found[0], sorted(found[1]["missing_keys"])


def switch(net: PreTrainedModel, implementation: str) -> None:
    """Let a model call an attention function.

    Args:
        net: The model.
        implementation: `eager`, or the name under which a function is registered.
    """
    net.set_attn_implementation(implementation)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, eager_mask)
