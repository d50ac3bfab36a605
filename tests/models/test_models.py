"""Loading a model: the same numbers as transformers, or one clear error."""

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from analysis.attention import NAME, Taps
from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.models.load import hidden_states, last_logits, load_model, unembed
from analysis.models.projections import norm_gain
from analysis.text.tokens import Vocabulary

from .architectures import SUPPORTED, VOCAB, build

IDS = torch.randint(2, VOCAB, (3, 9), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=SUPPORTED)
def name(request):
    return request.param


@pytest.fixture
def copy_of(saved, tmp_path):
    """A copy of a saved model's folder that a test may damage."""

    def copied(name: str):
        return shutil.copytree(saved(name), tmp_path / name)

    return copied


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def assert_one_line(error: pytest.ExceptionInfo[UserError]) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("expected ")
    assert ";" in message, "no remedy"


def test_a_saved_model_gives_the_logits_of_the_one_that_was_saved(name, saved):
    model = load_model(str(saved(name)))
    assert model.net.config._attn_implementation == NAME
    assert not model.net.training
    with torch.no_grad():
        expected = build(deepcopy(SUPPORTED[name]))(IDS).logits
        torch.testing.assert_close(model.net(IDS).logits, expected, atol=2e-6, rtol=1e-5)


def test_hidden_states_unembed_to_the_logits(name, saved):
    model = load_model(str(saved(name)))
    with torch.no_grad():
        logits = model.net(IDS, use_cache=False).logits
        hidden = hidden_states(model, IDS, Taps())
        torch.testing.assert_close(unembed(model, hidden), logits, atol=1e-6, rtol=1e-6)
        lengths = torch.tensor([9, 4, 1])
        last = last_logits(model, IDS, lengths, Taps())
    assert hidden.shape == (3, 9, 32)
    rows = torch.stack([logits[i, n - 1] for i, n in enumerate(lengths)])
    torch.testing.assert_close(last, rows, atol=1e-6, rtol=1e-6)


def test_a_final_soft_cap_is_part_of_the_unembedding(tmp_path):
    config = deepcopy(SUPPORTED["gemma2"])
    config.final_logit_softcapping = 0.5
    build(config).save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    with torch.no_grad():
        logits = model.net(IDS).logits
        torch.testing.assert_close(unembed(model, hidden_states(model, IDS, Taps())), logits)
    assert 0.3 < logits.abs().max() <= 0.5


def test_weights_have_the_shapes_of_heads(name, saved):
    model = load_model(str(saved(name)))
    for layer in range(2):
        assert model.W_O(layer).shape == (4, 8, 32)
        assert model.b_O(layer).shape == (32,)
        biased = name in {"gpt2", "gpt_neox", "opt", "gpt_oss"}
        assert bool(model.b_O(layer).any()) == biased
    assert model.W_U.shape == (VOCAB, 32)
    assert len(model.layers) == len(model.attentions) == 2
    for layer, attention in zip(model.layers, model.attentions, strict=True):
        assert any(module is attention for module in layer.modules())


FINAL_NORM = {
    "gpt2": "transformer.ln_f",
    "gpt_neox": "gpt_neox.final_layer_norm",
    "opt": "model.decoder.final_layer_norm",
    "llama_simple_mlp": "ln_f",
    "llama_simple_mlp_adjacent": "ln_f",
}


def test_the_gain_of_the_final_norm_is_found_by_norming(name, tmp_path):
    net = build(deepcopy(SUPPORTED[name]))
    torch.manual_seed(3)
    with torch.no_grad():
        for module in net.modules():
            if "Norm" in type(module).__name__ and module.weight.shape == (32,):
                module.weight.uniform_(0.5, 1.5)
    norm = net.get_submodule(FINAL_NORM.get(name, "model.norm"))
    expected = norm.weight + 1 if name.startswith("gemma") else norm.weight
    net.save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    gain, _ = norm_gain(model.final_norm, model.W_U[0], size=1.0)
    torch.testing.assert_close(gain, expected.detach(), atol=1e-5, rtol=1e-5)


def test_the_sizes_on_the_card_are_the_models(name, saved):
    card = read_card(str(saved(name)))
    sizes = (card.n_layers, card.n_heads, card.d_model, card.d_head, card.n_ctx, card.vocab)
    assert sizes == (2, 4, 32, 8, 64, VOCAB)
    assert card.n_kv_heads == (4 if name in {"gpt2", "gpt_neox", "opt"} else 2)
    net = load_model(str(saved(name))).net
    assert card.architecture == type(net).__name__
    assert card.n_params == sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("architecture", "found"),
    [("BertForMaskedLM", "is a BertForMaskedLM"), ("BertLMHeadModel", "expected")],
)
def test_a_model_that_is_not_causal_is_refused(architecture, found, tmp_path):
    config = tf.BertConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
    )
    getattr(tf, architecture)(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=found) as error:
        load_model(str(tmp_path))
    assert_one_line(error)


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    config = tf.T5Config(vocab_size=VOCAB, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4)
    tf.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="causal language model") as error:
        load_model(str(tmp_path))
    assert_one_line(error)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"found no config\.json") as error:
        load_model(str(tmp_path))
    assert_one_line(error)


def test_a_folder_without_weights_is_refused(copy_of):
    folder = copy_of("llama")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"expected weights in .*, found none") as error:
        load_model(str(folder))
    assert_one_line(error)


@pytest.mark.parametrize("pickle", ["pytorch_model.bin", "model.pt", "model_6.pth"])
def test_pickles_are_never_loaded(copy_of, pickle):
    folder = copy_of("llama")
    torch.save(load_file(folder / "model.safetensors"), folder / pickle)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=f"only {pickle} .pickles are never loaded") as error:
        load_model(str(folder))
    assert_one_line(error)


@pytest.mark.parametrize("n_bytes", [0, 5, 100, 5_000, -1])
def test_truncated_weights_are_refused(copy_of, n_bytes):
    path = copy_of("llama") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(UserError, match=r"is damaged|is cut short") as error:
        load_model(str(path.parent))
    assert_one_line(error)


def test_weights_that_lack_a_tensor_are_refused(copy_of):
    """transformers would fill the gap with random numbers, and say so in a log."""
    path = copy_of("llama") / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.self_attn.q_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="q_proj") as error:
        load_model(str(path.parent))
    assert_one_line(error)


def test_weights_of_another_architecture_are_refused(copy_of, saved):
    folder = copy_of("llama")
    shutil.copy(saved("gpt2") / "model.safetensors", folder)
    with pytest.raises(UserError) as error:
        load_model(str(folder))
    assert_one_line(error)


def test_weights_of_other_shapes_are_refused(copy_of, capfd):
    folder = copy_of("llama")
    edit_config(folder, intermediate_size=48)
    with pytest.raises(UserError, match=r"fit .* \(32, 48\), found \(32, 64\)") as error:
        load_model(str(folder))
    assert_one_line(error)
    assert capfd.readouterr() == ("", "")


def test_a_missing_shard_is_refused(saved, tmp_path):
    net = tf.AutoModelForCausalLM.from_pretrained(saved("llama"))
    net.save_pretrained(tmp_path, max_shard_size="20KB")
    sorted(tmp_path.glob("*.safetensors"))[1].unlink()
    with pytest.raises(UserError) as error:
        load_model(str(tmp_path))
    assert_one_line(error)


def test_code_that_comes_with_a_model_is_never_run(copy_of):
    folder = copy_of("llama")
    edit_config(folder, auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match="asks to run code of its own") as error:
        load_model(str(folder))
    assert_one_line(error)


def test_a_model_beside_an_adapter_of_another_one_is_refused(copy_of, saved):
    folder = copy_of("llama")
    other = {"base_model_name_or_path": str(saved("llama")), "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="a whole model's weights, beside it") as error:
        load_model(str(folder))
    assert_one_line(error)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json"])
def test_nobody_waits_for_a_fifo_in_a_models_folder(copy_of, name):
    folder = copy_of("llama")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(UserError, match=f"got a fifo at {folder / name}") as error:
        _ = read_card(str(folder)), Vocabulary(folder, 100).tokenizer
    assert_one_line(error)


def test_a_config_without_an_architecture_is_refused(copy_of):
    folder = copy_of("llama")
    edit_config(folder, architectures=None)
    with pytest.raises(UserError, match="expected `architectures`") as error:
        load_model(str(folder))
    assert_one_line(error)


@pytest.mark.parametrize("text", ["{", "", "\xff", "[]", "null"])
def test_a_config_that_is_not_a_json_object_is_refused(copy_of, text):
    folder = copy_of("llama")
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="expected") as error:
        load_model(str(folder))
    assert_one_line(error)


@pytest.mark.parametrize(
    "unknown", ["no-such/model", "nosuchmodel", "./nowhere", "/nowhere/model", "a/b/c", "~/model"]
)
def test_an_unknown_name_is_refused(unknown):
    with pytest.raises(UserError, match="expected `reference`, a folder or a Hugging") as error:
        load_model(unknown)
    assert_one_line(error)
    assert unknown in str(error.value)


def test_an_unknown_device_is_refused(saved):
    for device in ("cuda:99", "nosuch"):
        with pytest.raises(UserError, match=device) as error:
            load_model(str(saved("llama")), device)
        assert_one_line(error)


def test_what_is_known_already_is_told_without_transformers():
    script = (
        "import sys; from analysis.studies import studies; list(studies());"
        "import analysis.overview.findings;"
        "slow = {'transformers', 'scipy.stats'} & sys.modules.keys(); assert not slow, slow"
    )
    subprocess.run([sys.executable, "-P", "-c", script], check=True)
