"""LoRA folders: the base with the adapter's products in its weights, or one line."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.text.tokens import Vocabulary

RANK, ALPHA = 2, 6
IDS = torch.arange(2, 22)[None]
SETTINGS = {
    "peft_type": "LORA",
    "r": RANK,
    "lora_alpha": ALPHA,
    "lora_dropout": 0.1,
    "bias": "none",
    "task_type": "CAUSAL_LM",
    "target_modules": ["q_proj"],
    "init_lora_weights": True,
    "megatron_core": "megatron.core",
    "use_dora": False,
    "alpha_pattern": {},
}
NAMES = {
    "llama": ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"],
    "gpt2": ["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_proj"],
}


def transposed(name: str) -> bool:
    """Whether the weight is stored (in, out)."""
    return ".c_" in name


@pytest.fixture
def adapter(saved, tmp_path):
    """Write an adapter of a saved model, and the model with its numbers, by numpy alone."""

    def write(arch="llama", tensors=None, **changes):
        folder, merged = tmp_path / "tuned", shutil.copytree(saved(arch), tmp_path / "merged")
        folder.mkdir()
        rng = np.random.default_rng(0)
        weights, written = load_file(merged / "model.safetensors"), {}
        said = SETTINGS | {"base_model_name_or_path": str(saved(arch))} | changes
        for name in NAMES[arch]:
            old = weights[f"{name}.weight"]
            d_out, d_in = old.shape[::-1] if transposed(name) else old.shape
            A, B = (rng.normal(0, 0.3, s).astype("f4") for s in ((RANK, d_in), (d_out, RANK)))
            scale = ALPHA / (np.sqrt(RANK) if said.get("use_rslora") else RANK)
            change = (scale * B.astype("f8") @ A.astype("f8")).astype("f4")
            weights[f"{name}.weight"] = old + (change.T if transposed(name) else change)
            written |= {
                f"base_model.model.{name}.lora_A.weight": A,
                f"base_model.model.{name}.lora_B.weight": B,
            }
        for name, tensor in (tensors or {}).items():
            written[f"base_model.model.{name}"] = tensor
            weights[name] = tensor
        save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
        save_file(written, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(said), "utf-8")
        return folder, merged

    return write


@torch.no_grad()
def logits(folder) -> torch.Tensor:
    return load_model(str(folder)).net(IDS, use_cache=False).logits


def refusal(folder) -> str:
    with pytest.raises(UserError) as error:
        load_model(str(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("arch", "changes"),
    [
        ("llama", {}),
        ("llama", {"use_rslora": True}),
        ("gpt2", {"fan_in_fan_out": True}),
        ("gpt2", {"fan_in_fan_out": False}),  # the module decides, as it does in peft
    ],
)
def test_an_adapter_is_its_base_with_the_products_added(adapter, saved, arch, changes):
    folder, merged = adapter(arch, **changes)
    torch.testing.assert_close(logits(folder), logits(merged), atol=2e-5, rtol=1e-5)
    assert (logits(folder) - logits(saved(arch))).abs().max() > 0.1


def test_whole_tensors_of_an_adapter_stand_for_those_of_the_base(adapter):
    head = np.random.default_rng(1).normal(size=(100, 32)).astype("f4")
    folder, merged = adapter(tensors={"lm_head.weight": head}, modules_to_save=["lm_head"])
    torch.testing.assert_close(logits(folder), logits(merged), atol=2e-4, rtol=1e-5)


def test_the_card_names_both_and_hashes_both(adapter, saved):
    folder, _ = adapter()
    base, card = read_card(str(saved("llama"))), read_card(str(folder))
    assert card.name == "llama + tuned"
    assert card.notes == ("llama + tuned: a LoRA adapter, merged into its base",)
    assert card.base == base
    assert (card.n_params, card.d_head, card.n_ctx) == (base.n_params, base.d_head, base.n_ctx)
    assert card.row()["name"].item() == "llama + tuned"
    seen = {base.model, card.model}
    path = folder / "adapter_config.json"
    said = json.loads(path.read_text("utf-8"))
    for change in ({"lora_alpha": 5}, {"use_rslora": True}):
        path.write_text(json.dumps(said | change), "utf-8")
        seen.add(read_card(str(folder)).model)
    path.write_text(json.dumps(said | {"lora_dropout": 0.3}), "utf-8")
    assert read_card(str(folder)).model == card.model
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors[min(tensors)] *= 2
    save_file(tensors, folder / "adapter_model.safetensors")
    seen.add(read_card(str(folder)).model)
    assert len(seen) == 5


def test_where_the_base_lies_does_not_count_but_what_it_holds_does(adapter, saved, tmp_path):
    folder, merged = adapter()
    before = read_card(str(folder)).model
    path = folder / "adapter_config.json"
    said = json.loads(path.read_text("utf-8"))
    moved = shutil.copytree(saved("llama"), tmp_path / "moved")
    path.write_text(json.dumps(said | {"base_model_name_or_path": str(moved)}), "utf-8")
    assert read_card(str(folder)).model == before
    path.write_text(json.dumps(said | {"base_model_name_or_path": str(merged)}), "utf-8")
    assert read_card(str(folder)).model != before


def test_the_tokenizer_is_the_adapters_own_or_that_of_its_base(adapter, saved, worded):
    folder, _ = adapter()
    assert Vocabulary(folder, 100).tokenizer is None
    assert Vocabulary(folder, 100).bos == Vocabulary(saved("llama"), 100).bos == (0,)
    path = folder / "adapter_config.json"
    said = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(said | {"base_model_name_or_path": str(worded)}), "utf-8")
    assert Vocabulary(folder, 100).hash == Vocabulary(worded, 100).hash != ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "LOHA"}, "expected plain LoRA"),
        ({"use_dora": True}, "has use_dora True"),
        ({"alpha_pattern": {"q_proj": 3}}, "has alpha_pattern an object of 1"),
        ({"init_lora_weights": "pissa"}, "has init_lora_weights 'pissa'"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "has layer_replication"),
        ({"something_new": 1}, "has something_new 1"),
        ({"revision": "5f0c1a"}, "has revision '5f0c1a'"),
        ({"lora_alpha": "6"}, "expected a number as lora_alpha"),
        ({"base_model_name_or_path": None}, "expected the base model's name"),
        ({"base_model_name_or_path": "./nowhere"}, "found no folder './nowhere'"),
        ({"tensors": {"model.norm.bias": np.zeros(32, "f4")}}, "expected a weight model.norm.bias"),
        ({"tensors": {"lm_head.weight": np.zeros((101, 32), "f4")}}, "found (100, 32)"),
        ({"tensors": {"model.norm.lora_A.weight": np.zeros((2, 32), "f4")}}, "expected lora_A"),
    ],
)
def test_what_is_no_plain_lora_is_refused(adapter, changes, said):
    folder, _ = adapter(**changes)
    assert said in refusal(folder)


def test_a_tied_weight_is_not_changed_in_two_places(adapter):
    folder, _ = adapter("gpt2", tensors={"lm_head.weight": np.zeros((100, 32), "f4")})
    assert "expected a weight lm_head.weight (100, 32)" in refusal(folder)


def test_adapters_of_adapters_and_of_themselves_are_refused(adapter, tmp_path):
    folder, _ = adapter()
    path = folder / "adapter_config.json"
    said = json.loads(path.read_text("utf-8"))
    second = shutil.copytree(folder, tmp_path / "second")
    for place in (folder, second):
        path = place / "adapter_config.json"
        path.write_text(json.dumps(said | {"base_model_name_or_path": str(second)}), "utf-8")
        assert "an adapter itself" in refusal(place)


def test_pickles_are_never_an_adapter(adapter):
    folder, _ = adapter()
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert "found none" in refusal(folder)
