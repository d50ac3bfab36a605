"""Tensors of a checkpoint that the model does not read: which of them make it another model."""

import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis.errors import UserError
from analysis.models.load import load_model

WEIGHTS = "model.safetensors"
_WORDS = re.compile("embed_tokens|wte")
IDS = torch.arange(2, 22)[None]


@pytest.fixture
def copy_of(saved, tmp_path):
    return lambda name: shutil.copytree(saved(name), tmp_path / name)


def added(folder, name: str):
    """The folder with one tensor more: a tied unembedding as it is, else ones."""
    tensors = load_file(folder / WEIGHTS)
    tied = (tensors[key] for key in tensors if name == "lm_head.weight" and _WORDS.search(key))
    tensors[name] = next(tied, torch.ones(32)).clone()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("model", "left"),
    [
        ("llama", "model.layers.0.self_attn.q_proj.bias"),
        ("llama", "model.layers.1.mlp.up_proj.weight_scale"),
        ("llama", "model.norm.bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.dense.scales"),
    ],
)
def test_what_belongs_to_a_weight_and_is_not_read_is_refused(copy_of, model, left):
    with pytest.raises(UserError, match=f"no place for {left}; [^\n]*$"):
        load_model(str(added(copy_of(model), left)))


@pytest.mark.parametrize(
    ("model", "left"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("llama", "mtp.0.mlp.up_proj.weight"),
        ("llama", "vision_tower.layers.0.mlp.fc1.bias"),
        ("llama", "score.weight"),
        ("gpt2", "transformer.h.0.attn.bias"),
        ("gpt2", "transformer.h.0.attn.masked_bias"),
        ("gpt2", "lm_head.weight"),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias"),
        ("gptj", "transformer.h.0.attn.bias"),
        ("gpt_neo", "transformer.h.0.attn.attention.bias"),
        ("opt", "lm_head.weight"),
    ],
)
def test_what_belongs_to_no_weight_is_left_alone(copy_of, model, left):
    folder = copy_of(model)
    with torch.no_grad():
        expected = load_model(str(folder)).net(IDS).logits
        assert torch.equal(load_model(str(added(folder, left))).net(IDS).logits, expected)
