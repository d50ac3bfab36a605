"""Tiny random-weight models of any type: every size of a configuration is set by its name."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers as tf
from torch import nn
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

Changes = Mapping[str, Any]
VOCAB, WIDTH, LAYERS, HEADS, D_HEAD, WINDOW = 128, 32, 4, 4, 16, 6
FULL_AND_LOCAL = ("full_attention", "sliding_attention") * 2

SIZES: tuple[tuple[str, Any], ...] = (
    (r"(input_|output_)?embedding_size|hidden_size|d_model|n_embd|emb_dim|lru_width", WIDTH),
    (r"word_embed_proj_dim|embedding_dim", WIDTH),
    (r"moe_(shared_expert_)?intermediate_size|expert_ffn_hidden_size", 24),
    (r"shared_experts?_intermediate_size|moe_shared_expert_intermediate_size", 24),
    (r"(\w+_)?intermediate_size(_mlp)?|(\w+_)?ffn_dim|dff|dim_ff|d_inner|feed_forward_size", 48),
    (r"ffn_hidden_size", 48),
    (r"num_hidden_layers|num_layers|n_layers?|(num_)?decoder_layers", LAYERS),
    (r"(num_)?encoder_layers", 2),
    (r"((swa_)?num_|(num_)?decoder_|(num_)?encoder_)?attention_heads|num_heads|n_heads?", HEADS),
    (r"(swa_)?num_key_value_heads|num_kv_heads", 2),
    (r"(swa_)?head_dim|kv_channels|dim_head|query_pre_attn_scalar", D_HEAD),
    # keys and values through a narrow space, and an index of keys
    (r"q_lora_rank", 24),
    (r"kv_lora_rank|index_head_dim|indexer_head_dim|o_lora_rank", 16),
    (r"qk_(nope|rope)_head_dim|v_head_dim", 8),
    (r"index_n_heads|indexer_n_heads", 2),
    (r"indexer_kv_heads|indexer_compress_ratio", 1),
    (r"index_topk|indexer_budget", 64),
    # what is looked up, and how far
    (r"(\w+_)?vocab_size(_per_layer_input)?", VOCAB),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_target_positions", 128),
    (r"original_max_position_embeddings", 128),
    (r"(sliding|attention)_window(_size)?|window_size|local_attention|sliding_window_size", WINDOW),
    (r"attention_chunk_size", 8),
    # experts
    (r"(num|moe_num|n_routed|num_local)_experts", 4),
    (r"num_experts_per_tok|moe_topk|moe_k|top_k_experts", 2),
    (r"(n|num|moe_num)_shared_experts|n_group|topk_group|first_k_dense_replace", 1),
    # layers that carry a state
    (r"linear_(key_|value_)?head_dim|mamba_d_state|ssm_state_size|state_size", 8),
    (r"mamba_d_ssm", None),
    (r"mamba_chunk_size|chunk_size", 8),
    (r"linear_num_(value_)?heads|mamba_(n|num)_heads", 4),
    (r"linear_num_key_heads|n_mamba_heads|mamba_expand", 2),
    (r"mamba_(d_head|head_dim|headdim)", 16),
    (r"mamba_n_?groups|n_groups", 1),
    # parts of single types
    (r"router_hidden_size", 16),
    (r"hidden_size_per_layer_input|laurel_rank|hc_lowrank|adapter_rank|gated_norm_rank|d_rel", 8),
    (r"rotary_dim", 8),
    (r"rel_extent", 64),
    (r"type_vocab_size", 2),
    (r"bos_token_id", 0),
    (r"eos_token_id", 1),
)
"""A pattern of whole names, and the size of what is called so; the first that fits counts."""

PICTURES: tuple[tuple[str, Any], ...] = (
    (r"depth|num_hidden_layers|num_layers|layers|num_global_layers", 1),
    (r"num_attention_heads|num_heads|attention_heads", 2),
    (r"hidden_size|intermediate_size|embed_dim|projection_dim|vision_output_dim", WIDTH),
    (r"out_hidden_size|output_dim", WIDTH),
    (r"image_size", 28),
    (r"patch_size", 14),
)
"""The same for what looks at pictures, which no text goes through."""

_DEEPSTACK = {"deepstack_visual_indexes": [0]}


def _sections(*sections: int) -> dict[str, Any]:
    """Rotations of time, height and width of pictures; in all, half of what is rotated."""
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": list(sections)}


TYPES: dict[str, Changes] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "blt": {
        part: {
            "hidden_size": WIDTH,
            "num_attention_heads": HEADS,
            "num_hidden_layers": 1,
            "intermediate_size": 48,
            **more,
        }
        for part, more in {
            "encoder_config": {"hidden_size_global": WIDTH, "vocab_size": VOCAB},
            "decoder_config": {"hidden_size_global": WIDTH, "vocab_size": VOCAB},
            "global_config": {},
            "patcher_config": {"vocab_size": 260},
        }.items()
    },
    "cohere_compass_text": {"rope_parameters": {"full_attention": _sections(2, 1, 1)}},
    **{
        name: {"rope_parameters": _sections(*sections)}
        for name, sections in {
            "cosmos3_edge_text": (4, 2, 2),
            "glm4v_moe_text": (1, 0, 0),
            "glm4v_text": (2, 1, 1),
            "glm_ocr_text": (2, 1, 1),
            "paddleocr_vl_text": (4, 2, 2),
            "qwen2_5_omni_text": (2, 1, 1),
            "qwen2_5_vl_text": (2, 1, 1),
            "qwen2_vl_text": (2, 1, 1),
        }.items()
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48},
    },
    "ernie4_5_vl_moe_text": {"moe_intermediate_size": [24, 24]},
    "falcon": {"num_kv_heads": None},
    "fuyu": {"image_size": 28, "patch_size": 14},
    "gemma3n_text": {
        "num_kv_shared_layers": 0,
        "layer_types": list(FULL_AND_LOCAL),
        "activation_sparsity_pattern": [0.0] * LAYERS,
    },
    **{
        name: {
            "num_kv_shared_layers": 0,
            "global_head_dim": 2 * D_HEAD,
            "layer_types": list(FULL_AND_LOCAL),
        }
        for name in ("gemma4_text", "gemma4_unified_text")
    },
    "glm5_next_text": {"qk_rope_head_dim": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "intermediate_size": None},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "helium": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1},
    "longcat_flash": {"num_layers": 2, "head_dim": 8, "zero_expert_num": 2},
    **{
        name: {"layer_types": ["linear_attention", "full_attention"] * 2}
        for name in ("bailing_hybrid", "kimi_linear", "minimax")
    },
    "nemotron_h": {"layers_block_type": ["mamba", "attention"] * 2},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {
        "is_decoder": True,
        "axial_pos_shape": (8, 16),
        "axial_pos_embds_dim": (16, 16),
        "attention_head_size": 8,
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "attn_layers": ("local", "lsh") * 2,
    },
    "xlstm": {"num_heads": 2},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 12, "num_key_value_heads": HEADS},
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid"] * 2,
        "num_key_value_heads": HEADS,
        "n_mamba_heads": 4,
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""What a type needs beside sizes, to be built at all or to show what it is."""


def tiny_config(model_type: str, changes: Changes) -> tf.PreTrainedConfig:
    """A small configuration of a type; the parts of a composite one are small too.

    Args:
        model_type: What `config.json` calls it.
        changes: What differs from the smallest; of a composite type, also of its text part.
    """
    kind = CONFIG_MAPPING[model_type]
    known = _fields(kind)
    given = _sized(known, SIZES)
    if known.get("pad_token_id") is not None:
        given["pad_token_id"] = 2
    if "kv_lora_rank" in known:
        given = {**given, "num_key_value_heads": HEADS}
        given.pop("head_dim", None)
    given |= {n: 2 for n in known if re.search("_token_(id|index)$", n) and n not in given}
    given |= {**TYPES.get(model_type, {}), **{n: v for n, v in changes.items() if n in known}}
    inner = {n: v for n, v in changes.items() if n not in known}
    parts = _parts(kind, given, inner)
    return kind(**{**given, **parts}, **({} if parts else inner))


def _parts(kind: type[Any], given: Changes, inner: Changes) -> dict[str, Any]:
    """Small parts of a composite configuration, by the classes that it has by default."""
    names = [name for name in getattr(kind, "sub_configs", {}) if name not in given]
    default, found = kind() if names else None, dict[str, Any]()
    for name in names:
        part = getattr(default, name, None)
        if not dataclasses.is_dataclass(part) or part.model_type not in CONFIG_MAPPING:
            continue
        if re.search("text|decoder|llm", name):
            found[name] = tiny_config(part.model_type, inner)
        else:
            known = _fields(type(part))
            small = _sized(known, PICTURES)
            small |= {n: v for n, v in _DEEPSTACK.items() if n in known}
            found[name] = {"model_type": part.model_type, **small}
    return found


def _fields(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _sized(known: Changes, sizes: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Sizes of those fields that are one number, or that may be left out."""
    numbers = [n for n, v in known.items() if v is None or type(v) in {int, float}]
    return {
        name: next(size for pattern, size in sizes if re.fullmatch(pattern, name))
        for name in numbers
        if any(re.fullmatch(pattern, name) for pattern, _ in sizes)
    }


def build(
    model_type: str, changes: Changes = MappingProxyType({}), *, with_pictures: bool = False
) -> tf.PreTrainedModel:
    """A tiny model with stock eager attention, in evaluation mode.

    Args:
        model_type: What `config.json` calls it.
        changes: What differs from the smallest.
        with_pictures: Whether the class is the one that reads text and pictures.
    """
    config = tiny_config(model_type, changes)
    images = with_pictures or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    kind = tf.AutoModelForImageTextToText if images else tf.AutoModelForCausalLM
    torch.manual_seed(0)
    net = kind.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    _randomise(net)
    return net


def _randomise(net: nn.Module) -> None:
    """Weights large enough to attend unevenly; gains and biases of which no two are alike."""
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            short = name.rpartition(".")[2]
            if not weight.is_floating_point() or short in {"A_log", "D", "dt_bias"}:
                continue  # a state that would grow without bound
            noise = torch.randn(weight.shape, generator=drawn)
            replaced = weight.ndim > 1 or short.endswith("bias") or "sink" in short
            weight.copy_(0.2 * noise if replaced else weight + 0.15 * noise)
        for part in net.modules():  # as trained models have it, and as some are loaded
            if isinstance(part, nn.Embedding) and part.padding_idx is not None:
                part.weight[part.padding_idx] = 0
        for name, value in net.named_buffers():
            if name.endswith("layer_scalar"):
                value.fill_(0.8)


def save(net: tf.PreTrainedModel, folder: Path) -> Path:
    """Write a model as users have it."""
    net.save_pretrained(folder)
    return folder


def every_type() -> dict[str, bool]:
    """All types that predict the next token, and whether their class reads pictures too.

    A type of which there is a class for text alone and one for pictures is in it as `TYPE` and as
    `TYPE, with pictures`.
    """
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    others = {
        name if name not in causal else f"{name}, with pictures": True
        for name, kind in sorted(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.items())
        if causal.get(name) != kind
    }
    return {**dict.fromkeys(sorted(causal), False), **others}
