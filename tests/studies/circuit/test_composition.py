"""Composition of weights: the formula with whole matrices, and a circuit that is known."""

from copy import deepcopy

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from analysis.attention import Site
from analysis.models.load import load_model
from analysis.models.projections import norm_gain, surroundings
from analysis.studies.circuit.composition import KINDS, Composition, compositions, factors
from analysis.tables import left_out
from tests.models.architectures import SUPPORTED

from .circuit_model import COPIER, PREVIOUS, circuit_model


def silent(*_args) -> None:
    pass


def by_hand(model, sender: int, receiver: int, site: Site, norms: tuple[str, str]) -> float:
    """Heads `sender` of layer 0 and `receiver` of layer 1 of a LLaMA, as d_model x d_model."""
    w = {key: value.double() for key, value in model.net.state_dict().items()}

    def part(layer: int, name: str, head: int) -> torch.Tensor:
        """(d_model, d_head), of a query head."""
        shared = head if name == "q" else head // 2
        rows = w[f"model.layers.{layer}.self_attn.{name}_proj.weight"][shared * 8 : shared * 8 + 8]
        return (rows * w[norms[layer]]).T

    def ov(layer: int, head: int) -> torch.Tensor:
        out = w[f"model.layers.{layer}.self_attn.o_proj.weight"][:, head * 8 : head * 8 + 8]
        return part(layer, "v", head) @ out.T

    qk = part(1, "q", receiver) @ part(1, "k", receiver).T
    reads = {Site.Q: qk, Site.K: qk.T, Site.V: ov(1, receiver)}[site]
    written = ov(0, sender)
    return float((written @ reads).norm() / (written.norm() * reads.norm()))


@pytest.mark.parametrize("site", [Site.Q, Site.K, Site.V])
def test_small_factors_give_the_formula_with_whole_matrices(site, saved):
    model = deepcopy(load_model(str(saved("llama"))))
    norms = tuple(f"model.layers.{layer}.input_layernorm.weight" for layer in range(2))
    torch.manual_seed(5)
    with torch.no_grad():
        for name in norms:
            model.net.get_parameter(name).uniform_(0.3, 2.0)
    found = compositions(factors(model, 0), factors(model, 1), site)
    for sender, receiver in ((0, 0), (1, 3), (3, 2)):
        expected = by_hand(model, sender, receiver, site, norms)
        assert found[sender, receiver].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2"])
def test_the_gain_behind_attention_is_part_of_what_a_head_writes(name, saved):
    """Whether the norm multiplies by it or W_O does is the same."""
    model = deepcopy(load_model(str(saved(name))))
    norm = surroundings(model, 0).after
    gain = torch.rand(32, generator=torch.Generator().manual_seed(3)) + 0.3
    with torch.no_grad():
        ones = norm_gain(norm, gain, 1.0)[0]
        norm.weight += gain - ones
        behind = compositions(factors(model, 0), factors(model, 1), Site.K)
        norm.weight -= gain - ones
        plain = compositions(factors(model, 0), factors(model, 1), Site.K)
        model.attentions[0].o_proj.weight *= gain[:, None]
        inside = compositions(factors(model, 0), factors(model, 1), Site.K)
    torch.testing.assert_close(behind, inside, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, inside, atol=1e-2)


def test_what_the_norm_behind_attention_removes_is_composed_with_nobody(saved):
    model = deepcopy(load_model(str(saved("olmo2"))))
    with torch.no_grad():
        surroundings(model, 0).after.weight[:16] = 0
        model.attentions[1].k_proj.weight[:, 16:] = 0
    assert compositions(factors(model, 0), factors(model, 1), Site.K).max() == 0
    assert compositions(factors(model, 0), factors(model, 1), Site.Q).min() > 0


def test_heads_without_weights_are_absent_and_change_no_other_pair(saved, tmp_path):
    whole = load_model(str(saved("llama")))
    pruned = deepcopy(whole)
    with torch.no_grad():
        pruned.attentions[0].o_proj.weight[:, 8:16] = 0
        pruned.attentions[1].q_proj.weight[16:24] = 0
    pruned.net.save_pretrained(tmp_path)
    found = Composition(model=str(tmp_path), seed=0).run(silent)
    before = Composition(model=str(saved("llama")), seed=0).run(silent)["head_pairs"]
    lost = ((pl.col("from_head") == 1) & (pl.col("kind") == "v_composition")) | (
        ((pl.col("from_head") == 1) | (pl.col("to_head") == 2))
        & (pl.col("kind") != "v_composition")
    )
    ends = ["kind", "from_layer", "from_head", "to_layer", "to_head", "value"]
    assert_frame_equal(found["head_pairs"].select(ends), before.filter(~lost).select(ends))
    for (_,), kind in found["head_pairs"].group_by("kind"):
        assert sorted(kind["rank"]) == list(range(1, kind.height + 1))
        assert (kind["n"] == kind.height).all()
    reasons = dict(found["absences"].select("score", "reason").iter_rows())
    assert reasons == {
        kind: f"{n} of 16 pairs hold a head whose weights are 0: 0 / 0; L0H1 writes nothing"
        for kind, n in (("q_composition", 7), ("k_composition", 7), ("v_composition", 4))
    }
    assert "7 of 16" in left_out(found)
    assert left_out({"head_pairs": before}) == ""


@pytest.mark.parametrize("name", SUPPORTED)
def test_every_pair_has_a_row_of_every_kind(name, saved):
    pairs = Composition(model=str(saved(name)), seed=0).run(silent)["head_pairs"]
    assert set(pairs["kind"]) == set(KINDS.values())
    assert pairs.height == 3 * 16
    assert pairs.filter((pl.col("from_layer") != 0) | (pl.col("to_layer") != 1)).is_empty()
    assert pairs["value"].is_between(0, 1).all()
    for (_,), kind in pairs.group_by("kind"):
        z = kind["z"].to_numpy()
        assert z.mean() == pytest.approx(0, abs=1e-9)
        assert z.std() == pytest.approx(1)
        assert sorted(kind["rank"]) == list(range(1, 17))
        assert kind.sort("rank")["value"].is_sorted(descending=True)
        assert (kind["n"] == 16).all()


def test_composition_does_not_depend_on_the_size_of_weights(saved):
    model = deepcopy(load_model(str(saved("llama"))))
    before = compositions(factors(model, 0), factors(model, 1), Site.K)
    with torch.no_grad():
        model.attentions[0].o_proj.weight *= 4
        model.attentions[1].q_proj.weight *= 0.25
    after = compositions(factors(model, 0), factors(model, 1), Site.K)
    np.testing.assert_allclose(after.numpy(), before.numpy(), rtol=1e-9)


def test_the_built_circuit_composes_through_keys(tmp_path):
    pairs = Composition(model=circuit_model(tmp_path), seed=0).run(silent)["head_pairs"]
    ends = {
        "from_layer": PREVIOUS[0],
        "from_head": PREVIOUS[1],
        "to_layer": COPIER[0],
        "to_head": COPIER[1],
    }
    by_kind = {row["kind"]: row for row in pairs.filter(**ends).iter_rows(named=True)}
    assert by_kind["k_composition"]["rank"] == 1
    assert by_kind["k_composition"]["z"] > 2
    assert by_kind["q_composition"]["rank"] > 1
    assert by_kind["v_composition"]["rank"] > 1
