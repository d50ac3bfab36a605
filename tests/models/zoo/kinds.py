"""Kinds of models: every type, and variants of features that defaults leave out."""

from __future__ import annotations

from .build import D_HEAD, FULL_AND_LOCAL, HEADS, Changes, every_type

_ROPE = {"rope_theta": 1e4}
_GRANITE = {
    "embedding_multiplier": 12.0,
    "attention_multiplier": 0.0625,
    "residual_multiplier": 0.22,
    "logits_scaling": 8.0,
}
_LOCAL_FIRST = ["sliding_attention", "full_attention"] * 2

VARIANTS: dict[str, tuple[str, Changes]] = {
    "apertus, biases": ("apertus", {"attention_bias": True}),
    "bert, decoder": ("bert", {"is_decoder": True}),
    "cohere, norms of queries and keys": ("cohere", {"logit_scale": 1.0, "use_qk_norm": True}),
    "deepseek_v2, queries at once": ("deepseek_v2", {"q_lora_rank": None}),
    "deepseek_v3, wide values": ("deepseek_v3", {"v_head_dim": 12}),
    "deepseek_v32, few keys": ("deepseek_v32", {"index_topk": 4}),
    "falcon, ALiBi": (
        "falcon",
        {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
    ),
    "falcon, new blocks": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "gemma2, caps": ("gemma2", {"final_logit_softcapping": 1.0, "attn_logit_softcapping": 0.5}),
    "gemma3, both ways": ("gemma3_text", {"use_bidirectional_attention": True}),
    "gemma3, two windows": ("gemma3_text", {"layer_types": list(FULL_AND_LOCAL)}),
    "gemma3n, shared keys": (
        "gemma3n_text",
        {"num_kv_shared_layers": 2, "layer_types": _LOCAL_FIRST},
    ),
    "gemma4, no input by layer": ("gemma4_text", {"hidden_size_per_layer_input": 0}),
    "gemma4, one width": ("gemma4_text", {"global_head_dim": D_HEAD}),
    "glm4_moe, norms of queries and keys": ("glm4_moe", {"use_qk_norm": True}),
    "glm_moe_dsa, few keys": ("glm_moe_dsa", {"index_topk": 4}),
    "gpt2, scores by layer": (
        "gpt2",
        {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    ),
    "gpt_bigcode, many key heads": ("gpt_bigcode", {"multi_query": False}),
    "gpt_neox, no biases": ("gpt_neox", {"attention_bias": False}),
    "gpt_neox, serial": ("gpt_neox", {"use_parallel_residual": False}),
    "granite, as released": ("granite", _GRANITE),
    "granite, residual alone": ("granite", {"residual_multiplier": 0.22}),
    "granitemoehybrid, all attend": (
        "granitemoehybrid",
        {**_GRANITE, "layer_types": ["attention"] * 4, "position_embedding_type": "rope"},
    ),
    "hy_v4, few keys": ("hy_v4", {"index_topk": 4}),
    "inkling, padded vocabulary": ("inkling_text", {"vocab_size": 160}),
    "inkling2, short reach": ("inkling2_text", {"rel_extent": 4, "log_scaling_n_floor": 4}),
    "laguna, heads by layer": ("laguna", {"num_attention_heads_per_layer": [4, 2, 4, 2]}),
    "lfm2, all attend": ("lfm2", {"layer_types": ["full_attention"] * 4}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama, one head": ("llama", {"num_attention_heads": 1, "num_key_value_heads": 1}),
    "llama, one key head": ("llama", {"num_key_value_heads": 1}),
    "llama, yarn": (
        "llama",
        {
            "rope_parameters": {
                **_ROPE,
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "llama4, dense": ("llama4_text", {"moe_layers": []}),
    "llama4, temperature": ("llama4_text", {"floor_scale": 4, "no_rope_layers": [1, 0, 1, 0]}),
    "mimo_v2_flash, values as they are": (
        "mimo_v2_flash",
        {"v_head_dim": D_HEAD, "attention_value_scale": None},
    ),
    "megatron-bert, decoder": ("megatron-bert", {"is_decoder": True}),
    "minimax_m3, few blocks": (
        "minimax_m3_vl_text",
        {"index_block_size": 2, "index_topk_blocks": 2},
    ),
    "mistral, no window": ("mistral", {"sliding_window": None}),
    "modernbert-decoder, no window": ("modernbert-decoder", {"global_attn_every_n_layers": 1}),
    "mpt, clipped": ("mpt", {"attn_config": {"clip_qkv": 0.5}}),
    "olmo, clipped": ("olmo", {"clip_qkv": 0.5}),
    "olmoe, clipped": ("olmoe", {"clip_qkv": 0.5}),
    "opt, no biases": ("opt", {"enable_bias": False}),
    "opt, post-norm": ("opt", {"do_layer_norm_before": False}),
    "phi, norms of queries and keys": ("phi", {"qk_layernorm": True}),
    "qwen3, window": ("qwen3", {"use_sliding_window": True, "max_window_layers": 2}),
    "qwen3_5, all attend": ("qwen3_5_text", {"layer_types": ["full_attention"] * 4}),
    "rembert, decoder": ("rembert", {"is_decoder": True}),
    "roberta, decoder": ("roberta", {"is_decoder": True}),
    "roformer, decoder": ("roformer", {"is_decoder": True}),
    "stablelm, parallel": (
        "stablelm",
        {"use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True},
    ),
    "starcoder2, no window": ("starcoder2", {"sliding_window": None}),
    "vaultgemma, caps": (
        "vaultgemma",
        {"final_logit_softcapping": 1.0, "attn_logit_softcapping": 0.5},
    ),
    "xglm, many heads": ("xglm", {"attention_heads": 2 * HEADS}),
    "xlm-roberta, decoder": ("xlm-roberta", {"is_decoder": True}),
}
"""By name: the type, and what differs from its smallest model."""


def every_kind() -> dict[str, tuple[str, Changes, bool]]:
    """By name: the type, what differs, and whether the class reads pictures too."""
    types = {
        name: (name.partition(",")[0], {}, pictures) for name, pictures in every_type().items()
    }
    return {**types, **{name: (*kind, False) for name, kind in VARIANTS.items()}}
