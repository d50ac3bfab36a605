"""Differences of predictions are those of the distributions, however they are computed."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical, kl_divergence

from analysis.interventions.passes import predictions
from analysis.interventions.passes.predictions import Metrics
from analysis.models.load import load_model, unembed
from tests.models.architectures import VOCAB


@pytest.fixture(params=["llama", "gemma2", "biased"])
def predicting(request, saved):
    """With tied weights, with a soft cap, and with a bias."""
    name = "llama" if request.param == "biased" else request.param
    model = deepcopy(load_model(str(saved(name))))
    if request.param == "biased":
        model.unembedding.bias = nn.Parameter(torch.randn(VOCAB))
    return model


@pytest.mark.parametrize("at_once", [7, 300, 2**22])
@pytest.mark.parametrize("metrics", Metrics)
@torch.no_grad()
def test_differences_are_those_of_the_distributions(predicting, metrics, at_once, monkeypatch):
    monkeypatch.setattr(predictions, "LOGIT_ELEMENTS", at_once)
    monkeypatch.setattr(predictions, "BLOCK_ELEMENTS", at_once)
    monkeypatch.setattr(predictions, "_MIN_TOKENS", 13)
    monkeypatch.setattr(predictions, "_MIN_POSITIONS", 1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 11, 32, generator=generator)
    following = torch.randint(VOCAB, (11,), generator=generator)
    base = predictions.predictions(predicting, hidden[0], following)
    found = predictions.differences(predicting, base, hidden, metrics)
    logits = unembed(predicting, hidden)
    p, q = Categorical(logits=logits[0]), Categorical(logits=logits)
    middle = Categorical(probs=(p.probs + q.probs) / 2)
    top1 = logits[0].argmax(-1)
    expected = {
        "kl_base_ablated": kl_divergence(p, q),
        "kl_ablated_base": kl_divergence(q, p),
        "js": (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2,
        "top1_changed": (logits.argmax(-1) != top1).float(),
        "loss_change": p.log_prob(following) - q.log_prob(following),
        "logit_change": (logits - logits[0])[:, torch.arange(11), top1],
    }
    assert set(found) == set(metrics.value)
    for metric, values in found.items():
        torch.testing.assert_close(values, expected[metric], atol=1e-5, rtol=1e-5)
    assert expected["top1_changed"][1].any()


@torch.no_grad()
def test_js_lies_between_0_and_the_log_of_2(saved):
    llama = load_model(str(saved("llama")))
    hidden = torch.randn(6, 50, 32, generator=torch.Generator().manual_seed(0))
    hidden *= torch.tensor([0, 1e-3, 0.1, 1, 10, 100])[:, None, None]
    for each in hidden:
        base = predictions.predictions(llama, each, torch.zeros(50, dtype=torch.long))
        js = predictions.differences(llama, base, hidden, Metrics.FULL)["js"]
        assert js.min() >= -1e-6
        assert js.max() <= np.log(2) + 1e-6
    assert js.max() > 0.9 * np.log(2), "distributions that share nothing are log 2 apart"


@pytest.mark.parametrize("apart", [1e-3, 0.1, 1.0])
@torch.no_grad()
def test_every_difference_is_exact_to_a_millionth(saved, apart):
    """Against float64 distributions; small ones are no rounding either."""
    llama = load_model(str(saved("llama")))
    hidden, noise = torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(0))
    other = hidden + apart * noise
    base = predictions.predictions(llama, hidden, torch.zeros(40, dtype=torch.long))
    found = predictions.differences(llama, base, other[None], Metrics.FULL)
    p, q = (Categorical(logits=unembed(llama, each).double()) for each in (hidden, other))
    middle = Categorical(probs=(p.probs + q.probs) / 2)
    js = (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2
    expected = {"kl_base_ablated": kl_divergence(p, q), "kl_ablated_base": kl_divergence(q, p)}
    for metric, values in {**expected, "js": js}.items():
        np.testing.assert_allclose(found[metric][0], values, rtol=1e-6, atol=1.2e-6)


@torch.no_grad()
def test_logits_of_the_base_are_made_once_for_all_conditions(saved, monkeypatch):
    llama = load_model(str(saved("llama")))
    hidden = torch.randn(6, 20, 32, generator=torch.Generator().manual_seed(0))
    base = predictions.predictions(llama, hidden[0], torch.zeros(20, dtype=torch.long))
    rows: list[int] = []
    monkeypatch.setattr(
        predictions, "unembed", lambda m, h: (rows.append(len(h)), unembed(m, h))[1]
    )
    predictions.differences(llama, base, hidden[1:], Metrics.FULL)
    assert rows == [20] * 6
