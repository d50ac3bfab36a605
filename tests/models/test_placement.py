"""A model that does not fit on its device gives the same numbers, its weights on disk."""

import pytest
import torch
from polars.testing import assert_frame_equal

from analysis.models import load, placement
from analysis.models.load import load_model
from analysis.models.projections import projections
from analysis.overview.findings import findings
from book.computing import Plan
from store.schema import schema

from .architectures import SUPPORTED
from .test_precision import IDS


@pytest.fixture
def little_room(monkeypatch):
    monkeypatch.setattr(placement, "room", lambda: {"cpu": 1})
    load._load.cache_clear()
    yield
    load._load.cache_clear()


@pytest.mark.parametrize("name", SUPPORTED)
def test_logits_and_weights_are_the_same(saved, little_room, name):
    here, apart = (load_model(str(saved(name)), device) for device in ("cpu", "auto"))
    away = [weight for weight in apart.net.parameters() if weight.is_meta]
    assert away, "everything fits: nothing is tested"
    assert not any(weight.is_meta for weight in here.net.parameters())
    assert apart.device == torch.device("cpu")
    with torch.no_grad():
        assert torch.equal(apart.net(IDS).logits, here.net(IDS).logits)
    for layer in range(here.card.n_layers):
        assert torch.equal(apart.W_O(layer), here.W_O(layer))
        assert torch.equal(apart.b_O(layer), here.b_O(layer))
        for site, ours in projections(here, layer).items():
            assert torch.equal(projections(apart, layer)[site].W, ours.W)
    assert [weight for weight in apart.net.parameters() if weight.is_meta]


def test_every_answer_is_the_same(saved, worded, tmp_path, little_room):
    path = tmp_path / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 60)
    asked = {"model": str(worded), "text": str(path), "profile": "tiny"}
    plans = [Plan.of(tmp_path / d, {**asked, "device": d}) for d in ("cpu", "auto")]
    for plan in plans:
        findings(plan.asked, plan.store.recall)
    here, apart = (plan.store for plan in plans)
    assert here.runs() == apart.runs(), "where weights lie is no part of a question"
    for table in set(schema().tables) - {"runs"}:
        query = f"FROM {table} ORDER BY ALL"
        assert_frame_equal(here.sql(query), apart.sql(query), rel_tol=1e-5, abs_tol=1e-6)
