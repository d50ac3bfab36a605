"""Models as transformers makes them, which learns of our attention function here."""

from typing import Any

import torch
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from analysis.attention import NAME, attention
from analysis.errors import UserError

from . import published
from .card import ModelCard
from .llama_simple_mlp import LlamaSimpleMLPConfig, LlamaSimpleMLPForCausalLM


def causal_classes() -> set[str]:
    """Names of the architectures that predict the next token."""
    return {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), LlamaSimpleMLPForCausalLM.__name__}


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
    found: Any = AutoModelForCausalLM.from_pretrained(
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
