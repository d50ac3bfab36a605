"""A model that transformers itself cannot run, or not to numbers, is refused for that alone."""

import shutil

import pytest
import transformers as tf
from safetensors.torch import load_file, save_file

from analysis.errors import UserError
from analysis.models.load import load_model

from .architectures import GPT2, GQA, MOE, build

WEIGHTS = "model.safetensors"
ATTENTION = "model.layers.0.self_attn"


def refusal(folder) -> str:
    with pytest.raises(UserError) as error:
        load_model(str(folder))
    said = str(error.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", [f"{ATTENTION}.q_proj.weight", f"{ATTENTION}.o_proj.weight", "lm_head.weight"]
)
def test_weights_that_are_no_numbers_are_refused_as_such(saved, tmp_path, name, value):
    folder = shutil.copytree(saved("llama"), tmp_path / "llama")
    tensors = load_file(folder / WEIGHTS)
    tensors[name][1, 5] = value
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert refusal(folder).startswith("expected finite logits, ")


LINEAR = {"rope_type": "linear", "rope_theta": 1e4}


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        (tf.LlamaConfig(**GQA), "rope_parameters", {"rope_type": "default", "rope_theta": 0.0}),
        (tf.LlamaConfig(**GQA), "rope_parameters", {**LINEAR, "factor": 0.0}),
        (tf.GraniteConfig(**GQA), "logits_scaling", 0.0),
    ],
)
def test_configurations_that_make_no_numbers_are_refused_as_such(tmp_path, config, key, value):
    assert refusal(changed(config, key, value, tmp_path)).startswith("expected finite logits, ")


@pytest.mark.parametrize(
    ("config", "key", "value", "said"),
    [
        (tf.MixtralConfig(**GQA, **MOE), "num_experts_per_tok", 9, "index k out of range"),
        (tf.GPTJConfig(**GPT2, rotary_dim=4), "rotary_dim", 20, "must match the size of tensor"),
    ],
)
def test_what_transformers_stops_with_is_said(tmp_path, config, key, value, said):
    line = refusal(changed(config, key, value, tmp_path))
    assert line.startswith("expected a model that runs as its config.json says, ")
    assert said in line


def changed(config: tf.PreTrainedConfig, key: str, value: object, folder):
    """The folder of a model of which one field was changed after it was built."""
    net = build(config)
    net.config.update({key: value})
    net.save_pretrained(folder)
    return folder
