"""The instrumented models against forward passes written out by hand."""

from copy import deepcopy

import numpy as np
import pytest
import torch
import transformers as tf

from analysis.attention import Site, Taps, Where
from analysis.models.llama_simple_mlp import LlamaSimpleMLPConfig
from analysis.models.load import Model, load_model

from . import oracle
from .architectures import GPT2, GQA, VOCAB, build

IDS = torch.randint(2, VOCAB, (2, 11), generator=torch.Generator().manual_seed(5))
SIZES = oracle.Rotary(n_layers=2, n_heads=4, n_kv_heads=2, theta=500.0, eps=1e-6)
ROPE = {"rope_theta": 500.0, "rope_type": "default"}
RANDOM = {
    "llama": tf.LlamaConfig(**GQA, rms_norm_eps=1e-6, rope_parameters=ROPE),
    "gpt2": tf.GPT2Config(**GPT2),
    "llama_simple_mlp": LlamaSimpleMLPConfig(**GQA, rope_theta=500.0),
    "llama_simple_mlp_adjacent": LlamaSimpleMLPConfig(
        **GQA, rope_theta=500.0, rope_adjacent_pairs=True
    ),
}


def by_hand(name: str, model: Model, ids: torch.Tensor) -> oracle.Forward:
    state = {k: v.double().numpy() for k, v in model.net.state_dict().items()}
    rows = ids.numpy()
    if name == "gpt2":
        return oracle.gpt2(state, rows, 2, 4)
    if name == "llama":
        return oracle.llama(state, rows, SIZES)
    adjacent = name.endswith("adjacent")
    sizes = oracle.Rotary(**{**vars(SIZES), "adjacent": adjacent})
    return oracle.llama_simple_mlp(state, rows, sizes)


def shown(model: Model, ids: torch.Tensor) -> oracle.Forward:
    """What the instrumented model shows of the same things."""
    found = oracle.Forward()

    def watch(_where: Where, pattern: torch.Tensor) -> None:
        found.pattern.append(pattern.numpy())

    def keep(_where: Where, z: torch.Tensor) -> torch.Tensor:
        found.z.append(z.numpy())
        return z

    def note(_module, _args, output) -> None:
        found.attn_out.append(output[0].numpy())

    handles = [m.register_forward_hook(note) for m in model.attentions]
    with torch.no_grad():
        taps = Taps(edits={Site.Z: keep}, watch=watch)
        found.logits = model.net(ids, use_cache=False, taps=taps).logits.numpy()
    for handle in handles:
        handle.remove()
    return found


def assert_shows(found: oracle.Forward, expected: oracle.Forward, tolerance: float) -> None:
    for part in ("pattern", "z", "attn_out"):
        layers = list(zip(getattr(found, part), getattr(expected, part), strict=True))
        assert layers
        for layer, (one, other) in enumerate(layers):
            np.testing.assert_allclose(
                one, other, atol=tolerance, rtol=tolerance, err_msg=f"{part} of layer {layer}"
            )
    np.testing.assert_allclose(found.logits, expected.logits, atol=tolerance, rtol=tolerance)


@pytest.fixture(params=RANDOM)
def named(request, tmp_path):
    net = build(deepcopy(RANDOM[request.param]))
    torch.manual_seed(6)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
    net.save_pretrained(tmp_path)
    return request.param, load_model(str(tmp_path))


def test_random_models_compute_what_is_written_by_hand(named):
    name, model = named
    assert_shows(shown(model, IDS), by_hand(name, model, IDS), 2e-5)


def test_in_float64_they_agree_to_what_the_model_itself_keeps(named):
    """GPT-2 is float64 throughout; the others norm and rotate in float32, as they are defined."""
    name, model = named
    wide = deepcopy(model)
    wide.net.double()
    assert_shows(shown(wide, IDS), by_hand(name, wide, IDS), 1e-10 if name == "gpt2" else 5e-6)


def test_a_pretrained_model_computes_what_is_written_by_hand(stories260k):
    model = load_model(str(stories260k))
    text = "Once upon a time there was a little girl who had a red ball."
    ids = torch.tensor([[1, *tf.AutoTokenizer.from_pretrained(stories260k).encode(text)]])
    state = {k: v.double().numpy() for k, v in model.net.state_dict().items()}
    sizes = oracle.Rotary(n_layers=5, n_heads=8, n_kv_heads=4, theta=10_000.0, eps=1e-5)
    expected = oracle.llama(state, ids.numpy(), sizes)
    assert_shows(shown(model, ids), expected, 1e-4)
    predicted = expected.logits[0, :-1].argmax(-1)
    assert (predicted == ids[0, 1:].numpy()).mean() > 0.2, "the oracle is no language model"


@pytest.mark.parametrize("wrong", ["theta", "eps", "n_kv_heads", "adjacent"])
def test_the_oracle_tells_a_wrong_formula(wrong, tmp_path):
    net = build(deepcopy(RANDOM["llama"]))
    net.save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    state = {k: v.double().numpy() for k, v in model.net.state_dict().items()}
    other = {"theta": 10_000.0, "eps": 1e-3, "n_kv_heads": 1, "adjacent": True}[wrong]
    sizes = oracle.Rotary(**{**vars(SIZES), wrong: other})
    found = shown(model, IDS).logits
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            found, oracle.llama(state, IDS.numpy(), sizes).logits, atol=1e-4, rtol=1e-4
        )
