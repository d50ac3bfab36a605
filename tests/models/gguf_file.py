"""GGUF files of small Llamas, laid out as the converter of llama.cpp lays them out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file


def interleaved(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows of each head in the order of adjacent pairs, as llama.cpp rotates them."""
    n_rows, n_in = weight.shape
    halves = weight.reshape(n_heads, 2, n_rows // n_heads // 2, n_in)
    return halves.swapaxes(1, 2).reshape(n_rows, n_in)


def write_gguf(
    folder: Path, path: Path, *, kind: Any = None, more: Mapping[str, float] = {}, factors=False
) -> Path:
    """Write a Llama of a folder, with its tokenizer if it has one.

    Args:
        folder: Of the model.
        path: Of the file.
        kind: Type of the blocks of matrices; float32 without it.
        more: Further settings of the architecture.
        factors: Whether to add factors of rotations, as the converter does for Llama 3.
    """
    from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map, quants  # noqa: PLC0415 - optional

    config = json.loads((folder / "config.json").read_text("utf-8"))
    n_layers, n_heads = config["num_hidden_layers"], config["num_attention_heads"]
    n_kv = config["num_key_value_heads"]
    writer = GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(n_layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(n_heads)
    writer.add_head_count_kv(n_kv)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    for name, value in more.items():
        writer.add_float32(f"llama.{name}", value)
    if (folder / "tokenizer.json").exists():
        add_tokenizer(writer, folder)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, n_layers)
    for name, tensor in load_file(folder / "model.safetensors").items():
        weight = tensor.float().numpy()
        if "q_proj" in name or "k_proj" in name:
            weight = interleaved(weight, n_heads if "q_proj" in name else n_kv)
        packed = kind is not None and weight.ndim == 2 and weight.shape[1] % 32 == 0
        found = names.get_name(name, (".weight",))
        if packed:
            writer.add_tensor(found, quants.quantize(weight, kind), raw_dtype=kind)
        else:
            writer.add_tensor(found, weight)
    if factors:
        writer.add_tensor("rope_freqs.weight", np.full(config["head_dim"] // 2, 2, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer, folder: Path) -> None:
    """Add a byte-pair tokenizer of SentencePiece's kind; merges that come first score higher."""
    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    order = {"".join(pair): -float(i) for i, pair in enumerate(model["merges"])}
    kinds = [
        3 if t in ("<s>", "</s>") else 2 if t == "<unk>" else 6 if t[:3] == "<0x" else 1
        for t in tokens
    ]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([order.get(token, -1e6) for token in tokens])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(model["vocab"]["<s>"])
    writer.add_eos_token_id(model["vocab"]["</s>"])
    writer.add_unk_token_id(model["vocab"]["<unk>"])
