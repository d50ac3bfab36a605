"""`LlamaSimpleMLP`: the published keys, rotary positions, padding, cache and loss."""

from copy import deepcopy

import pytest
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from analysis.models.llama_simple_mlp import (
    LlamaSimpleMLPConfig,
    LlamaSimpleMLPForCausalLM,
    RMSNorm,
    rotate,
)

from .architectures import GQA, SUPPORTED, VOCAB, build

IDS = torch.randint(2, VOCAB, (3, 9), generator=torch.Generator().manual_seed(4))
VARIANTS = ["llama_simple_mlp", "llama_simple_mlp_adjacent"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=VARIANTS)
def net(request):
    return build(deepcopy(SUPPORTED[request.param]))


def published_keys(n_layers: int) -> set[str]:
    layer = ("rms_1", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.o_proj")
    layer += ("rms_2", "mlp.c_fc", "mlp.down_proj")
    inside = {f"h.{i}.{part}.weight" for i in range(n_layers) for part in layer}
    return {"wte.weight", "ln_f.weight", "lm_head.weight"} | inside


def test_the_state_dict_has_the_published_keys(net):
    assert set(net.state_dict()) == published_keys(2)
    assert net.lm_head.weight is net.wte.weight


@pytest.mark.parametrize(
    ("sizes", "n_params"),
    [
        ((50_277, 768, 3072, 6), 50_277 * 768 + 4 * (4 * 768**2 + 2 * 768 * 3072 + 2 * 768) + 768),
        ((4_019, 192, 768, 3), 4_019 * 192 + 4 * (3 * 192**2 + 2 * 192 * 768 + 2 * 192) + 192),
    ],
    ids=["Pile", "SimpleStories"],
)
def test_the_published_sizes(sizes, n_params):
    vocab, d_model, d_mlp, n_kv = sizes
    with torch.device("meta"):
        net = LlamaSimpleMLPForCausalLM(
            LlamaSimpleMLPConfig(
                vocab_size=vocab,
                hidden_size=d_model,
                intermediate_size=d_mlp,
                num_hidden_layers=4,
                num_attention_heads=6,
                num_key_value_heads=n_kv,
            )
        )
    d_head = d_model // 6
    assert net.h[0].attn.k_proj.weight.shape == (n_kv * d_head, d_model)
    assert sum(p.numel() for p in net.parameters()) == n_params
    assert set(net.state_dict()) == published_keys(4)


def test_saving_and_loading_is_a_round_trip(net, tmp_path):
    net.save_pretrained(tmp_path)
    again = tf.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is LlamaSimpleMLPForCausalLM
    assert again.config.rope_adjacent_pairs == net.config.rope_adjacent_pairs
    assert again.lm_head.weight is again.wte.weight
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    for key, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    with torch.no_grad():
        torch.testing.assert_close(again(IDS).logits, net(IDS).logits, **CLOSE)


def test_padding_on_the_left_changes_no_logits(net):
    """Rotary positions are relative, so that a shifted row answers as before."""
    n_pad = 4
    mask = torch.cat([torch.zeros(3, n_pad), torch.ones(3, 9)], dim=1).long()
    with torch.no_grad():
        expected = net(IDS).logits
        for filler in (0, 7):
            padded = torch.cat([torch.full((3, n_pad), filler), IDS], dim=1)
            found = net(padded, attention_mask=mask).logits[:, n_pad:]
            torch.testing.assert_close(found, expected, **CLOSE)
        unmasked = net(padded).logits[:, n_pad:]
    assert not torch.allclose(unmasked, expected, atol=1e-3)


@pytest.mark.parametrize("cut", [1, 5, 8])
def test_the_cache_changes_no_logits(net, cut):
    with torch.no_grad():
        whole = net(IDS).logits
        first = net(IDS[:, :cut], use_cache=True)
        second = net(IDS[:, cut:], past_key_values=first.past_key_values)
    assert first.past_key_values.get_seq_length() == 9
    found = torch.cat([first.logits, second.logits], dim=1)
    torch.testing.assert_close(found, whole, **CLOSE)


def test_embeddings_can_be_given_in_place_of_ids(net):
    with torch.no_grad():
        found = net(inputs_embeds=net.get_input_embeddings()(IDS)).logits
        assert torch.equal(found, net(IDS).logits)


def test_only_the_last_positions_are_unembedded_where_asked(net):
    with torch.no_grad():
        whole = net(IDS).logits
        torch.testing.assert_close(net(IDS, logits_to_keep=2).logits, whole[:, -2:], **CLOSE)
        chosen = torch.tensor([0, 5])
        torch.testing.assert_close(
            net(IDS, logits_to_keep=chosen).logits, whole[:, chosen], **CLOSE
        )


def test_the_loss_is_the_mean_over_next_tokens(net):
    labels = IDS.clone()
    labels[0, :4] = -100
    with torch.no_grad():
        out = net(IDS, labels=labels)
    expected = F.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(out.loss, expected)


def test_later_tokens_change_no_earlier_logits(net):
    changed = IDS.clone()
    changed[:, 6:] = 3
    with torch.no_grad():
        before, after = net(IDS).logits, net(changed).logits
    torch.testing.assert_close(after[:, :6], before[:, :6], **CLOSE)
    assert not torch.allclose(after[:, 6:], before[:, 6:], atol=1e-3)


@given(seed=st.integers(0, 2**32 - 1), offset=st.integers(0, 40), adjacent=st.booleans())
def test_rotation_keeps_norms_and_makes_scores_depend_on_distance_only(seed, offset, adjacent):
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator, dtype=torch.float64)
    frequency = 10_000.0 ** (-torch.arange(0, 16, 2).double() / 16)

    def at(x: torch.Tensor, position: int) -> torch.Tensor:
        return rotate(x, (position * frequency)[None, None], adjacent=adjacent)

    torch.testing.assert_close(at(q, offset).norm(), q.norm())
    assert torch.equal(at(q, 0), q)
    near = (at(q, 7) * at(k, 3)).sum()
    torch.testing.assert_close((at(q, 7 + offset) * at(k, 3 + offset)).sum(), near)
    assert not torch.isclose((at(q, 8) * at(k, 3)).sum(), near, rtol=1e-9, atol=1e-12)


def interleave(weight: torch.Tensor, d_head: int) -> torch.Tensor:
    """Rows (i, i + d_head / 2) of every head moved to (2 i, 2 i + 1)."""
    heads = weight.view(-1, 2, d_head // 2, weight.shape[-1])
    return heads.transpose(1, 2).reshape(weight.shape)


def test_adjacent_pairs_are_the_half_split_with_coordinates_permuted():
    split = build(deepcopy(SUPPORTED["llama_simple_mlp"]))
    adjacent = build(deepcopy(SUPPORTED["llama_simple_mlp_adjacent"]))
    adjacent.load_state_dict(split.state_dict())
    with torch.no_grad():
        expected = split(IDS).logits
        assert not torch.allclose(adjacent(IDS).logits, expected, atol=1e-3)
        for block in adjacent.h:
            for projection in (block.attn.q_proj, block.attn.k_proj):
                projection.weight.copy_(interleave(projection.weight, 8))
        torch.testing.assert_close(adjacent(IDS).logits, expected, **CLOSE)


def test_without_mlps_it_is_the_llama_of_transformers():
    ours = build(LlamaSimpleMLPConfig(**GQA))
    config = tf.LlamaConfig(**GQA, rms_norm_eps=1e-6, tie_word_embeddings=True)
    llama = build(config)
    names = {"rms_1": "input_layernorm", "attn": "self_attn", "rms_2": "post_attention_layernorm"}
    with torch.no_grad():
        llama.model.embed_tokens.weight.copy_(ours.wte.weight)
        llama.model.norm.weight.copy_(ours.ln_f.weight.uniform_(0.5, 2))
        for block, layer in zip(ours.h, llama.model.layers, strict=True):
            block.mlp.down_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            for mine, theirs in names.items():
                layer.get_submodule(theirs).load_state_dict(block.get_submodule(mine).state_dict())
        torch.testing.assert_close(ours(IDS).logits, llama(IDS).logits, **CLOSE)
        assert llama(IDS).logits.std() > 0.5


def test_the_mlp_is_gelu_between_two_maps():
    net = build(deepcopy(SUPPORTED["llama_simple_mlp"]))
    x = torch.randn(2, 3, 32)
    mlp = net.h[0].mlp
    with torch.no_grad():
        inner = x @ mlp.c_fc.weight.T
        gelu = inner / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (inner + 0.044715 * inner**3)))
        torch.testing.assert_close(mlp(x), gelu @ mlp.down_proj.weight.T, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_is_computed_in_float32(dtype):
    norm = RMSNorm(64, 1e-6).to(dtype)
    norm.weight.data.uniform_(0.5, 2)
    x = (torch.randn(5, 64) * 100).to(dtype)
    wide = x.double()
    expected = wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight.double()
    found = norm(x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype))
    assert torch.equal(norm(torch.zeros(1, 64, dtype=dtype)), torch.zeros(1, 64, dtype=dtype))
