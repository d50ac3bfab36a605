"""Tokens drawn once estimate what the whole vocabulary says, and say how well."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.interventions import Draws, Measurement, worth_drawing
from analysis.interventions.effects import DRAWING, EXACT_SHARE, KL_ERROR
from analysis.interventions.passes import drawn, predictions
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.sweep import sweep
from analysis.models.files.card import read_card
from analysis.models.load import load_model, unembed
from tests.models.architectures import VOCAB

from .sweep_cases import ATTENDING, EVERYWHERE, IDS, NO_SOURCE, NONE, SINGLE, silent

N_POSITIONS, N_CONDITIONS, N_SEEDS = 40, 3, 200
SMALL = 0.15
"""Of the change of a hidden state, beside its own size of 1."""


@pytest.fixture
def llama(saved):
    return deepcopy(load_model(str(saved("llama"))))


@pytest.fixture
def compared(llama):
    """A model whose logits spread over some nats, and conditions that change them a little."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        llama.unembedding.weight.normal_(std=0.4, generator=generator)
        hidden = torch.randn(N_POSITIONS, 32, generator=generator)
        noise = torch.randn(N_CONDITIONS, N_POSITIONS, 32, generator=generator)
        following = torch.randint(VOCAB, (N_POSITIONS,), generator=generator)
        base = predictions.predictions(llama, hidden, following)
        yield llama, base, hidden + SMALL * noise


def estimated(compared, n_tokens: int, seed: int) -> dict[str, torch.Tensor]:
    model, base, ablated = compared
    uniform = np.random.default_rng(seed).random((N_POSITIONS, n_tokens))
    return drawn.drawn_differences(model, base, drawn.draw(model, base, uniform), ablated)


def exactly(compared) -> dict[str, torch.Tensor]:
    return predictions.differences(*compared, Metrics.FULL)


def test_tokens_are_drawn_as_often_as_they_are_predicted(compared, monkeypatch):
    """Of evenly spread numbers a token gets its share, to one draw at each end of its interval."""
    monkeypatch.setattr(drawn, "LOGIT_ELEMENTS", 7 * VOCAB)
    model, base, _ = compared
    n = 5_000
    tokens = drawn.draw(model, base, np.tile((np.arange(n) + 0.5) / n, (N_POSITIONS, 1)))
    counts = torch.nn.functional.one_hot(tokens, VOCAB).sum(1)
    share = unembed(model, base.hidden).softmax(-1)
    assert (counts - n * share).abs().max() <= 2


def test_estimates_are_right_on_average_and_as_often_as_their_errors_say(compared):
    expected = exactly(compared)["kl_base_ablated"].mean(1)
    found, errors = [], []
    for seed in range(N_SEEDS):
        one = estimated(compared, 64, seed)
        assert not one[drawn.EXACT].any(), "nothing was estimated, so nothing was tested"
        found.append(one["kl_base_ablated"].mean(1))
        errors.append(one[drawn.VARIANCE].sum(1).sqrt() / N_POSITIONS)
    off, error = torch.stack(found) - expected, torch.stack(errors)
    assert (off.mean(0).abs() < 4 * off.std(0) / N_SEEDS**0.5).all()
    assert ((error.square().mean(0).sqrt() / off.std(0) - 1).abs() < 0.2).all()
    covered = (off.abs() < 1.96 * error).double().mean(0)
    assert (covered > 0.89).all()
    assert (covered < 0.99).all()


def test_four_times_as_many_tokens_halve_the_error(compared):
    few, many = (estimated(compared, n, 0)[drawn.VARIANCE].mean().sqrt() for n in (256, 4_096))
    assert 3.5 < few / many < 4.5


def test_a_small_change_is_no_rounding(compared):
    """The errors of both means cancel: of a change of 1e-3 KL is about 1e-7."""
    model, base, ablated = compared
    near = model, base, base.hidden + (ablated - base.hidden) / 500
    found = estimated(near, 512, 0)["kl_base_ablated"].mean()
    weight = model.W_U.double().T
    p, q = ((h.double() @ weight).log_softmax(-1) for h in (base.hidden, near[2]))
    expected = (p.exp() * (p - q)).sum(-1).mean()
    assert expected < 1e-5
    assert float(found) == pytest.approx(float(expected), rel=0.1)


def test_the_loss_is_off_by_what_kl_is_and_the_logit_by_nothing(compared):
    found, expected = estimated(compared, 64, 0), exactly(compared)
    off = found["kl_base_ablated"] - expected["kl_base_ablated"]
    assert off.abs().max() > 1e-3
    torch.testing.assert_close(
        found["loss_change"] - expected["loss_change"], off, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        found["logit_change"], expected["logit_change"], atol=1e-5, rtol=1e-5
    )


def test_what_falls_on_tokens_that_are_never_drawn_is_compared_exactly(compared, monkeypatch):
    """The control: without the rule the estimate is far off, and its error does not say so."""
    model, base, ablated = compared
    unlikely = unembed(model, base.hidden).argmin(-1)
    lost = ablated.clone()
    lost[0, :9] += 3 * model.W_U[unlikely[:9]]
    destroyed = model, base, lost
    found, expected = estimated(destroyed, 64, 0), exactly(destroyed)
    assert found[drawn.EXACT][0, :9].all()
    assert found[drawn.EXACT].sum() == 9
    assert not found[drawn.VARIANCE][0, :9].any()
    for metric in Metrics.DRAWN.value:
        torch.testing.assert_close(
            found[metric][0, :9], expected[metric][0, :9], atol=1e-4, rtol=1e-4
        )
    monkeypatch.setattr(drawn, "SPREAD", np.inf)
    blind = estimated(destroyed, 64, 0)
    off = (blind["kl_base_ablated"] - expected["kl_base_ablated"])[0, :9].mean()
    error = blind[drawn.VARIANCE][0, :9].sum().sqrt() / 9
    assert off < -1.96 * error
    assert off < -0.2 * expected["kl_base_ablated"][0, :9].mean()


def test_capped_logits_are_compared_exactly(saved):
    model = load_model(str(saved("gemma2")))
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, N_POSITIONS, 32, generator=generator)
    with torch.no_grad():
        following = torch.zeros(N_POSITIONS, dtype=torch.long)
        base = predictions.predictions(model, hidden[0], following)
        compared = model, base, hidden
        found, expected = estimated(compared, 8, 0), exactly(compared)
    assert found[drawn.EXACT].all()
    for metric in Metrics.DRAWN.value:
        torch.testing.assert_close(found[metric], expected[metric], atol=1e-5, rtol=1e-5)


def asked(draws: Draws | None, max_rows: int) -> Measurement:
    return Measurement(
        scopes={"all": EVERYWHERE}, metrics=Metrics.DRAWN, max_rows=max_rows, draws=draws
    )


def test_a_sweep_draws_the_same_whatever_is_computed_together(llama):
    conditions = [NONE, *SINGLE, *ATTENDING]
    sizes = (1, 5, 1_000)
    every = [
        sweep(llama, IDS, conditions, NO_SOURCE, asked(Draws(32, 7), n), silent) for n in sizes
    ]
    for other in every[1:]:
        for name in ("values", "drawing"):
            for metric, values in getattr(every[0], name).items():
                np.testing.assert_allclose(getattr(other, name)[metric], values, atol=1e-5)
    found = every[0]
    assert set(found.values) == set(Metrics.DRAWN.value)
    assert set(found.drawing) == set(DRAWING)
    assert not found.values["kl_base_ablated"][0, 0].any()
    assert (found.drawing[EXACT_SHARE][0, 0] == 1).all()
    assert not found.drawing[KL_ERROR][0, 0].any()
    expected = sweep(llama, IDS, conditions, NO_SOURCE, asked(None, 5), silent)
    assert not expected.drawing
    off = found.values["kl_base_ablated"] - expected.values["kl_base_ablated"]
    assert np.nanmax(np.abs(off) / (found.drawing[KL_ERROR] + 1e-6)) < 6
    assert np.nanmax(np.abs(off[1:])) > 0


def test_of_no_condition_nothing_is_drawn(llama):
    found = sweep(llama, IDS, [], NO_SOURCE, asked(Draws(2, 0), 5), silent)
    assert {values.shape[0] for values in (found.values | found.drawing).values()} == {0}


def test_only_what_draws_tell_can_be_asked_of_them():
    with pytest.raises(ValueError, match=r"expected Metrics\.DRAWN"):
        Measurement(scopes={}, metrics=Metrics.FULL, max_rows=1, draws=Draws(2, 0))
    with pytest.raises(ValueError, match="at least 2 tokens, got 1"):
        Draws(1, 0)


@pytest.mark.parametrize(
    ("vocab", "n_layers", "d_model", "worth"),
    [
        (49_152, 30, 576, True),
        (50_257, 12, 768, True),
        (50_257, 48, 1_600, False),
        (3_072, 4, 256, False),
    ],
)
def test_a_large_vocabulary_on_a_small_body_is_worth_drawing_from(vocab, n_layers, d_model, worth):
    card = replace(read_card("reference"), vocab=vocab, n_layers=n_layers, d_model=d_model)
    assert worth_drawing(card, 256) is worth
    assert not worth_drawing(card, 0)
