"""What the timed tasks need, counted and not timed: the engine saves the work that it claims."""

import pytest
import torch

from analysis.interventions.passes.stream import stream_scores
from analysis.studies import speed as bench
from analysis.studies.speed import growth
from analysis.studies.speed.contenders import counts, models, peers, tasks
from analysis.studies.speed.contenders.models import Size, random_model
from analysis.studies.speed.contenders.tasks import Task, Work, sampled_heads
from tests.interventions.sweep_cases import silent

TINY = Size(2, 2, 16, 50)


def blocks(size: Size, n_pos: int) -> tuple[float, float, float]:
    """Of one sequence: a layer's attention, its MLP, and the unembedding."""
    d, d_mlp = size.d_model, 4 * size.d_model
    attention = 2 * 4 * d * d * n_pos + 2 * 2 * d * n_pos * n_pos
    return attention, 2 * 3 * d * d_mlp * n_pos, 2 * d * size.d_vocab * n_pos


def test_a_sweep_saves_the_layers_before_each_head():
    """Theory: a head in layer l costs its MLP, the layers behind it, and the unembedding."""
    size = Size(4, 2, 16, 64)
    deep, n_pos, n_rows = random_model(size, "cpu"), 8, 8
    ids = tasks.tokens(Task.A, deep.card, (n_rows, n_pos))
    asked = Work(ids=ids, heads=sampled_heads(deep.card, None), scale=1.0, batch=1)
    attention, mlp, head = blocks(size, n_pos)
    layer = attention + mlp
    whole = size.n_layers * layer + head
    tails = sum((size.n_layers - 1 - at.layer) * layer + mlp + head for at in asked.heads)
    expected = (whole + head + tails) / (whole * (1 + len(asked.heads)))
    sweep = tasks.our_sweep(deep)  # measures once whether the model can be walked
    ours = counts.counted_flops(lambda: sweep(asked))
    plain = counts.counted_flops(lambda: peers.plain_hooks(Task.A, deep)(asked))
    assert plain == n_rows * whole * (1 + len(asked.heads))
    assert counts.passes_flops(deep, asked) == plain
    assert ours / plain == pytest.approx(expected, rel=0.05)
    assert ours / plain < 0.7
    assert counts.sweep_flops(deep, asked) == pytest.approx(ours, rel=0.005)


def test_scores_cost_no_more_than_one_eager_pass():
    model = random_model(TINY, "cpu")
    ids = tasks.tokens(Task.S, model.card, (2, 8))
    net, batch = models.stock(model, "eager"), torch.from_numpy(ids)
    functions = tasks.score_functions(ids, model.device)
    streamed = counts.counted_flops(lambda: stream_scores(model, ids, functions, silent))
    eager = counts.counted_flops(lambda: net(batch, use_cache=False))
    assert 0 < streamed <= eager
    del functions["duplicate_token"]
    bare = counts.counted_flops(lambda: stream_scores(model, ids, functions, silent))
    assert bare == eager - 2 * TINY.d_model * TINY.d_vocab * ids.size


def test_exponents_of_a_power_law():
    assert growth.exponent((1, 2, 4), (3.0, 12.0, 48.0)) == pytest.approx(2)


def test_growth_of_every_quantity(monkeypatch):
    monkeypatch.setitem(models.SIZES, "small", Size(2, 4, 32, 50))
    found = {axis: growth.growth_along(axis, (1, 8), "cpu", 1, silent) for axis in bench.AXES}
    power = {axis: each.exponents[1] for axis, each in found.items()}
    assert found["layers"].sizes == (2, 4, 8)
    assert 1.2 < power["layers"] < 2
    assert power["tokens"] == pytest.approx(1, abs=0.2)
    assert 0.5 < power["conditions"] < 1
    assert "exponent of seconds" in bench.growth_text(list(found.values()))
