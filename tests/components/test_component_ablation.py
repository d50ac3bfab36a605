"""Ablating components: every mode is computed under its own masks."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.attention import Site
from analysis.components import ablation, stacking
from analysis.components.ablation import (
    Mode,
    Part,
    cuts,
    parse_parts,
    rows_of,
    with_cuts,
)
from analysis.components.adversary import Ascent
from analysis.components.decomposed import logits, masked
from analysis.components.stacking import continued, stacks
from analysis.errors import UserError

from .ablated_components import IDS, LAYER, T, asked, attention, pair, part
from .decomposed_models import N, decomposed

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
GROUPED = ["llama", "qwen2", "llama_simple_mlp_adjacent"]
DRAWN = [Mode.STOCHASTIC, Mode.STOCHASTIC_APART, Mode.STOCHASTIC_CI]


@pytest.fixture(params=GROUPED)
def made(request, saved):
    return decomposed(saved(request.param))


@pytest.fixture
def one(saved):
    return decomposed(saved("llama"))


@contextmanager
def written(made, outputs):
    """Linear layers whose outputs are computed by `outputs[name](layer, x, output)`."""
    with ExitStack() as stack:
        for name, output in outputs.items():
            layer = made.model.net.get_submodule(name)
            hook = layer.register_forward_hook(lambda m, a, out, f=output: f(m, a[0], out))
            stack.callback(hook.remove)
        yield


def by_definition(made, masks, removed):
    """`((x V) * m) U + m_delta x Delta^T + bias`, components cut by a mask of 0."""

    def output(name):
        parts, mask = made.components[name], masks[name]
        m = mask.components.expand(*IDS.shape, parts.n).clone()
        for cut in removed.get(name, ()):
            m[..., cut.component] = torch.where(cut.tokens, 0.0, m[..., cut.component])
        delta = mask.delta.expand(IDS.shape)

        def computed(layer, x, _output):
            Delta = layer.weight - parts.reconstruction()
            y = torch.einsum("bti,ic,btc,co->bto", x, parts.V, m, parts.U)
            y = y + delta[..., None] * (x @ Delta.T)
            return y if layer.bias is None else y + layer.bias

        return computed

    return {name: output(name) for name in masks}


@torch.no_grad()
def test_deterministic_is_the_target_without_what_two_components_write(made):
    query, key = pair(made)

    def without(chosen, at):
        parts = made.components[chosen.layer]

        def output(_layer, x, out):
            rows, out = torch.arange(len(x)), out.clone()
            read = x[rows, at] @ parts.V[:, chosen.component]
            out[rows, at] -= read[:, None] * parts.U[chosen.component]
            return out

        return output

    with written(made, {query.layer: without(query, T), key.layer: without(key, T - 1)}):
        expected = made.model.net(IDS).logits
    arms = asked(made).arms(Mode.DETERMINISTIC)
    assert arms.base == ({},)
    torch.testing.assert_close(logits(made, IDS, arms.ablated[0]), expected, **CLOSE)
    ones = with_cuts(made, made.uniform(1.0, 1.0), asked(made).removed)
    torch.testing.assert_close(logits(made, IDS, ones), expected, **CLOSE)
    assert (expected - made.model.net(IDS).logits).abs().max() > 1e-3


@pytest.mark.parametrize("mode", [Mode.DETERMINISTIC, Mode.STOCHASTIC])
@torch.no_grad()
def test_cut_from_all_heads_it_is_cut_in_full(made, mode):
    full, by_head = (asked(made, heads).arms(mode).ablated for heads in (None, range(4)))
    for one, other in zip(full, by_head, strict=True):
        torch.testing.assert_close(logits(made, IDS, one), logits(made, IDS, other), **CLOSE)
    some = asked(made, [2]).arms(mode).ablated[0]
    assert (logits(made, IDS, full[0]) - logits(made, IDS, some)).abs().max() > 1e-4


@pytest.mark.parametrize(("projection", "head", "moved"), [("q", 2, {2}), ("k", 2, {2, 3})])
@torch.no_grad()
def test_within_a_head_rows_are_those_of_its_queries_or_of_the_keys_it_reads(
    made, projection, head, moved
):
    """4 query heads read 2 key heads; both are cut before they turn with the position."""
    chosen = part(made, f"{projection}_proj", 3)
    ids, last = IDS[:, :4], torch.full((3,), 3)
    patterns = [
        attention(made, ids, with_cuts(made, {}, removed))
        for removed in ({}, cuts(made.model, [chosen], last, 4, [head]))
    ]
    change = (patterns[1] - patterns[0]).abs().amax((0, 3))
    assert change[:LAYER].max() == 0
    assert set(torch.nonzero(change[LAYER] > 1e-5).flatten().tolist()) == moved
    assert change[LAYER][[h for h in range(4) if h not in moved]].max() == 0


def test_rows_of_heads(one):
    card = one.model.card
    for heads in ([0], [1, 3], range(4)):
        by_hand = np.zeros((2, card.n_heads * card.d_head), dtype=bool)
        for h in heads:
            by_hand[0, h * card.d_head : (h + 1) * card.d_head] = True
            by_hand[1, (h // 2) * card.d_head : (h // 2 + 1) * card.d_head] = True
        assert rows_of(heads, Site.Q, card).tolist() == by_hand[0].tolist()
        half = card.n_kv_heads * card.d_head
        assert rows_of(heads, Site.V, card).tolist() == by_hand[1, :half].tolist()


@pytest.mark.parametrize("mode", [Mode.DETERMINISTIC, Mode.STOCHASTIC, Mode.STOCHASTIC_CI])
@torch.no_grad()
def test_earlier_positions_are_untouched(made, mode):
    arms = asked(made).arms(mode)
    for base, ablated in zip(arms.base, arms.ablated, strict=True):
        change = (logits(made, IDS, ablated) - logits(made, IDS, base)).abs().amax(-1)
        for row, t in enumerate(T.tolist()):
            assert change[row, : t - 1].max() < 1e-5
            if mode is not Mode.STOCHASTIC_CI:  # whose mask may be what it was
                assert change[row, t - 1 :].max() > 1e-5


def test_values_are_cut_with_keys_and_outputs_with_queries(one):
    lags = {"q_proj": 0, "k_proj": 1, "v_proj": 1, "o_proj": 0}
    for projection, lag in lags.items():
        chosen = part(one, projection, 0)
        (cut,) = cuts(one.model, [chosen], T, IDS.shape[1], None)[chosen.layer]
        assert [row.nonzero().item() for row in cut.tokens] == (T - lag).tolist()


@pytest.mark.parametrize("mode", DRAWN)
@torch.no_grad()
def test_both_arms_share_draws_except_where_they_must_not(one, mode):
    """Where nothing is cut, the same draws make the same model."""
    arms = asked(one, parts=[]).arms(mode)
    assert len(arms.base) == len(arms.ablated) == 2
    assert (logits(one, IDS, arms.base[0]) - logits(one, IDS, arms.base[1])).abs().max() > 1e-2
    for base, ablated in zip(arms.base, arms.ablated, strict=True):
        for name in base:
            same = torch.equal(base[name].components, ablated[name].components)
            assert same == (mode is not Mode.STOCHASTIC_APART)
            assert torch.equal(base[name].delta, ablated[name].delta) == same


@torch.no_grad()
def test_masks_lie_between_importance_and_1_for_every_token(one):
    found = asked(one)
    arms = found.arms(Mode.STOCHASTIC)
    assert set(arms.base[0]) == set(one.components)
    for name, mask in arms.base[0].items():
        g = found.importances[name]
        assert g.shape == mask.components.shape == (*IDS.shape, N)
        assert mask.delta.shape == IDS.shape
        assert bool((g <= mask.components).all())
        assert mask.components.max() <= 1
        assert mask.components[g == 0].std() > 0.2


@pytest.mark.parametrize("mode", [Mode.STOCHASTIC, Mode.STOCHASTIC_CI, Mode.ADVERSARIAL])
def test_every_mode_is_computed_under_its_own_masks(one, mode, monkeypatch):
    """Logits and patterns of a forward written otherwise, and none of them the target's."""
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=5, step=0.1))
    last = torch.full((3,), IDS.shape[1] - 1)
    removed = cuts(one.model, pair(one), last, IDS.shape[1], None)
    arms = replace(asked(one), removed=removed).arms(mode)
    zeroed = {} if mode is Mode.STOCHASTIC_CI else removed
    for masks, cut in ((arms.base[0], {}), (arms.ablated[0], zeroed)):
        with torch.no_grad():
            with written(one, by_definition(one, masks, cut)):
                expected = one.model.net(IDS).logits, attention(one, IDS, {})
            found = logits(one, IDS, masks), attention(one, IDS, masks)
            target = one.model.net(IDS).logits, attention(one, IDS, {})
        for ours, theirs, plain in zip(found, expected, target, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
            assert (ours - plain).abs().max() > 1e-2


@torch.no_grad()
def test_the_published_mode_makes_components_unimportant_and_not_absent(one):
    query, _ = pair(one)
    arms = {mode: asked(one).arms(mode) for mode in (Mode.STOCHASTIC, Mode.STOCHASTIC_CI)}
    ours, theirs = (found.ablated[0] for found in arms.values())
    base = arms[Mode.STOCHASTIC].base[0]
    mask = theirs[query.layer].components[torch.arange(3), T, query.component]
    assert bool(((mask > 0) & (mask < 1)).all())
    found = asked(one).importances[query.layer][torch.arange(3), T, query.component]
    before = base[query.layer].components[torch.arange(3), T, query.component]
    torch.testing.assert_close(before, found + (1 - found) * mask)
    every = [logits(one, IDS, masks) for masks in (base, ours, theirs)]
    for i, j in ((0, 1), (1, 2)):
        assert (every[i] - every[j]).abs().max() > 1e-5
    with pytest.raises(UserError, match="expected whole components in the published mode"):
        asked(one, [0]).arms(Mode.STOCHASTIC_CI)


@torch.no_grad()
def test_shared_draws_are_less_noisy_than_draws_apart(one):
    errors = {}
    for mode in (Mode.STOCHASTIC, Mode.STOCHASTIC_APART):
        arms = asked(one, n_draws=12).arms(mode)
        change = [
            logits(one, IDS, ablated).softmax(-1) - logits(one, IDS, base).softmax(-1)
            for base, ablated in zip(arms.base, arms.ablated, strict=True)
        ]
        at_t = torch.stack(change)[:, torch.arange(3), T]
        errors[mode] = (at_t.std(0) / len(change) ** 0.5).mean()
    assert errors[Mode.STOCHASTIC] < errors[Mode.STOCHASTIC_APART] / 2


@torch.no_grad()
def test_continued_masks_are_those_of_the_later_positions(one):
    masks = asked(one).arms(Mode.STOCHASTIC).ablated[0]
    x = torch.randn(3, 9, one.model.card.d_model, generator=torch.Generator().manual_seed(0))
    name = pair(one)[0].layer
    layer = one.model.net.get_submodule(name)
    with masked(one, masks):
        whole = layer(x)
    with masked(one, continued(masks, 2, 4)):
        copies = layer(x[:, 2:].repeat(4, 1, 1))
    torch.testing.assert_close(copies, whole[:, 2:].repeat(4, 1, 1))
    uniform = one.uniform(0.5, 0.2)
    assert torch.equal(continued(uniform, 2, 4)[name].components, uniform[name].components)


@pytest.mark.parametrize("mode", DRAWN)
@pytest.mark.parametrize("at_once", [0, 2 * IDS.numel(), 1_000])
@torch.no_grad()
def test_stacked_draws_are_a_pass_each(one, mode, at_once, monkeypatch):
    monkeypatch.setattr(stacking, "TOKENS_AT_ONCE", at_once)
    draws = asked(one, n_draws=3).arms(mode).ablated
    found = [logits(one, ids, masks) for masks, ids in stacks(draws, IDS)]
    assert len(found) == {0: 3, 2 * IDS.numel(): 2, 1_000: 1}[at_once]
    apart = [logits(one, IDS, masks) for masks in draws]
    torch.testing.assert_close(torch.cat(found), torch.cat(apart), **CLOSE)
    assert (apart[0] - apart[1]).abs().max() > 1e-2


def test_components_are_named_as_they_are_printed(one):
    parts = pair(one)
    assert list(parse_parts(",".join(map(str, parts)), one)) == parts
    name = parts[0].layer
    for wrong, message in (
        (name, "write them so"),
        (f"{name}:x", "write them so"),
        (f"{name}:{N}", f"components 0 to {N - 1}"),
        ("h.9.attn.q_proj:0", "no such layer"),
    ):
        with pytest.raises(UserError, match=message):
            parse_parts(wrong, one)
    with pytest.raises(UserError, match="only those of attention"):
        _ = Part("h.0.mlp.c_fc", 0).site
    with pytest.raises(UserError, match="belong to no head"):
        asked(one, [0], [part(one, "o_proj", 0)])
