"""Paths into one input of one head: nothing else sees the change, and a known path is found."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from analysis.attention import Site, Taps
from analysis.errors import UserError
from analysis.interventions import StandIns, read_z, taps
from analysis.models.load import hidden_states, load_model
from analysis.scores import induction_score
from analysis.studies.circuit.passes import check_adds, put_heads
from analysis.studies.circuit.path_patching import Patched, PathPatching

from .circuit_model import circuit_model


def silent(*_args) -> None:
    pass


def question(model: str, **changes) -> PathPatching:
    asked = PathPatching(
        model=model,
        previous="L0H0",
        copiers=("L1H0",),
        n_sequences=6,
        block_len=15,
        seed=1,
    )
    return replace(asked, **changes)


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The answer on a model whose circuit is built by hand."""
    return question(circuit_model(tmp_path_factory.mktemp("built"))).run(silent)


def change(answer, condition: str) -> float:
    rows = answer["head_effects"].filter(pl.col("sequence").is_null(), condition=condition)
    return rows["value"].item()


@pytest.mark.parametrize("method", ["zero", "resample"])
def test_the_known_circuit_runs_through_keys(known, method):
    assert change(known, f"path {method} L0H0 -> L1H0.k") < -0.5
    assert abs(change(known, f"path {method} L0H0 -> L1H0.q")) < 0.02
    for other in ("L0H1", "L0H2", "L0H3"):
        for into in ("k", "q", "qkv"):
            assert abs(change(known, f"path {method} {other} -> L1H0.{into}")) < 0.02
    assert abs(change(known, f"path {method} L0H0 -> L1H0.k, shuffled")) < 0.1


def test_the_known_path_costs_the_second_copy_only(known):
    means = known["ablation_means"].filter(metric="loss_change")
    rows = {(row["condition"], row["scope"]): row["value"] for row in means.iter_rows(named=True)}
    assert rows["path resample L0H0 -> L1H0.k", "second copy"] > 0.5
    assert abs(rows["path resample L0H0 -> L1H0.v", "second copy"]) < 0.1
    assert abs(rows["path resample L0H1 -> L1H0.k", "second copy"]) < 0.1
    alone = rows["path resample L0H0 -> L1H0.k", "second copy"]
    assert abs(rows["path resample L0H0 -> L1H0.k", "first copy"]) < alone / 2


def test_every_path_says_what_it_replaces_for_whom(known):
    row = known["ablations"].filter(condition="path zero L0H2 -> L1H0.q").row(0, named=True)
    assert (row["heads"], row["receiver"], row["site"]) == ("L0H2", "L1H0.q", "q")
    assert (row["method"], row["family"], row["size"]) == ("zero", "layer_matched", 1)
    names = known["ablations"]["condition"]
    assert names.n_unique() == len(names)
    measured = set(known["head_effects"]["condition"]) | set(known["ablation_means"]["condition"])
    assert measured == set(names)
    assert (
        known["head_effects"]
        .filter(pl.col("condition").str.contains(".v", literal=True))
        .is_empty()
    )


def seen(model, tokens, taps: Taps, added: torch.Tensor | None):
    """q, k, v and patterns of layer 1, and hidden states, when its attention reads more."""
    found: dict[Site, torch.Tensor] = {}
    patterns: list[torch.Tensor] = []

    def keep(site):
        def edit(where, tensor):
            tensor = taps.edit(site, where, tensor)
            if where.layer == 1:
                found[site] = tensor
            return tensor

        return edit

    with ExitStack() as hooks, torch.no_grad():
        if added is not None:
            norm = model.layers[1].input_layernorm
            hook = norm.register_forward_pre_hook(lambda _m, args: (args[0] + added,))
            hooks.callback(hook.remove)
        edits = {**taps.edits, **{site: keep(site) for site in (Site.Q, Site.K, Site.V)}}
        watch = Taps(edits=edits, watch=lambda where, p: patterns.append(p))
        hidden = hidden_states(model, tokens, watch)
    return found, patterns[1], hidden


@pytest.mark.parametrize("into", ["k", "q", "v", "qkv"])
@pytest.mark.parametrize("method", ["zero", "resample"])
@pytest.mark.parametrize("through", [False, True])
def test_one_input_of_one_head_sees_the_change(saved, into, method, through):
    """Against whole passes in which a hook changes what the layer's attention reads.

    Through all between, that is what it reads with the sender replaced: the MLP sees it, too.
    """
    asked = question(str(saved("llama")), previous="L0H1", copiers=("L1H2",), block_len=9)
    paths = [*asked.paths(control=False)]
    told = ", through all between" if through else ""
    name = f"path {method} L0H1 -> L1H2.{into}{told}"
    (path,) = [path for path in paths if path.name == name]
    model = load_model(asked.model)
    ids = torch.from_numpy(asked.repeated.ids).long()
    donor_of = torch.tensor([1, 2, 3, 4, 5, 0])
    z, donors = read_z(model, ids), read_z(model, ids[donor_of])
    new = donors[0][:, 1] if method == "resample" else 0
    added = (new - z[0][:, 1]) @ model.W_O(0)[1]
    base, base_pattern, _ = seen(model, ids, Taps(), None)
    stand_ins = StandIns(means=None, donors=donors)
    replaced = taps(path.condition().interventions, stand_ins, 6) if through else Taps()
    changed, _, _ = seen(model, ids, replaced, None if through else added)

    sites = {"k": [Site.K], "q": [Site.Q], "v": [Site.V], "qkv": [Site.Q, Site.K, Site.V]}[into]
    edits = put_heads(1, [2], {site: changed[site] for site in sites})
    kept, pattern, hidden = seen(model, ids, edits, None)
    for site in (Site.Q, Site.K, Site.V):
        others = [0, 1, 3] if site in sites else [0, 1, 2, 3]
        assert torch.equal(kept[site][:, others], base[site][:, others])

    with torch.inference_mode():
        patched = Patched(asked.start(model, asked.repeated, slice(0, 6)), stand_ins)
        if into != "v":
            expected = (induction_score(pattern, 1) - induction_score(base_pattern, 1))[:, 2]
            found = patched.score_change(path)
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
            assert np.abs(found).max() > 1e-4
        losses = patched.loss_change(path)
    with torch.no_grad():
        before = hidden_states(model, ids, Taps())
        rows = [
            torch.nn.functional.cross_entropy(
                model.unembedding(h[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none"
            )
            for h in (before, hidden)
        ]
    np.testing.assert_allclose(losses, (rows[1] - rows[0]).numpy(), atol=1e-4)
    assert np.abs(losses).max() > 1e-3


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "olmo2"])
def test_norms_after_attention_leave_no_contribution(saved, name):
    answer = question(str(saved(name))).run(silent)
    assert set(answer) == {"absences"}
    assert "norms it first" in answer["absences"]["reason"].item()
    with pytest.raises(UserError, match="expected layers that add what attention writes"):
        check_adds(load_model(str(saved(name))))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "phi3", "opt", "gpt_oss", "qwen3"])
def test_paths_exist_in_every_pre_norm_architecture(saved, name):
    answer = question(str(saved(name)), n_sequences=3, block_len=5).run(silent)
    values = answer["head_effects"]["value"]
    assert values.is_finite().all()
    assert values.abs().max() > 0


def test_the_receiver_lies_above_the_sender(saved):
    with pytest.raises(UserError, match="expected induction heads in layers above L1H0, got L1H2"):
        _ = question(str(saved("llama")), previous="L1H0", copiers=("L1H2",)).heads
