"""Small random-weight models of many architectures, and of some with attention of their own."""

import torch
import transformers as tf

from analysis.models.llama_simple_mlp import LlamaSimpleMLPConfig

VOCAB = 100
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
GQA = {**SIZES, "num_key_value_heads": 2}
GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
MOE = {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "sliding_window": 6}

SUPPORTED = {
    "llama": tf.LlamaConfig(**GQA),
    "gpt2": tf.GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True),
    "gpt_neox": tf.GPTNeoXConfig(**SIZES, use_parallel_residual=True),
    "qwen2": tf.Qwen2Config(**GQA),
    "qwen3": tf.Qwen3Config(**GQA, head_dim=8),
    "mistral": tf.MistralConfig(**GQA, sliding_window=6),
    "gemma2": tf.Gemma2Config(**GQA, head_dim=8, sliding_window=6, query_pre_attn_scalar=8),
    "gemma3": tf.Gemma3TextConfig(**GQA, head_dim=8, sliding_window=6),
    "phi3": tf.Phi3Config(**GQA, pad_token_id=0),
    "olmo2": tf.Olmo2Config(**GQA),
    "opt": tf.OPTConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
    ),
    "gpt_oss": tf.GptOssConfig(**GQA, **MOE),
    "llama_simple_mlp": LlamaSimpleMLPConfig(**GQA),
    "llama_simple_mlp_adjacent": LlamaSimpleMLPConfig(**GQA, rope_adjacent_pairs=True),
}

OWN = {
    "gptj": tf.GPTJConfig(**GPT2, rotary_dim=4),
    "gpt_neo": tf.GPTNeoConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
    ),
    "bloom": tf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4),
}


def build(config: tf.PreTrainedConfig, seed: int = 0) -> tf.PreTrainedModel:
    """A model with stock eager attention and weights large enough to attend unevenly."""
    torch.manual_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 or name.endswith("bias") or "sinks" in name:
                parameter.normal_(std=0.2)
    return model
