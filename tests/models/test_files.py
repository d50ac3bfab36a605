"""Which weights of a folder count, in whatever type and however many files they lie."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.models.files.weights import largest_rounding
from analysis.models.load import load_model

WEIGHTS = "model.safetensors"
IDS = torch.arange(2, 22)[None]


@pytest.fixture
def copy_of(saved, tmp_path):
    return lambda name: shutil.copytree(saved(name), tmp_path / name)


@torch.no_grad()
def logits(name) -> torch.Tensor:
    return load_model(str(name)).net(IDS, use_cache=False).logits


def rewrite(folder, change) -> None:
    """Save each tensor again as what `change` makes of it."""
    tensors = {name: change(tensor) for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def edit_config(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def refusal(folder) -> str:
    with pytest.raises(UserError) as error:
        read_card(str(folder))
    said = str(error.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_weights_are_the_float32_numbers_that_they_stand_for(copy_of, tmp_path, dtype):
    folder = copy_of("llama")
    rewrite(folder, lambda t: t.to(dtype))
    edit_config(folder, dtype=str(dtype).removeprefix("torch."))
    wide = shutil.copytree(folder, tmp_path / "wide")
    rewrite(wide, lambda t: t.float())
    net = load_model(str(folder)).net
    assert {weight.dtype for weight in net.parameters()} == {torch.float32}
    assert torch.equal(logits(folder), logits(wide))


def test_shards_and_a_tied_unembedding_that_is_left_out(copy_of, tmp_path):
    folder = copy_of("opt")
    assert "lm_head.weight" not in load_file(folder / WEIGHTS)
    net = load_model(str(folder)).net
    assert net.get_output_embeddings().weight is net.get_input_embeddings().weight
    net.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert torch.equal(logits(tmp_path / "shards"), logits(folder))


def test_of_two_whole_sets_the_one_that_is_loaded_counts(copy_of, tmp_path):
    folder = copy_of("llama")
    alone = read_card(str(folder))
    other = tmp_path / "other"
    net = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        net.get_output_embeddings().weight *= 2
    net.save_pretrained(other, max_shard_size="20KB")
    of_shards = read_card(str(other))
    assert alone.notes == of_shards.notes == ()
    shutil.copytree(other, folder, dirs_exist_ok=True)
    both = read_card(str(folder))
    assert (both.weights, both.n_params) == (alone.weights, alone.n_params)
    assert of_shards.weights != alone.weights
    assert torch.equal(2 * logits(folder), logits(other))
    (note,) = both.notes
    assert note.startswith(f"{WEIGHTS} is what is read of {folder}; model-00001-of-")
    (folder / WEIGHTS).unlink()
    assert read_card(str(folder)).weights == of_shards.weights
    assert torch.equal(logits(folder), logits(other))


def test_files_beside_the_shards_do_not_count(copy_of, tmp_path):
    folder = tmp_path / "shards"
    load_model(str(copy_of("llama"))).net.save_pretrained(folder, max_shard_size="20KB")
    before = read_card(str(folder))
    shutil.copy(next(folder.glob("model-00001*")), folder / "consolidated.safetensors")
    after = read_card(str(folder))
    assert (after.weights, after.n_params) == (before.weights, before.n_params)
    assert "consolidated.safetensors beside it is not" in after.notes[0]


def test_what_float64_weights_lose_is_measured_and_said(copy_of):
    folder = copy_of("llama")
    float32 = logits(folder)
    rewrite(folder, lambda t: t.double())
    assert largest_rounding([folder / WEIGHTS]) == 0.0, "they were float32 before"
    assert torch.equal(logits(folder), float32)
    rewrite(folder, lambda t: t * (1 + 2**-30))
    moved = [
        (t.float().double() - t).abs().max() / t.abs().max()
        for t in load_file(folder / WEIGHTS).values()
    ]
    found = largest_rounding([folder / WEIGHTS])
    assert found == pytest.approx(float(max(moved)), rel=1e-12)
    assert 2**-31 < found < 2**-24
    assert f"moves none by more than {found:.1g} of" in read_card(str(folder)).notes[0]
    rewrite(folder, lambda t: t * 1e200)
    with pytest.raises(UserError, match="weights that float32 can hold"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("dtype", "said"), [(torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "I8"), (torch.bool, "BOOL")]
)
def test_numbers_without_their_scales_are_refused(copy_of, dtype, said):
    folder = copy_of("llama")
    rewrite(folder, lambda t: t.to(dtype))
    assert f"is {said}, which needs scales of its format" in refusal(folder)


def test_shards_of_a_distributed_training_are_refused(copy_of):
    folder = copy_of("llama")
    shutil.copy(folder / WEIGHTS, folder / "shard-00001-model-00001-of-00001.safetensors")
    assert "found shards of a distributed training" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "quantization_config ('gptq')",
        ),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config ('fp8')"),
        ({"return_dict": False}, "without return_dict"),
        ({"return_dict": None}, "without return_dict"),
        ({"use_return_dict": False}, "without use_return_dict"),
        ({"transformers_weights": "other.safetensors"}, "without transformers_weights"),
        ({"intermediate_size": "64"}, "as intermediate_size"),
        ({"rms_norm_eps": "tiny"}, "as rms_norm_eps"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": "x"}}, "as rope_theta"),
        ({"max_position_embeddings": 10**12}, "as max_position_embeddings"),
        ({"intermediate_size": 10**12}, "as intermediate_size"),
        ({"vision_config": {"num_labels": 10**12}}, "as num_labels"),
        ({"hidden_size": 1e12}, "as hidden_size"),
        ({"query_pre_attn_scalar": -4}, "above 0 as query_pre_attn_scalar"),
    ],
)
def test_values_that_cannot_be_are_named_before_weights_are_read(copy_of, change, said):
    folder = copy_of("llama")
    edit_config(folder, **change)
    (folder / WEIGHTS).write_bytes(b"no weights")
    assert said in refusal(folder)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads 3 and num_attention_heads 4"),
        ("llama", {"num_key_value_heads": 8}, "num_key_value_heads 8 and num_attention_heads 4"),
        ("gpt2", {"n_head": 5}, "hidden_size 32 and num_attention_heads 5"),
        ("llama", {"head_dim": "8"}, "as head_dim"),
        ("llama", {"num_attention_heads": 0}, "found 0 as num_attention_heads"),
        ("llama", {"num_hidden_layers": 2.0}, "found 2.0 as num_hidden_layers"),
        ("llama", {"vocab_size": 2**30}, "sizes that fit the"),
        ("llama", {"layer_types": 3}, "names as layer_types in the configuration"),
        ("llama", {"layer_types": [["full_attention"], []]}, "got a list of 2"),
        ("llama", {"layer_types": ["no", "such"]}, "ValueError: The `layer_types` entries must be"),
    ],
)
def test_sizes_that_do_not_fit_are_named(copy_of, name, change, said):
    folder = copy_of(name)
    edit_config(folder, **change)
    assert said in refusal(folder)


def test_sizes_of_usual_configurations_are_left_alone(copy_of):
    """Limits that are no sizes, and text where it belongs."""
    folder = copy_of("llama")
    before = read_card(str(folder))
    edit_config(folder, rope_theta=1e11, model_max_length=10**30, time_step_rank="auto")
    assert read_card(str(folder)).n_ctx == before.n_ctx
    assert np.isfinite(logits(folder).numpy()).all()
