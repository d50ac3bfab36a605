"""Decomposed models: the target with all masks 1, and a float64 forward written out otherwise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erf

from analysis.attention import Taps
from analysis.components.decomposed import (
    Components,
    Cut,
    Decomposition,
    Mask,
    logits,
    masked,
    reading,
    under,
    weight,
)
from analysis.components.losses import lower, lower_leaky, upper_leaky
from analysis.errors import UserError
from analysis.models.load import hidden_states
from tests.models import oracle

from .decomposed_models import N, decomposed, importance_of

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SPLIT = ["llama", "qwen2", "mistral", "llama_simple_mlp", "llama_simple_mlp_adjacent"]
IDS = torch.randint(2, 100, (3, 9), generator=torch.Generator().manual_seed(4))


@pytest.fixture(params=SPLIT)
def made(request, saved) -> Decomposition:
    return decomposed(saved(request.param))


def random_masks(decomposition: Decomposition, shape: tuple[int, ...]) -> dict[str, Mask]:
    generator = torch.Generator().manual_seed(7)
    return {
        name: Mask(
            components=torch.rand(*shape, parts.n, generator=generator),
            delta=torch.rand(shape, generator=generator),
        )
        for name, parts in decomposition.components.items()
    }


@torch.no_grad()
def test_with_all_masks_1_and_the_remainder_the_model_is_the_target(made):
    torch.testing.assert_close(
        logits(made, IDS, made.uniform(1.0, 1.0)), made.model.net(IDS).logits, **CLOSE
    )


@torch.no_grad()
def test_masks_change_the_model_while_they_last_only(made):
    before = made.model.net(IDS).logits
    with masked(made, random_masks(made, (3, 9))):
        inside = made.model.net(IDS).logits
    assert (inside - before).abs().max() > 1e-2
    assert torch.equal(made.model.net(IDS).logits, before)


@pytest.mark.parametrize("name", ["llama_simple_mlp", "llama_simple_mlp_adjacent", "llama"])
@pytest.mark.parametrize("delta", [0.0, 0.4, 1.0])
@torch.no_grad()
def test_one_mask_for_all_tokens_is_a_model_of_other_weights(saved, name, delta):
    """The float64 oracle, with grouped keys and both kinds of rotary pairs, on masked weights."""
    made = decomposed(saved(name))
    masks = {
        layer: Mask(components=mask.components, delta=torch.tensor(delta))
        for layer, mask in random_masks(made, ()).items()
    }
    state = {n: p.double().numpy() for n, p in made.model.net.state_dict().items()}
    for layer, mask in masks.items():
        parts, W = made.components[layer], state[f"{layer}.weight"]
        V, U = (factor.detach().double().numpy() for factor in (parts.V, parts.U))
        one_by_one = [np.outer(U[c], V[:, c]) for c in range(N)]
        remainder = W - sum(one_by_one)
        weighed = zip(mask.components.double().numpy(), one_by_one, strict=True)
        state[f"{layer}.weight"] = sum(m * each for m, each in weighed) + delta * remainder
    card = made.model.card
    sizes = oracle.Rotary(
        n_layers=card.n_layers,
        n_heads=card.n_heads,
        n_kv_heads=card.n_kv_heads,
        theta=10000.0,
        eps=1e-6,
        adjacent=name.endswith("adjacent"),
    )
    forward = (oracle.llama if name == "llama" else oracle.llama_simple_mlp)(
        state, IDS.numpy(), sizes
    )
    ours = logits(made, IDS, masks).double().numpy()
    np.testing.assert_allclose(ours, forward.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("biased", [False, True])
def test_a_mask_of_every_token_weighs_every_component_and_the_remainder(biased):
    generator = torch.Generator().manual_seed(0)
    W, x = torch.randn(6, 4, generator=generator), torch.randn(2, 3, 4, generator=generator)
    parts = Components(
        V=torch.randn(4, 5, generator=generator), U=torch.randn(5, 6, generator=generator)
    )
    bias = torch.randn(6, generator=generator) if biased else None
    m, delta = torch.rand(2, 3, 5, generator=generator), torch.rand(2, 3, generator=generator)
    routed = torch.rand(2, 3, generator=generator) < 0.5
    whole = x @ W.T + (0 if bias is None else bias)
    found = under(Mask(components=m, delta=delta, routed=routed), parts, x, whole, bias)
    remainder = W - parts.reconstruction()
    for b, t in np.ndindex(2, 3):
        by_hand = sum(
            m[b, t, c] * (x[b, t] @ parts.V[:, c]) * parts.U[c] for c in range(5)
        ) + delta[b, t] * (remainder @ x[b, t])
        by_hand = by_hand + (0 if bias is None else bias)
        expected = by_hand if routed[b, t] else whole[b, t]
        torch.testing.assert_close(found[b, t], expected, **CLOSE)


def test_a_cut_is_a_mask_of_0_and_cuts_of_all_rows_are_a_whole_cut():
    generator = torch.Generator().manual_seed(1)
    x, whole = torch.randn(2, 5, 4, generator=generator), torch.randn(2, 5, 6, generator=generator)
    parts = Components(
        V=torch.randn(4, 3, generator=generator), U=torch.randn(3, 6, generator=generator)
    )
    m, delta = torch.rand(2, 5, 3, generator=generator), torch.tensor(0.7)
    at = torch.zeros(2, 5, dtype=torch.bool)
    at[0, 2] = at[1, 4] = True
    zeroed = m.clone()
    zeroed[..., 1].masked_fill_(at, 0)
    expected = under(Mask(components=zeroed, delta=delta), parts, x, whole, None)
    rows = torch.tensor([True, False, True, True, False, False])
    for cuts in ((Cut(1, at),), (Cut(1, at, rows), Cut(1, at, ~rows))):
        found = under(Mask(components=m, delta=delta, cuts=cuts), parts, x, whole, None)
        torch.testing.assert_close(found, expected, **CLOSE)
    some = under(Mask(components=m, delta=delta, cuts=(Cut(1, at, rows),)), parts, x, whole, None)
    kept = under(Mask(components=m, delta=delta), parts, x, whole, None)
    assert torch.equal(some[..., ~rows], kept[..., ~rows])
    torch.testing.assert_close(some[..., rows], expected[..., rows], **CLOSE)
    assert torch.equal(some[~at], kept[~at])


@pytest.mark.parametrize("kind", ["mlp", "vector_mlp", "shared_mlp"])
@torch.no_grad()
def test_layerwise_importances_are_those_of_a_float64_forward(saved, kind):
    made = decomposed(saved("llama_simple_mlp"))
    function = importance_of(made, kind)
    assert function.kind == kind
    assert not function.sees_future
    with reading(made.model, made.components) as inputs:
        hidden_states(made.model, IDS, Taps())
    found = lower(function(inputs, made.components))
    for name, parts in made.components.items():
        maps = function.ci_fns[name.replace(".", "-")].layers
        (W1, b1), (W2, b2) = ((m.W.double().numpy(), m.b.double().numpy()) for m in maps[::2])
        V = parts.V.double().numpy()
        for b, t in np.ndindex(3, 2):
            x = inputs[name][b, t].double().numpy()
            for c in range(parts.n):
                if kind == "shared_mlp":
                    raw = gelu(x @ W1 + b1) @ W2[:, c] + b2[c]
                else:
                    read = np.array([x @ V[:, c]]) if kind == "mlp" else x
                    raw = (gelu(read @ W1[c] + b1[c]) @ W2[c] + b2[c])[0]
                assert found[name][b, t, c] == pytest.approx(min(max(raw, 0), 1), abs=1e-5)


def gelu(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + erf(x / np.sqrt(2)))


@given(x=st.floats(-3, 3), gradient=st.floats(-2, 2))
def test_the_leaky_sigmoids(x, gradient):
    at = torch.tensor([x], dtype=torch.double, requires_grad=True)
    low = lower_leaky(at)
    assert low.item() == min(max(x, 0), 1)
    low.backward(torch.tensor([gradient], dtype=torch.double))
    if x > 1:
        assert at.grad.item() == 0
    elif x > 0:
        assert at.grad.item() == gradient
    else:
        assert at.grad.item() == pytest.approx(min(0.01 * gradient, 0))
    high = upper_leaky(torch.tensor([x])).item()
    assert high == pytest.approx(1 + 0.01 * (x - 1) if x > 1 else max(x, 0))


def test_components_of_another_model_are_refused(saved):
    made = decomposed(saved("llama_simple_mlp"))
    name = next(iter(made.components))
    wrong = Components(V=torch.zeros(3, 2), U=torch.zeros(2, 3))
    with pytest.raises(UserError, match=r"for a weight of shape \(32, 32\), got \(3, 3\)"):
        Decomposition.of(made.model, {"h.0.attn.q_proj": wrong})
    with pytest.raises(UserError, match="expected a linear layer of LlamaSimpleMLP"):
        Decomposition.of(made.model, {"h.9.attn.q_proj": made.components[name]})
    with pytest.raises(UserError, match="expected a linear layer"):
        weight(made.model, "h.0.rms_1")
