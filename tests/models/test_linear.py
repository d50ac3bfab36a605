"""Products through oneDNN: the same numbers, the same parameters, and gradients where asked."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from analysis.models.parts.linear import MIN_WEIGHTS, Linear, linear, with_products

WIDE = 256


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5, WIDE), (2, 3, WIDE), (0, WIDE)])
def test_the_product_is_torchs(shape, bias):
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(300, WIDE)
    added = torch.randn(300) if bias else None
    assert weight.numel() >= MIN_WEIGHTS
    with torch.inference_mode():
        found = linear(x, weight, added)
    expected = F.linear(x.double(), weight.double(), None if added is None else added.double())
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_torch(dtype):
    x, weight = torch.randn(4, WIDE, dtype=dtype), torch.randn(WIDE, WIDE, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(linear(x, weight, None), F.linear(x, weight))


def test_a_net_keeps_its_parameters_its_ties_and_its_gradients():
    net = nn.Sequential(nn.Embedding(WIDE, WIDE), nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE))
    net[2].weight = net[0].weight
    before = dict(net.named_parameters(remove_duplicate=False))
    ids = torch.arange(7)
    expected = net(ids)
    with_products(net, Linear)
    assert all(type(net[i]) is Linear for i in (1, 2))
    after = dict(net.named_parameters(remove_duplicate=False))
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    found = net(ids)
    assert torch.equal(found, expected), "with gradients torch computes as before"
    found.sum().backward()
    assert net[1].weight.grad is not None
    with torch.inference_mode():
        torch.testing.assert_close(net(ids), expected, atol=1e-4, rtol=1e-5)
    with_products(net, nn.Linear)
    assert all(type(net[i]) is nn.Linear for i in (1, 2))
    assert torch.equal(net(ids), expected)
