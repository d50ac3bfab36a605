"""Losses of a decomposition against their formulas, written out; masks and routes by their law."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.components.adversary import Ascent, Sources, worst
from analysis.components.decomposed import Components, Decomposition, logits
from analysis.components.losses import (
    between,
    divergence,
    drawn_masks,
    faithfulness,
    minimality,
    random_routes,
)

from .decomposed_models import N, decomposed

IDS = torch.randint(2, 100, (3, 7), generator=torch.Generator().manual_seed(4))
NAMES = ["a", "b", "c", "d"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 2**32 - 1))
def test_divergence_is_that_of_the_distributions(seed):
    target, other = 3 * torch.randn(2, 2, 4, 9, generator=seeded(seed))
    p, q = (torch.distributions.Categorical(logits=each) for each in (target, other))
    expected = torch.distributions.kl_divergence(p, q).mean()
    torch.testing.assert_close(divergence(target, other), expected)
    assert divergence(target, target + 5).item() == pytest.approx(0, abs=1e-6)


def test_faithfulness_is_the_squared_remainder_a_parameter(saved):
    made = decomposed(saved("llama_simple_mlp"))
    total = count = 0
    for name, parts in made.components.items():
        W = made.model.net.get_submodule(name).weight.detach().double().numpy()
        V, U = (factor.detach().double().numpy() for factor in (parts.V, parts.U))
        for o, i in np.ndindex(W.shape):
            total += (W[o, i] - sum(V[i, c] * U[c, o] for c in range(N))) ** 2
            count += 1
    assert faithfulness(made).item() == pytest.approx(total / count, rel=1e-5)


def test_perfect_components_are_faithful(saved):
    model = decomposed(saved("llama_simple_mlp")).model
    name = "h.0.attn.k_proj"
    W = model.net.get_submodule(name).weight.detach()
    whole = Components(V=W.T.clone(), U=torch.eye(W.shape[0]))
    assert faithfulness(Decomposition.of(model, {name: whole})).item() < 1e-12


@pytest.mark.parametrize(("p", "beta"), [(2.0, 0.0), (1.0, 0.2), (0.4, 0.5)])
def test_minimality_is_its_formula_in_loops(p, beta):
    raw = {name: 2 * torch.randn(2, 3, 4, generator=seeded(i)) for i, name in enumerate("ab")}
    expected = 0.0
    for values in raw.values():
        for c in range(4):
            powers = []
            for b, t in np.ndindex(2, 3):
                x = values[b, t, c].item()
                h = 0 if x < 0 else x if x <= 1 else 1 + 0.01 * (x - 1)
                powers.append((h + 1e-12) ** p)
            s = sum(powers) / 6
            expected += s + beta * s * math.log2(1 + sum(powers))
    assert minimality(raw, p, beta).item() == pytest.approx(expected, rel=1e-5)


def test_minimality_counts_components_where_p_is_small_and_spares_rare_ones():
    weak, strong = (torch.full((1, 8, 1), value) for value in (0.05, 0.9))
    assert minimality({"a": weak}, 0.01, 0.0) > 0.95 * minimality({"a": strong}, 0.01, 0.0)
    assert minimality({"a": weak}, 2.0, 0.0) < 0.01 * minimality({"a": strong}, 2.0, 0.0)
    rare = torch.zeros(1, 8, 8)
    rare[0, range(8), range(8)] = 1.0
    common = torch.zeros(1, 8, 8)
    common[..., 0] = 1.0
    assert minimality({"a": rare}, 1.0, 0.0) == minimality({"a": common}, 1.0, 0.0)
    assert minimality({"a": rare}, 1.0, 0.2) < minimality({"a": common}, 1.0, 0.2)


def test_routes_have_every_size_and_every_layer_equally_often():
    n = 40_000
    routes = random_routes(NAMES, (200, 200), seeded())
    assert list(routes) == NAMES
    every = torch.stack(list(routes.values())).flatten(1)
    sizes = torch.bincount(every.sum(0), minlength=5)
    assert sizes[0] == 0
    spread = 4 * math.sqrt(n * 0.25 * 0.75)
    assert (sizes[1:] - n / 4).abs().max() < spread
    # a layer is in a subset of size k of n with probability k / n
    expected = n * np.mean([k / 4 for k in (1, 2, 3, 4)])
    assert (every.sum(1) - expected).abs().max() < spread
    alone = every[:, every.sum(0) == 1].sum(1)
    assert (alone - alone.sum() / 4).abs().max() < 4 * math.sqrt(n / 4 * 0.25 * 0.75)
    again = random_routes(NAMES, (200, 200), seeded())
    assert all(torch.equal(again[name], routes[name]) for name in NAMES)
    other = random_routes(NAMES, (200, 200), seeded(1))
    assert not torch.equal(other["a"], routes["a"])


def test_drawn_masks_lie_between_importance_and_1_and_follow_the_generator():
    importances = {name: torch.rand(4, 50, 30, generator=seeded(i)) for i, name in enumerate("ba")}
    importances["a"][..., :3] = 1.0
    importances["a"][..., 3:6] = 0.0
    masks = drawn_masks(importances, seeded(7))
    for name, g in importances.items():
        m, delta = masks[name].components, masks[name].delta
        assert bool((m >= g).all())
        assert m.max() <= 1
        assert delta.shape == (4, 50)
        assert 0 <= delta.min() < 0.1
        assert 0.9 < delta.max() <= 1
        # the source is uniform, so that masks are half way up on average
        room = (m - g)[g < 0.99] / (1 - g)[g < 0.99]
        assert room.mean().item() == pytest.approx(0.5, abs=0.02)
        assert room.std().item() == pytest.approx(12**-0.5, abs=0.02)
        assert masks[name].routed is None
    assert bool((masks["a"].components[..., :3] == 1).all())
    again, other = drawn_masks(importances, seeded(7)), drawn_masks(importances, seeded(8))
    backwards = drawn_masks(dict(reversed(importances.items())), seeded(7))
    for name in importances:
        assert torch.equal(again[name].components, masks[name].components)
        assert torch.equal(again[name].delta, masks[name].delta)
        assert torch.equal(backwards[name].components, masks[name].components)
        assert not torch.equal(other[name].components, masks[name].components)
    routes = random_routes(["a", "b"], (4, 50), seeded())
    routed = drawn_masks(importances, seeded(7), routes)
    assert torch.equal(routed["a"].components, masks["a"].components)
    assert torch.equal(routed["b"].routed, routes["b"])


def test_a_mask_between_is_linear_in_its_source():
    g = torch.tensor([[[0.0, 0.25, 1.0]]])
    for r in (0.0, 0.5, 1.0):
        m = between(g, torch.full((3,), r), torch.tensor(r)).components
        assert m.flatten().tolist() == [r, 0.25 + 0.75 * r, 1.0]


@pytest.mark.parametrize("shared", [True, False])
def test_sources_are_one_a_component_or_one_a_token(shared):
    importances = {"a": torch.rand(2, 5, 3, generator=seeded())}
    sources = Sources.drawn(importances, seeded(1), shared=shared)
    assert sources.components["a"].shape == ((3,) if shared else (2, 5, 3))
    assert sources.deltas["a"].shape == (() if shared else (2, 5))
    mask = sources.masks(importances)["a"]
    assert mask.components.shape == (2, 5, 3)
    moved = sources.leaves().moved([torch.ones_like(t) for t in sources.tensors], 0.3)
    for before, after in zip(sources.tensors, moved.tensors, strict=True):
        torch.testing.assert_close(after, (before + 0.3).clamp(max=1))


@pytest.mark.parametrize("shared", [True, False])
def test_the_worst_sources_are_the_worst_seen_and_worse_than_random_ones(saved, shared):
    made = decomposed(saved("llama_simple_mlp"))
    found = {
        name: 0.3 * torch.rand(*IDS.shape, N, generator=seeded(i))
        for i, name in enumerate(made.components)
    }
    start = Sources.drawn(found, seeded(2), shared=shared)
    sources, losses = worst(made, IDS, start, lambda s: s.masks(found), Ascent(8, 0.1))
    assert len(losses) == 9

    @torch.no_grad()
    def harm(each: Sources) -> float:
        return divergence(logits(made, IDS, {}), logits(made, IDS, each.masks(found))).item()

    assert harm(start) == pytest.approx(losses[0], rel=1e-4)
    assert harm(sources) == pytest.approx(max(losses), rel=1e-4)
    others = [harm(Sources.drawn(found, seeded(10 + i), shared=shared)) for i in range(10)]
    assert max(losses) > 1.2 * max(others)
    for each in sources.tensors:
        assert not each.requires_grad
        assert 0 <= each.min() <= each.max() <= 1


def test_an_adversary_without_room_does_nothing(saved):
    """Importances of 1, and remainders that are nothing: every mask is the target."""
    made = decomposed(saved("llama_simple_mlp"))
    whole = {}
    for name, parts in made.components.items():
        W = made.model.net.get_submodule(name).weight.detach()
        whole[name] = Components(V=W.T.clone(), U=torch.eye(parts.U.shape[1]))
    perfect = Decomposition.of(made.model, whole)
    found = {name: torch.ones(*IDS.shape, parts.n) for name, parts in perfect.components.items()}
    start = Sources.drawn(found, seeded(), shared=True)
    _, losses = worst(perfect, IDS, start, lambda s: s.masks(found), Ascent(2, 0.5))
    assert max(losses) < 1e-6
