"""Models as transformers makes them, which learns of our attention function here."""

from math import isinf
from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface, AutoModelForCausalLM, GgufConfig, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from analysis.attention import NAME, attention
from analysis.errors import UserError

from . import gguf, lora, published, weights
from .card import ModelCard
from .llama_simple_mlp import LlamaSimpleMLPConfig, LlamaSimpleMLPForCausalLM


def causal_classes() -> set[str]:
    """Names of the architectures that predict the next token."""
    return {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), LlamaSimpleMLPForCausalLM.__name__}


def weighed(card: ModelCard) -> tuple[PreTrainedModel, list[str]]:
    """The model with its weights, in float32, and the names of those that were not found.

    Raises:
        UserError: Weights are left over, do not fit, or are beyond float32.
    """
    if card.base is not None:
        net, missing = weighed(card.base)
        lora.merge(net, card.folder)
        return net, missing
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
    file = gguf.file_of(card.folder)
    if file is None and isinf(weights.largest_rounding(weights.weight_files(card.folder)) or 0):
        raise UserError(
            f"expected weights that float32 can hold, {card.folder} has larger ones in float64; "
            "such a model cannot be computed in float32"
        )
    where: dict[str, Any] = {"use_safetensors": True}
    if file is not None:
        # without it, weights would stay packed where a package for that is installed
        where = {"gguf_file": file.name, "quantization_config": GgufConfig(dequantize=True)}
    found: Any = AutoModelForCausalLM.from_pretrained(
        card.folder if file is None else file.parent,
        dtype=torch.float32,
        attn_implementation="eager",
        trust_remote_code=False,
        output_loading_info=True,
        **where,
    )
    net, missing = found[0], sorted(found[1]["missing_keys"])
    if file is not None:
        _check_whole(net, card.n_params, file)
    return net, missing


def _check_whole(net: PreTrainedModel, n_params: int, file: Path) -> None:
    """Refuse a GGUF file of which transformers leaves tensors out, such as factors of rotations."""
    left = n_params - sum(weight.numel() for weight in net.parameters())
    head: Any = net.get_output_embeddings()
    words: Any = net.get_input_embeddings()
    tied = head is not None and head.weight is words.weight
    twice = tied and gguf.same_tensors(file, "output.weight", "token_embd.weight")
    if left != (words.weight.numel() if twice else 0):
        raise UserError(
            f"expected as many weights as {type(net).__name__} has in {file}, found {left:+} more, "
            "which transformers does not read; use the folder that the file was made of"
        )


def switch(net: PreTrainedModel) -> None:
    """Let a model call our attention function.

    Raises:
        ValueError: It has attention of its own.
    """
    net.set_attn_implementation(NAME)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, eager_mask)
