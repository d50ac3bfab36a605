"""Composition of weights: the formula with whole matrices, and a circuit that is known."""

from copy import deepcopy

import numpy as np
import polars as pl
import pytest
import torch

from analysis.attention import Site
from analysis.models.load import load_model
from analysis.studies.circuit.composition import KINDS, Composition, compositions, factors
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
