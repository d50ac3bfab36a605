"""Direct effects add up to the logit, and a gradient tells what tiny changes do."""

from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F

from analysis.attention import Site, Taps
from analysis.errors import UserError
from analysis.interventions import (
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    derangement,
    means,
    read_z,
    taps,
)
from analysis.interventions.attribution import estimated_loss_change
from analysis.interventions.direct import direct_effects, frozen, head_contributions
from analysis.interventions.passes.staircase import trace
from analysis.interventions.passes.sweep import Source
from analysis.models.load import hidden_states, load_model
from analysis.statistics.comparisons import spearman
from tests.models.architectures import SUPPORTED, VOCAB

N_SEQUENCES, N_POS = SHAPE = 4, 9
IDS = np.random.default_rng(3).integers(2, VOCAB, SHAPE)
TOKENS = torch.from_numpy(IDS)
N_LAYERS, N_HEADS = 2, 4
NO_SOURCE = Source(means=None, donor_of=None)


def silent(*_args) -> None:
    pass


def doubled(folder):
    """A model in float64; experts cannot have that."""
    model = deepcopy(load_model(str(folder)))
    if not model.card.architecture.startswith("GptOss"):
        model.net.double()
    return model


@pytest.fixture(params=SUPPORTED)
def model(request, saved):
    return doubled(saved(request.param))


def written_by_mlps(model) -> list[torch.Tensor]:
    """What each layer adds to the residual stream beside its heads, from what modules answer."""
    found: list[torch.Tensor] = []

    def keep(_module, _args, output) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    names = ("post_feedforward_layernorm", "fc2", "mlp")
    with ExitStack() as hooks:
        for layer in model.layers:
            last = next(getattr(layer, name) for name in names if hasattr(layer, name))
            hooks.callback(last.register_forward_hook(keep).remove)
        hidden_states(model, TOKENS, Taps())
    return [each.reshape(*SHAPE, -1) for each in found]


def norm_of_attn_out(layer):
    """The norms of Gemma and OLMo between attention and residual stream, by name."""
    return layer.post_attention_layernorm if hasattr(layer, "post_feedforward_layernorm") else None


@torch.no_grad()
def test_contributions_of_all_parts_add_up_to_the_logit(model):
    """Embedding, heads, biases, MLPs and the norm's bias, each by itself."""
    base = trace(model, TOKENS, range(N_LAYERS))
    last: list[torch.Tensor] = []
    hook = model.final_norm.register_forward_pre_hook(lambda _m, args: last.append(args[0]))
    logits = model.unembedding(hidden_states(model, TOKENS, Taps()))
    hook.remove()
    wanted = torch.stack([logits.argmax(-1), TOKENS.roll(-1, 1)])
    directions = model.W_U[wanted]
    readers = frozen(model.final_norm, last[0], directions)
    heads = head_contributions(model, TOKENS)
    assert heads.shape == (2, N_LAYERS, N_SEQUENCES, N_HEADS, N_POS)
    bias = model.final_norm(torch.zeros_like(last[0]))
    total = heads.sum((1, 3)) + (directions * bias).sum(-1)
    for part in [base.resid_pre[0], *written_by_mlps(model)]:
        total += (readers * part).sum(-1)
    for layer, module in enumerate(model.layers):
        norm, b_o = norm_of_attn_out(module), model.b_O(layer)
        read = readers if norm is None else frozen(norm, base.attn_out[layer], readers)
        total += (read * b_o).sum(-1)
        if norm is not None:
            total += (readers * norm(torch.zeros_like(b_o))).sum(-1)
    expected = torch.stack([logits.gather(-1, each[..., None])[..., 0] for each in wanted])
    # An RMSNorm of transformers computes in float32 whatever it is given.
    exact = isinstance(model.final_norm, torch.nn.LayerNorm)
    tolerance = 1e-10 if exact else 2e-5
    torch.testing.assert_close(total, expected, atol=tolerance, rtol=tolerance)
    assert (heads.abs().amax((0, 2, 4)) > 1e-3).all()


def frozen_by_hand(model, base: torch.Tensor):
    """The final norm with the scale that it has on the base, written out."""
    norm, config = model.final_norm, model.net.config
    if isinstance(norm, torch.nn.LayerNorm):
        scale = (base.var(-1, correction=0, keepdim=True) + config.layer_norm_eps).sqrt()
        return lambda x: (x - x.mean(-1, keepdim=True)) / scale * norm.weight + norm.bias
    scale = (base.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt()
    return lambda x: x / scale * norm.weight


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
@torch.no_grad()
def test_where_nothing_reacts_the_direct_effect_is_the_whole(saved, name):
    """Zero a head for good while the last MLP and the final norm's scale stay as they were.

    The MLP of GPT-NeoX runs beside the heads of its layer and cannot react anyway.
    """
    model = doubled(saved(name))
    base: dict[str, torch.Tensor] = {}
    mlp, norm = model.layers[-1].mlp, model.final_norm

    def logits(zeroed: tuple[Head, ...]) -> torch.Tensor:
        one = Intervention(method=Method.ZERO, heads=zeroed, positions=None)
        tapped = taps([one], StandIns(means=None, donors=None), N_SEQUENCES)
        return model.unembedding(hidden_states(model, TOKENS, tapped))

    def hold(_module, _args, output) -> torch.Tensor:
        return base.setdefault("mlp", output)

    def freeze(_module, args, _output) -> torch.Tensor:
        return frozen_by_hand(model, base.setdefault("stream", args[0]))(args[0])

    found = direct_effects(model, IDS, 3, silent)
    with ExitStack() as hooks:
        if name != "gpt_neox":
            hooks.callback(mlp.register_forward_hook(hold).remove)
        hooks.callback(norm.register_forward_hook(freeze).remove)
        before = logits(())
        changes = [logits((Head(1, head),)) - before for head in range(N_HEADS)]
    top1, following = before.argmax(-1), TOKENS[:, 1:]
    for head, change in enumerate(changes):
        of_top1 = change.gather(-1, top1[..., None])[..., 0].mean(1)
        correct = change[:, :-1].gather(-1, following[..., None])[..., 0].mean(1)
        np.testing.assert_allclose(found.top1[1, head], of_top1, atol=1e-6)
        np.testing.assert_allclose(found.correct[1, head], correct, atol=1e-6)
        assert np.abs(found.top1[1, head]).min() > 1e-4


def test_direct_effects_do_not_depend_on_batches(model):
    whole, single = (direct_effects(model, IDS, rows, silent) for rows in (100, 1))
    np.testing.assert_allclose(whole.top1, single.top1, atol=1e-5)
    np.testing.assert_allclose(whole.correct, single.correct, atol=1e-5)


def test_direct_effects_are_refused_where_parts_do_not_add_up(saved):
    loaded = load_model(str(saved("llama")))
    holds = replace(loaded.holds, adds=(1.0, None))
    with pytest.raises(UserError, match="expected a residual stream to which attention adds"):
        direct_effects(replace(loaded, holds=holds), IDS, 4, silent)
    with pytest.raises(UserError, match="expected at least 2 tokens"):
        direct_effects(loaded, IDS[:, :1], 4, silent)


def losses(model, change) -> np.ndarray:
    """Every sequence's mean next-token loss with z changed."""
    with torch.no_grad():
        logits = model.net(TOKENS, use_cache=False, taps=Taps(edits={Site.Z: change})).logits
    each = F.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten(), reduction="none")
    return each.unflatten(0, (N_SEQUENCES, -1)).mean(1).numpy()


def stand_in(model, method: Method) -> tuple[Source, torch.Tensor]:
    """A source, and what replaces z (layer, row, head, pos, d_head), put together here."""
    donor_of = derangement(N_SEQUENCES, 1)
    average = means(model, IDS, Pooling.PER_POSITION)
    source = Source(means=average, donor_of=donor_of)
    z = read_z(model, TOKENS)
    return source, {
        Method.ZERO: torch.zeros_like(z),
        Method.MEAN: average.z.transpose(1, 2)[:, None].expand_as(z).to(z.dtype),
        Method.RESAMPLE: z[:, donor_of],
    }[method]


@pytest.mark.parametrize("method", [Method.ZERO, Method.MEAN, Method.RESAMPLE])
@pytest.mark.parametrize(
    ("name", "epsilon", "tolerance"),
    [("gpt2", 1e-4, 1e-7), ("gpt_neox", 1e-4, 1e-7), ("llama_simple_mlp", 1e-2, 1e-3)],
)
def test_a_step_towards_the_stand_in_costs_what_the_gradient_says(
    saved, name, epsilon, tolerance, method
):
    """Central differences, one head at a time; a float32 RMSNorm needs a longer step."""
    model = doubled(saved(name))
    source, replacement = stand_in(model, method)
    found = estimated_loss_change(model, IDS, method, source, 3, silent)

    def moved(layer: int, head: int, step: float):
        def change(where, z):
            if where.layer != layer:
                return z
            new = z.clone()
            new[:, head] += step * (replacement[layer][:, head] - z[:, head])
            return new

        return losses(model, change)

    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            ahead, behind = (moved(layer, head, step) for step in (epsilon, -epsilon))
            expected = (ahead - behind) / (2 * epsilon)
            np.testing.assert_allclose(found[layer, head], expected, atol=tolerance)
    assert np.abs(found).max() > 1e-2


def test_estimates_do_not_depend_on_batches_nor_leave_gradients(model):
    source, _ = stand_in(model, Method.RESAMPLE)
    whole, single = (
        estimated_loss_change(model, IDS, Method.RESAMPLE, source, rows, silent)
        for rows in (100, 1)
    )
    np.testing.assert_allclose(whole, single, atol=1e-5)
    assert whole.shape == (N_LAYERS, N_HEADS, N_SEQUENCES)
    assert all(parameter.grad is None for parameter in model.net.parameters())


def test_weights_that_need_no_gradient_do_not_matter(saved):
    model = doubled(saved("llama"))
    expected = estimated_loss_change(model, IDS, Method.ZERO, NO_SOURCE, 4, silent)
    model.net.requires_grad_(False)
    found = estimated_loss_change(model, IDS, Method.ZERO, NO_SOURCE, 4, silent)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_what_cannot_be_estimated_is_refused(saved):
    model = load_model(str(saved("llama")))
    with pytest.raises(
        UserError, match=r"expected one of zero, mean, resample .* got uniform; run the"
    ):
        estimated_loss_change(model, IDS, Method.UNIFORM, NO_SOURCE, 4, silent)
    with pytest.raises(UserError, match="expected donors"):
        estimated_loss_change(model, IDS, Method.RESAMPLE, NO_SOURCE, 4, silent)
    with pytest.raises(UserError, match="expected at least 2 tokens"):
        estimated_loss_change(model, IDS[:, :1], Method.ZERO, NO_SOURCE, 4, silent)


@given(seed=st.integers(0, 2**32 - 1), n_values=st.integers(2, 30))
def test_a_rank_correlation_is_that_of_scipy(seed, n_values):
    """With ties, for there are few values."""
    a, b = np.random.default_rng(seed).integers(0, n_values, (2, 20)).astype(float)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(spearman(a, np.zeros(20)))
