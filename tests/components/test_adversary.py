"""Masks that are chosen to do harm."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.components import ablation
from analysis.components.ablation import Ablation, Mode, worst_arms
from analysis.components.adversary import MOST_PADDING, Ascent, Sources, batches, worst
from analysis.components.decomposed import Cut, logits
from analysis.components.stacking import TOKENS_AT_ONCE, stacked_cuts

from .ablated_components import IDS, asked
from .decomposed_models import decomposed


@pytest.fixture
def one(saved):
    return decomposed(saved("llama"))


def test_an_adversary_does_more_harm_step_by_step(one):
    found = asked(one, n_draws=1)
    arms = found.arms(Mode.ADVERSARIAL)
    assert set(arms.trajectories) == {"base", "ablated"}
    for trajectory in arms.trajectories.values():
        assert len(trajectory) == 51
        assert trajectory[-1] > 1.5 * trajectory[0]
        assert np.mean(np.diff(trajectory) > 0) > 0.8
    with torch.no_grad():
        plain = found.arms(Mode.DETERMINISTIC).ablated[0]
        change = logits(one, IDS, arms.ablated[0]) - logits(one, IDS, plain)
    assert change.abs().max() > 1e-2
    for name, mask in arms.ablated[0].items():
        assert not mask.components.requires_grad
        g = found.importances[name]
        assert bool(((g <= mask.components) & (mask.components <= 1)).all())
        assert mask.cuts == found.removed.get(name, ())


def test_an_adversary_keeps_the_worst_that_it_saw(one, monkeypatch):
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=3, step=0.9))
    found = asked(one)
    start = Sources.drawn(found.importances, torch.Generator().manual_seed(0), shared=False)
    sources, losses = worst(one, IDS, start, lambda s: s.masks(found.importances), ablation.ASCENT)
    with torch.no_grad():
        target, reached = one.model.net(IDS).logits, sources.masks(found.importances)
        p, q = (x.log_softmax(-1) for x in (target, logits(one, IDS, reached)))
    assert (p.exp() * (p - q)).sum(-1).mean().item() == pytest.approx(max(losses), rel=1e-4)
    several = asked(one, n_draws=3).arms(Mode.ADVERSARIAL).trajectories
    alone = asked(one, n_draws=1).arms(Mode.ADVERSARIAL).trajectories
    for arm in ("base", "ablated"):
        assert max(several[arm]) >= max(alone[arm])


@torch.no_grad()
def test_an_adversary_without_anything_to_ablate_does_the_same_in_both_arms(one, monkeypatch):
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=3, step=0.1))
    with torch.enable_grad():
        arms = asked(one, parts=[]).arms(Mode.ADVERSARIAL)
    torch.testing.assert_close(
        *(logits(one, IDS, masks) for masks in (*arms.base, *arms.ablated)), rtol=0, atol=0
    )


def apart(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The share of entries [rows, n_pos, ...] that differ by over 1e-3.

    The first token attends to nothing but itself: what its query is changes nothing, so the sign
    of its gradient is rounding's, and the entries are not compared.
    """
    first = 1 if name.endswith("q_proj") else 0
    return (ours - theirs)[:, first:].abs().gt(1e-3).double().mean().item()


def test_searches_side_by_side_are_those_of_each_alone(one, monkeypatch):
    """In two conditions that differ, from two starts; far from signs that rounding would turn."""
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=3, step=0.1))
    found = asked(one, n_draws=2)
    both = found.worst({}, found.removed)
    alone = [found.worst(cut)[0] for cut in ({}, found.removed)]
    for ours, theirs in zip(both, alone, strict=True):
        assert ours.trajectory == pytest.approx(theirs.trajectory, rel=5e-5)
        for name, mask in ours.draws[0].items():
            assert mask.cuts == theirs.draws[0][name].cuts
            assert apart(name, mask.components, theirs.draws[0][name].components) < 0.02
    assert both[0].trajectory[0] != pytest.approx(both[1].trajectory[0], rel=2e-4)


def shorter(found: Ablation, rows: slice, n_pos: int) -> Ablation:
    """The same in the first tokens of some rows."""
    removed = {
        name: tuple(replace(cut, tokens=cut.tokens[rows, :n_pos]) for cut in each)
        for name, each in found.removed.items()
    }
    importances = {name: g[rows, :n_pos] for name, g in found.importances.items()}
    return replace(
        found, tokens=found.tokens[rows, :n_pos], importances=importances, removed=removed
    )


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "llama_simple_mlp_adjacent"])
def test_searches_of_other_lengths_beside_it_change_none(saved, architecture, monkeypatch):
    """Rows are filled up with tokens, importances and sources that nothing depends on."""
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=3, step=0.1))
    found = asked(decomposed(saved(architecture)), n_draws=2)
    within = replace(asked(found.decomposition, [2], n_draws=2), removed={})
    every = [
        shorter(found, slice(0, 1), 9),
        shorter(found, slice(1, 3), 6),
        shorter(within, slice(0, 3), 7),
        shorter(found, slice(0, 3), 9),
    ]
    alone = [worst_arms([each])[0] for each in every]
    for ours, theirs, each in zip(worst_arms(every), alone, every, strict=True):
        assert ours.trajectory[0] == pytest.approx(theirs.trajectory[0], rel=1e-5)
        assert ours.trajectory == pytest.approx(theirs.trajectory, rel=1e-3)
        for name, mask in ours.draws[0].items():
            other = theirs.draws[0][name]
            assert mask.cuts == other.cuts == each.removed.get(name, ())
            assert mask.components.shape == other.components.shape
            assert apart(name, mask.components, other.components) < 0.02
            assert apart(name, mask.delta, other.delta) < 0.05


def test_searches_are_batched_with_few_tokens_to_fill_up():
    shapes = [(1, 99), (1, 19), (2, 98), (1, 31), (1, 113), (40, 60), (1, 41), (1, 18)]
    found = list(batches(shapes))
    assert sorted(i for batch in found for i in batch) == list(range(len(shapes)))
    lengths = [shapes[i][1] for batch in found for i in batch]
    assert lengths == sorted(lengths)
    for batch in found:
        padded = sum(shapes[i][0] for i in batch) * max(shapes[i][1] for i in batch)
        tokens = sum(shapes[i][0] * shapes[i][1] for i in batch)
        assert len(batch) == 1 or padded - tokens <= MOST_PADDING
        assert len(batch) == 1 or padded <= TOKENS_AT_ONCE
    assert [7, 1, 3, 6] in found
    assert [5] in found, "larger than what is computed at once"
    assert list(batches([])) == []


def test_cuts_of_several_searches_are_one_where_they_cut_the_same():
    one, other = torch.eye(4, dtype=torch.bool)[:2, :3], torch.ones(1, 5, dtype=torch.bool)
    rows = torch.tensor([True, False])
    every = [{"a": (Cut(1, one), Cut(2, one, rows))}, {}, {"a": (Cut(1, other),)}]
    found = stacked_cuts(every, [(2, 3), (1, 4), (1, 5)])["a"]
    assert [(cut.component, cut.rows is rows) for cut in found] == [(1, False), (2, True)]
    expected = torch.zeros(4, 5, dtype=torch.bool)
    expected[:2, :3] = one
    assert torch.equal(found[1].tokens, expected)
    expected[3] = True
    assert torch.equal(found[0].tokens, expected)
    twice = stacked_cuts([{"a": (Cut(1, one), Cut(1, one))}], [(2, 3)])["a"]
    assert len(twice) == 2, "as without searches beside it"
