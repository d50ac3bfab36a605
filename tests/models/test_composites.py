"""Cards of models with several parts: the sizes are those of the text decoder.

The configurations are those of released models, in what they say and in what they leave out.
"""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file
from transformers import AutoConfig

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.text.tokens import Vocabulary

SIZES = ("n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "n_ctx", "vocab")
LLAVA = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "text_config": {
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "rms_norm_eps": 1e-05,
        "vocab_size": 32064,
    },
    "vision_config": {
        "hidden_size": 1024,
        "model_type": "clip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "vocab_size": 32000,
    },
}
GEMMA_3 = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "eos_token_id": [1, 106],
    "text_config": {
        "hidden_size": 2560,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
        "bos_token_id": 2,
    },
    "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
}
PALIGEMMA_2 = {
    "architectures": ["PaliGemmaForConditionalGeneration"],
    "model_type": "paligemma",
    "hidden_size": 2304,
    "text_config": {
        "hidden_size": 2304,
        "model_type": "gemma2",
        "num_hidden_layers": 26,
        "num_key_value_heads": 4,
        "vocab_size": 257216,
    },
    "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
}
QWEN_2_VL = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "model_type": "qwen2_vl",
    "hidden_size": 1536,
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "vocab_size": 151936,
    "vision_config": {"depth": 32, "embed_dim": 1280, "num_heads": 16},
}
IDEFICS_3 = {
    "architectures": ["Idefics3ForConditionalGeneration"],
    "model_type": "idefics3",
    "text_config": {
        "hidden_size": 576,
        "model_type": "llama",
        "num_attention_heads": 9,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "max_position_embeddings": 8192,
        "vocab_size": 49280,
    },
    "vision_config": {"hidden_size": 768, "num_attention_heads": 12},
}


@pytest.fixture
def folder(tmp_path):
    """Write a configuration beside as many weights as its sizes need to be believed."""

    def write(config):
        (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
        save_file({"w": np.zeros(2**19, "f2")}, tmp_path / "model.safetensors")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LLAVA, (32, 32, 32, 4096, 128, 4096, 32064)),
        (GEMMA_3, (34, 8, 4, 2560, 256, 131072, 262208)),
        (PALIGEMMA_2, (26, 8, 4, 2304, 256, 8192, 257216)),
        (QWEN_2_VL, (28, 12, 2, 1536, 128, 32768, 151936)),
        (IDEFICS_3, (30, 9, 3, 576, 64, 8192, 49280)),
    ],
    ids=lambda value: value.get("model_type", "") if isinstance(value, dict) else "",
)
def test_sizes_are_those_of_the_text_decoder(folder, config, expected):
    card = read_card(str(folder(config)))
    assert tuple(getattr(card, size) for size in SIZES) == expected
    assert card.architecture == config["architectures"][0]
    assert card.n_params == 2**19
    kind, rest = config["model_type"], {k: v for k, v in config.items() if k != "model_type"}
    text = AutoConfig.for_model(kind, **rest).get_text_config()
    assert (text.num_hidden_layers, text.num_attention_heads) == (card.n_layers, card.n_heads)
    assert (text.vocab_size, text.hidden_size) == (card.vocab, card.d_model)


def test_special_ids_are_found_in_the_part_or_above_it(folder):
    vocabulary = Vocabulary(folder(GEMMA_3), 262208)
    assert vocabulary.bos == (2,)
    assert not {1, 2, 106} & set(vocabulary.ordinary)


def test_a_plain_configuration_without_sizes_has_those_of_its_class(saved, tmp_path):
    small = shutil.copytree(saved("llama"), tmp_path / "llama")
    said = json.loads((small / "config.json").read_text("utf-8"))
    del said["num_hidden_layers"]
    (small / "config.json").write_text(json.dumps(said), "utf-8")
    assert read_card(str(small)).n_layers == 32
    (small / "config.json").write_text(json.dumps(said | {"model_type": "none_such"}), "utf-8")
    with pytest.raises(UserError, match="found neither"):
        read_card(str(small))
