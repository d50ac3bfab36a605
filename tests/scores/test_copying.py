"""What heads copy: the formula, a token and a head at a time, in float64."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from analysis.models.load import load_model
from analysis.models.projections import norm_gain, surroundings
from analysis.studies.atlas.copying import ov_copy_scores
from tests.models.architectures import SUPPORTED


def by_hand(net, ids: list[int], names: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """W_U[t] . W_O[h] W_V[kv(h)] . ln(W_E[t] + MLP_0), a token and a head at a time."""
    w = {key: value.double() for key, value in net.state_dict().items()}
    n_kv, d_head, eps = 2, 8, net.config.rms_norm_eps
    found = np.empty((2, len(ids), 2, 4))

    def ln(x, gain):
        return x / (x.pow(2).mean() + eps).sqrt() * gain

    for i, token in enumerate(ids):
        x = w[names["embed"]][token]
        inner = ln(x, w[names["mlp_norm"].format(0)])
        if "gate" in names:
            gate, up = (w[names[part].format(0)] @ inner for part in ("gate", "up"))
            hidden = F.silu(gate) * up
        else:
            hidden = F.gelu(w[names["up"].format(0)] @ inner, approximate="tanh")
        x = x + w[names["down"].format(0)] @ hidden
        for layer in range(2):
            read = ln(x, w[names["norm"].format(layer)])
            for head in range(4):
                kv = head // (4 // n_kv)
                v = w[names["v"].format(layer)][kv * d_head : (kv + 1) * d_head] @ read
                out = w[names["o"].format(layer)][:, head * d_head : (head + 1) * d_head] @ v
                row = w[names["unembed"]][token]
                found[0, i, layer, head] = row @ out
                found[1, i, layer, head] = (row * w[names["final"]]) @ out
    return found[0], found[1]


SIMPLE = {
    "embed": "wte.weight",
    "unembed": "lm_head.weight",
    "final": "ln_f.weight",
    "norm": "h.{}.rms_1.weight",
    "mlp_norm": "h.{}.rms_2.weight",
    "v": "h.{}.attn.v_proj.weight",
    "o": "h.{}.attn.o_proj.weight",
    "up": "h.{}.mlp.c_fc.weight",
    "down": "h.{}.mlp.down_proj.weight",
}
LLAMA = {
    "embed": "model.embed_tokens.weight",
    "unembed": "lm_head.weight",
    "final": "model.norm.weight",
    "norm": "model.layers.{}.input_layernorm.weight",
    "mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
    "v": "model.layers.{}.self_attn.v_proj.weight",
    "o": "model.layers.{}.self_attn.o_proj.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
}


@pytest.mark.parametrize(
    ("name", "names"),
    [("llama_simple_mlp", SIMPLE), ("llama_simple_mlp_adjacent", SIMPLE), ("llama", LLAMA)],
)
def test_copy_scores_are_the_formula(name, names, saved, tmp_path):
    net = deepcopy(load_model(str(saved(name))).net)
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
    net.save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    ids = [5, 17, 80]
    for found, expected in zip(
        ov_copy_scores(model, ids), by_hand(model.net, ids, names), strict=True
    ):
        assert found.shape == (3, 2, 4)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


def test_copy_scores_read_the_token_fully_where_sinks_take_a_share(saved):
    """The formula has no pattern in it, so that no learned sink can shrink it."""
    model = load_model(str(saved("gpt_oss")))
    ids = torch.tensor([5, 17, 80])
    layers = model.net.model.layers
    with torch.no_grad():
        start = model.net.model.embed_tokens(ids)[:, None] + model.b_O(0)
        start = start + layers[0].mlp(layers[0].post_attention_layernorm(start))[0].view_as(start)
        expected = torch.empty(3, 2, 4)
        for i, layer in enumerate(layers):
            v = layer.self_attn.v_proj(layer.input_layernorm(start)).view(3, 2, 8)
            z = v.repeat_interleave(2, dim=1)
            written = torch.einsum("thd,hdm->thm", z, model.W_O(i))
            expected[:, i] = torch.einsum("thm,tm->th", written, model.W_U[ids])
    found, _ = ov_copy_scores(model, ids.tolist())
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2"])
def test_the_gain_behind_attention_is_part_of_what_a_head_writes(name, saved):
    """Whether the norm multiplies by it or W_O does is the same; a gain of 0 leaves nothing."""
    model = deepcopy(load_model(str(saved(name))))
    gain = torch.rand(32, generator=torch.Generator().manual_seed(3)) + 0.3
    norms = [surroundings(model, layer).after for layer in range(2)]
    before = [norm.weight.detach().clone() for norm in norms]
    with torch.no_grad():
        ones = norm_gain(norms[0], gain, 1.0)[0]
        for norm in norms:
            norm.weight += gain - ones
        behind = ov_copy_scores(model, [5, 17, 80])
        for norm, weight, attention in zip(norms, before, model.attentions, strict=True):
            norm.weight.copy_(weight)
            attention.o_proj.weight *= gain[:, None]
        inside = ov_copy_scores(model, [5, 17, 80])
        for norm in norms:
            norm.weight -= ones
        nothing = ov_copy_scores(model, [5, 17, 80])
    for one, other, none in zip(behind, inside, nothing, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)
        assert np.abs(one).max() > 1e3 * np.abs(none).max()


@pytest.mark.parametrize("name", SUPPORTED)
def test_copy_scores_exist_for_every_architecture_and_leave_nothing_behind(name, saved):
    model = load_model(str(saved(name)))
    ids = torch.tensor([[5, 17, 80]])
    with torch.no_grad():
        before = model.net(ids).logits
    plain, gained = ov_copy_scores(model, [5, 17])
    alone = ov_copy_scores(model, [17])[0]
    np.testing.assert_allclose(plain[1:], alone, atol=1e-5)
    assert plain.shape == gained.shape == (2, 2, 4)
    assert np.unique(np.abs(plain).round(9)).size == plain.size
    with torch.no_grad():
        assert torch.equal(model.net(ids).logits, before)
