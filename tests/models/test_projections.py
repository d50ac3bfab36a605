"""Weights read by name are the weights that the model uses."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from analysis.attention import Site, Taps
from analysis.errors import UserError
from analysis.models.load import hidden_states, load_model
from analysis.models.projections import folded, norm_gain, projections, surroundings

from .architectures import SUPPORTED, VOCAB

IDS = torch.randint(2, VOCAB, (3, 7), generator=torch.Generator().manual_seed(2))
NORMED_QK = {"qwen3", "gemma3", "olmo2"}
NORMED_AFTER = {"gemma2", "gemma3", "olmo2"}


@pytest.fixture(params=SUPPORTED)
def model(request, saved):
    return load_model(str(saved(request.param)))


def seen(model) -> tuple[list[torch.Tensor], dict[Site, list[torch.Tensor]]]:
    """Every layer's attention input, and its q, k and v."""
    inputs: list[torch.Tensor] = []
    found: dict[Site, list[torch.Tensor]] = {Site.Q: [], Site.K: [], Site.V: []}

    def look(_module, args, kwargs):
        inputs.append(args[0] if args else kwargs["hidden_states"])

    def keep(site):
        return lambda _where, tensor: (found[site].append(tensor), tensor)[1]

    hooks = [m.register_forward_pre_hook(look, with_kwargs=True) for m in model.attentions]
    with torch.no_grad():
        hidden_states(model, IDS, Taps(edits={site: keep(site) for site in found}))
    for hook in hooks:
        hook.remove()
    return inputs, found


def test_q_k_and_v_are_those_of_the_model(model, request):
    """RoPE is the identity at position 0; q and k may carry one factor of the architecture."""
    inputs, found = seen(model)
    name = request.node.callspec.params["model"]
    for layer, x in enumerate(inputs):
        for site, part in projections(model, layer).items():
            assert part.W.shape == (4, 32, 8)
            expected = torch.einsum("bpm,hmd->bhpd", x, part.W) + part.b[:, None]
            if site is Site.V:
                torch.testing.assert_close(found[site][layer], expected, atol=1e-5, rtol=1e-4)
            elif name not in NORMED_QK:
                got, wanted = found[site][layer][:, :, 0], expected[:, :, 0]
                factor = (got * wanted).sum() / wanted.square().sum()
                torch.testing.assert_close(got, factor * wanted, atol=1e-5, rtol=1e-4)
                assert 0.3 < factor < 1.5


def test_what_stands_around_the_attention_is_found(model, request):
    name = request.node.callspec.params["model"]
    for layer in range(2):
        around = surroundings(model, layer)
        assert (around.after is not None) == (name in NORMED_AFTER)
        assert (around.before is None) == (name == "olmo2")
    assert not any(m._forward_hooks for m in model.net.modules())


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_a_folded_norm_leaves_only_its_scale(name, saved):
    model = deepcopy(load_model(str(saved(name))))
    norm = surroundings(model, 1).before
    assert norm is not None
    torch.manual_seed(3)
    with torch.no_grad():
        norm.get_parameter("weight").uniform_(0.5, 1.5)
    W = projections(model, 1)[Site.K].W
    x, zero = torch.randn(5, 32), torch.zeros(32)
    centred = x - x.mean(-1, keepdim=True) if norm_gain(norm, zero, size=1.0)[1] else x
    scale = centred.square().mean(-1, keepdim=True).sqrt()
    with torch.no_grad():
        expected = torch.einsum("bm,hmd->hbd", norm(x) - norm(zero), W)
    found = torch.einsum("bm,hmd->hbd", x / scale, folded(W, norm))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert folded(W, None) is W


class Bent(nn.Linear):
    """What a projection is not: something that is not linear."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).clamp(-1, 1)


def test_what_is_not_linear_is_refused(saved):
    model = deepcopy(load_model(str(saved("llama"))))
    bent = Bent(32, 16)
    bent.weight.data.normal_()
    model.attentions[0].k_proj = bent
    with pytest.raises(
        UserError, match="expected q, k and v that are linear in what attention reads, k of layer 0"
    ):
        projections(model, 0)
