"""From the second copy: where heads look, and what they add to the next token's logit."""

from copy import deepcopy

import numpy as np
import polars as pl
import pytest
import torch

from analysis.attention import Taps
from analysis.interventions import read_z
from analysis.interventions.direct import direct_logits, head_contributions
from analysis.models.load import hidden_states, load_model
from analysis.scores import induction_score, uniform_pattern
from analysis.studies.circuit.second_copy import (
    PLACES,
    SecondCopy,
    second_copy_shares,
)
from tests.models.zoo.build import build, save

SIZES = {"n_sequences": 12, "block_len": 15, "seed": 1}


def silent(*_args) -> None:
    pass


def test_shares_of_the_second_copy_add_up(saved):
    asked = SecondCopy(model=str(saved("llama_simple_mlp")), **SIZES)
    rows = asked.run(silent)["head_scores"].filter(pl.col("sequence").is_not_null())
    shares = rows.filter(pl.col("score").str.starts_with("second_copy_"))
    totals = shares.group_by("data", "layer", "head", "sequence").agg(pl.col("value").sum())
    np.testing.assert_allclose(totals["value"].to_numpy(), 1, atol=1e-5)
    patterns: list[torch.Tensor] = []
    with torch.no_grad():
        watch = Taps(watch=lambda _where, pattern: patterns.append(pattern))
        model = load_model(asked.model)
        hidden_states(model, torch.from_numpy(asked.repeated.ids).long(), watch)
    target = shares.filter(score="second_copy_target", data="repeated")
    values = target.sort("sequence", "layer", "head")["value"].to_numpy().reshape(12, 2, 4)
    for layer, pattern in enumerate(patterns):
        np.testing.assert_allclose(values[:, layer], induction_score(pattern, 1), atol=1e-6)


def test_places_are_where_they_are_said_to_be():
    """A pattern that looks at one place only, for each of them."""
    length, n_pos = 4, 9
    keys = {
        "target": lambda q: q - length + 1,
        "duplicate": lambda q: q - length,
        "previous": lambda q: q - 1,
        "bos": lambda _q: 0,
        "elsewhere": lambda q: q,
    }
    for i, place in enumerate(PLACES):
        pattern = torch.zeros(1, 1, n_pos, n_pos)
        for query in range(n_pos):
            pattern[..., query, max(0, keys[place](query))] = 1
        shares = second_copy_shares(pattern, 1)[0, 0]
        assert shares.argmax() == i
        assert shares[i] == pytest.approx(1)
    assert second_copy_shares(uniform_pattern(n_pos), 1).sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="L >= 3"):
        second_copy_shares(torch.ones(1, 1, 5, 5), 1)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_direct_logits_are_what_the_head_adds_through_the_frozen_norm(name, saved):
    """In float64, against the final norm written out with its scale held."""
    model = deepcopy(load_model(str(saved(name))))
    torch.manual_seed(3)
    with torch.no_grad():
        model.net.double()
        model.final_norm.get_parameter("weight").uniform_(0.5, 1.5)
    ids = torch.randint(2, 100, (3, 11), generator=torch.Generator().manual_seed(4))
    last: list[torch.Tensor] = []
    hook = model.final_norm.register_forward_pre_hook(lambda _m, args: last.append(args[0]))
    with torch.inference_mode():
        z = read_z(model, ids)
        hook.remove()
        found = direct_logits(model, ids, 5, Taps())
        centred = last[0] - last[0].mean(-1, keepdim=True) if name == "gpt2" else last[0]
        eps = model.net.config.layer_norm_epsilon if name == "gpt2" else 1e-6
        scale = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
        for layer, head in ((0, 1), (1, 3)):
            written = z[layer][:, head] @ model.W_O(layer)[head]
            if name == "gpt2":
                written = written - written.mean(-1, keepdim=True)
            logits = (written / scale * model.final_norm.weight) @ model.W_U.T
            query = torch.arange(6, 10)
            chosen = logits[:, query].gather(2, ids[:, query + 1, None])[..., 0]
            expected = (chosen - logits[:, query].mean(-1)).mean(-1)
            torch.testing.assert_close(found[:, layer, head], expected, atol=1e-6, rtol=1e-6)


SCALED = {"vocab_size": 100, "residual_multiplier": 0.22}


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite"])
def test_direct_logits_are_direct_effects_on_centred_logits(name, saved, tmp_path):
    """Through a norm behind the attention, and where layers scale what they add, too."""
    scaled = name == "granite"
    folder = save(build("granite", SCALED), tmp_path / name) if scaled else saved(name)
    model = deepcopy(load_model(str(folder)))
    ids = torch.randint(2, 90, (3, 11), generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        model.unembedding.weight.sub_(model.unembedding.weight.mean(0))
        found = direct_logits(model, ids, 5, Taps())
        effects = head_contributions(model, ids)[1, ..., 6:10].mean(-1)
    torch.testing.assert_close(found, effects.transpose(0, 1), atol=1e-5, rtol=1e-5)
    assert found.abs().max() > 1e-3


def test_heads_without_a_contribution_have_no_direct_logit(saved, tmp_path):
    folder = save(build("openai-gpt", {"vocab_size": 100}), tmp_path / "post-norm")
    answer = SecondCopy(model=str(folder), **SIZES).run(silent)
    assert "direct_logit" not in set(answer["head_scores"]["score"])
    assert set(answer["absences"]["score"]) == {"direct_logit"}
    normed = SecondCopy(model=str(saved("gemma2")), **SIZES).run(silent)
    assert "direct_logit" in set(normed["head_scores"]["score"])
    assert "absences" not in normed
