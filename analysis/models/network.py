"""Models as transformers makes them, which learns of our attention function here."""

import re
from collections.abc import Mapping
from logging import Filter, LogRecord
from math import isinf
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    modeling_utils,
)
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)
from transformers.utils import logging

from analysis.attention import NAME, attention
from analysis.errors import UserError

from . import lora
from .files import gguf, published, weights
from .files.card import ModelCard
from .llama_simple_mlp import LlamaSimpleMLPConfig, LlamaSimpleMLPForCausalLM
from .parts.anatomy import attending

_REFUSED = re.compile("MISSING|MISMATCH")
_BESIDE = re.compile(r"bias|weight\w*|scales?")
"""What stands beside a weight and changes what it does."""
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
    mapped = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type) == architecture
    own = None if mapped else getattr(transformers, architecture, None)
    return AutoModelForCausalLM if own is None else own


def built_heads(folder: Path, n_layers: int, n_heads: int) -> tuple[int, ...]:
    """How many heads each layer of a model has that is built without its weights.

    Args:
        folder: Of the model.
        n_layers: How many layers it has.
        n_heads: How many heads one has that says nothing of its own.
    """
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kind = _class_of(config, config.architectures[0])
    with torch.device("meta"):
        net: nn.Module = (
            AutoModelForCausalLM.from_config(config)
            if kind is AutoModelForCausalLM
            else kind(config)
        )
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
    kind: Any = AutoModelForCausalLM
    if file is None:
        config = AutoConfig.from_pretrained(card.folder, trust_remote_code=False)
        kind = _class_of(config, card.architecture)
    net, info = kind.from_pretrained(
        card.folder if file is None else file.parent,
        dtype=torch.float32,
        attn_implementation="eager",
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are refused below
        **where,
    )
    _check_used(net, info, card)
    missing = sorted(info["missing_keys"])
    if file is not None:
        _check_whole(net, card.n_params, file)
    return net, missing


class _Others(Filter):
    """What transformers says, but for tables of weights that are missing or have other shapes."""

    def filter(self, record: LogRecord) -> bool:
        """Whether it is said: those we refuse, in a line."""
        return not _REFUSED.search(record.getMessage())


def _check_used(net: nn.Module, info: Mapping[str, Any], card: ModelCard) -> None:
    """Make sure that weights have the model's shapes, and that it reads all that belong to it.

    What belongs to none of its modules is not a part of what is computed: heads for other tasks,
    encoders of pictures, layers that guess ahead, masks and frequencies of old checkpoints.

    Raises:
        UserError: One has another shape, belongs to a layer that the model has not, or stands
            beside a weight that it has, such as a bias or a scale.
    """
    if info["mismatched_keys"]:
        name, found, expected = min(info["mismatched_keys"])
        raise UserError(
            f"expected weights that fit {card.architecture}, such as {name} {tuple(expected)}, "
            f"found {tuple(found)} in {card.folder}; copy the folder again"
        )
    modules = dict(net.named_modules())
    for name in sorted(info["unexpected_keys"]):
        if _layer(name) >= card.n_layers:
            raise UserError(
                f"expected weights of {card.n_layers} layers in {card.folder}, found {name}; "
                "copy the folder again"
            )
        place, _, part = name.rpartition(".")
        own = list(modules[place].parameters(recurse=False)) if place in modules else []
        if own and _BESIDE.fullmatch(part):
            raise UserError(
                f"expected weights that {card.architecture} reads, its config.json in "
                f"{card.folder} leaves no place for {name}; correct it, or copy the folder again"
            )


def _layer(name: str) -> int:
    """The number of a layer in the name of a weight; -1 if there is none."""
    found = re.search(r"\.(\d+)\.", name)
    return -1 if found is None else int(found[1])


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


def switch(net: PreTrainedModel, implementation: str) -> None:
    """Let a model call an attention function.

    Args:
        net: The model.
        implementation: `eager`, or the name under which a function is registered.
    """
    net.set_attn_implementation(implementation)


logging.get_logger(modeling_utils.__name__).addFilter(_Others())
AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, eager_mask)
