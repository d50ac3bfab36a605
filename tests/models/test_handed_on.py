"""Taps reach attention in models whose layers drop keyword arguments that they do not know."""

from copy import deepcopy

import pytest
import torch
import transformers as tf

from analysis.attention import NAME, Site, Taps, Where
from analysis.models.network import switch
from analysis.models.parts.anatomy import Block
from analysis.models.parts.handed_on import hand_on

from .architectures import GQA, VOCAB, build

IDS = torch.randint(2, VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))
CASES = {"stablelm": tf.StableLmConfig(**GQA), "nemotron": tf.NemotronConfig(**GQA, head_dim=8)}


@pytest.fixture(scope="module", params=CASES)
def stock(request):
    return build(deepcopy(CASES[request.param]))


@pytest.fixture(scope="module")
def switched(stock):
    net = deepcopy(stock)
    switch(net, NAME)
    return net


@pytest.fixture(scope="module")
def ours(switched):
    net = deepcopy(switched)
    hand_on(net, [Block(layer, layer.self_attn, None, None, None) for layer in net.model.layers])
    return net


def logits(net, **kwargs) -> torch.Tensor:
    with torch.inference_mode():
        return net(IDS, use_cache=False, **kwargs).logits


def zeroing(layer: int, head: int) -> Taps:
    def edit(where: Where, z: torch.Tensor) -> torch.Tensor:
        return z.index_fill(1, torch.tensor([head]), 0) if where.layer == layer else z

    return Taps(edits={Site.Z: edit})


def test_logits_are_the_stock_models(stock, ours):
    for taps in (Taps(), Taps(watch=lambda _where, _pattern: None)):
        torch.testing.assert_close(logits(ours, taps=taps), logits(stock))


def test_zeroing_z_is_zeroing_a_slice_of_what_the_projection_reads(stock, switched, ours):
    def cut(_module, args):
        z = args[0].clone()
        z[..., 8:16] = 0
        return (z,)

    handle = stock.model.layers[1].self_attn.o_proj.register_forward_pre_hook(cut)
    expected = logits(stock)
    handle.remove()
    torch.testing.assert_close(logits(ours, taps=zeroing(1, 1)), expected)
    assert not torch.allclose(expected, logits(stock), atol=1e-3)
    # Otherwise the taps would be lost on the way, and nobody would know.
    assert torch.equal(logits(switched, taps=zeroing(1, 1)), logits(switched))


def test_a_call_without_taps_has_none(ours):
    before = logits(ours)
    assert not torch.equal(logits(ours, taps=zeroing(0, 0)), before)
    assert torch.equal(logits(ours), before)


def test_a_layer_alone_continues_from_earlier_keys_and_values(ours):
    begin, calls, outputs = 4, [], []
    kept: dict[tuple[Site, int], torch.Tensor] = {}
    pre = ours.model.layers[1].register_forward_pre_hook(
        lambda _m, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    after = ours.model.layers[1].register_forward_hook(lambda _m, _args, out: outputs.append(out))

    def keep(site: Site):
        return lambda where, tensor: kept.setdefault((site, where.layer), tensor)

    logits(ours, taps=Taps(edits={site: keep(site) for site in (Site.K, Site.V)}))
    pre.remove()
    after.remove()
    args, kwargs = calls[0]
    kwargs |= {
        "attention_mask": kwargs["attention_mask"][:, :, begin:],
        "position_embeddings": tuple(part[:, begin:] for part in kwargs["position_embeddings"]),
    }
    earlier = (kept[Site.K, 1][:, :, :begin], kept[Site.V, 1][:, :, :begin])
    with torch.inference_mode():
        stream = args[0][:, begin:]
        found = ours.model.layers[1](stream, *args[1:], **kwargs, taps=Taps(prefix={1: earlier}))
    whole, tail = (out if isinstance(out, torch.Tensor) else out[0] for out in (outputs[0], found))
    torch.testing.assert_close(tail, whole[:, begin:], atol=1e-5, rtol=1e-5)
