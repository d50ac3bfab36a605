"""Masks that are chosen to do harm."""

import numpy as np
import pytest
import torch

from analysis.components import ablation
from analysis.components.ablation import Mode
from analysis.components.adversary import Ascent, Sources, worst
from analysis.components.decomposed import logits

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
            apart = (mask.components - theirs.draws[0][name].components).abs() > 1e-3
            assert apart.double().mean() < 0.02
    assert both[0].trajectory[0] != pytest.approx(both[1].trajectory[0], rel=2e-4)
