"""What sets, positions and components cost, counted and not timed: only what can change runs."""

import numpy as np
import pytest
import torch

from analysis.components.ablation import Part
from analysis.components.decomposed import Components, Decomposition
from analysis.components.fitting.training import LAYERS, decomposed_layers
from analysis.interventions import Head, Measurement, Method, Metrics, endings, opening, sweep
from analysis.interventions.passes.endings import continues
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.staircase import trace
from analysis.interventions.stand_ins import NOTHING
from analysis.studies.circuit.passes import Start
from analysis.studies.circuit_components.passes import ComponentPasses
from analysis.studies.speed.contenders.counts import counted_flops
from analysis.studies.speed.contenders.models import Size, random_model

from .sweep_cases import NO_SOURCE, one, silent

SIZE = Size(4, 2, 16, 50)
N_ROWS, N_POS, N_PARTS = 3, 9, 5
IDS = np.random.default_rng(0).integers(0, SIZE.d_vocab, (N_ROWS, N_POS))


@pytest.fixture(scope="module")
def model():
    made = random_model(SIZE, "cpu")
    assert continues(made)  # measured once, here and not while products are counted
    return made


def attention(n_queries: int) -> int:
    """Projections of some positions of one row, which look at all positions."""
    d = SIZE.d_model
    return 2 * 4 * d * d * n_queries + 2 * 2 * d * n_queries * N_POS


def mlp(n_pos: int) -> int:
    return 2 * 3 * SIZE.d_model * 4 * SIZE.d_model * n_pos


def block(n_pos: int) -> int:
    return attention(n_pos) + mlp(n_pos)


def swept(model, conditions) -> int:
    asked = Measurement(
        scopes={"all": np.ones(IDS.shape, dtype=bool)}, metrics=Metrics.LEAN, max_rows=N_ROWS
    )
    return counted_flops(lambda: sweep(model, IDS, conditions, NO_SOURCE, asked, silent))


def zero(name: str, *heads: Head):
    return one(name, Method.ZERO, heads)


SETS = {
    "one head": ([Head(2, 0)], 2),
    "all of a layer": ([Head(2, 0), Head(2, 1)], 2),
    "two layers": ([Head(1, 1), Head(3, 0)], 1),
    "every head": ([Head(layer, head) for layer in range(4) for head in range(2)], 0),
    "the last layer": ([Head(3, 1)], 3),
}


@pytest.mark.parametrize("case", SETS)
def test_a_set_costs_what_lies_behind_its_first_layer(model, case):
    """However many heads: the MLP there, the layers behind it, and the unembedding.

    What those heads wrote is taken away besides, for less than their layer's attention.
    """
    heads, first = SETS[case]
    unembedding = 2 * SIZE.d_model * SIZE.d_vocab * N_POS
    tail = mlp(N_POS) + (SIZE.n_layers - 1 - first) * block(N_POS) + unembedding
    added = swept(model, [zero("a", *heads)]) - swept(model, [])
    assert N_ROWS * tail <= added <= N_ROWS * (tail + attention(N_POS))


def test_sets_cost_the_sum_of_each(model):
    sets = [zero("a", Head(1, 0), Head(2, 1)), zero("b", Head(3, 0)), zero("c", Head(0, 1))]
    base = swept(model, [])
    assert swept(model, sets) - base == sum(swept(model, [one]) - base for one in sets)


@pytest.mark.parametrize("method", [Method.ZERO, Method.ZERO_VALUE, Method.MASK_KEY])
@pytest.mark.parametrize("position", [N_POS - 1, N_POS - 3, 0])
@pytest.mark.parametrize("layer", [0, 2])
def test_positions_cost_their_own_rows_of_the_layers_behind_them(model, method, position, layer):
    """Exactly, and nothing of the unembedding: what came before cannot change."""
    start = opening(model, torch.from_numpy(IDS))
    alone = one("a", method, [Head(layer, 0)], (position,))

    def cost(conditions) -> int:
        return counted_flops(lambda: endings(start, conditions, NOTHING))

    expected = N_ROWS * (SIZE.n_layers - layer) * block(N_POS - position)
    assert cost([alone]) == expected
    assert cost([alone] * 3) == 3 * expected


def test_components_cost_the_layers_from_the_first_one_ablated(model):
    """A component more than the model itself: its weight's two thin products, and no remainder."""
    generator, parts = torch.Generator().manual_seed(0), {}
    for name in decomposed_layers(model, LAYERS):
        d_out, d_in = model.net.get_submodule(name).weight.shape
        V = torch.randn(d_in, N_PARTS, generator=generator)
        parts[name] = Components(V=V, U=torch.randn(N_PARTS, d_out, generator=generator))
    tokens = torch.from_numpy(IDS)
    with torch.inference_mode():
        base = trace(model, tokens, range(SIZE.n_layers))
        start = Start(model, layer_calls(model, tokens[:1]), tokens, base, 1)
    last = SIZE.n_layers - 1
    decomposition = Decomposition.of(model, parts)

    def cut(layer: int) -> tuple[Part]:
        return (Part(f"model.layers.{layer}.self_attn.q_proj", 1),)

    def cost(sets) -> int:
        passes = ComponentPasses(decomposition, start, 0, last)
        with torch.inference_mode():
            assert passes.base.shape[0] == 1  # the model as it is, once for all sets
            return counted_flops(lambda: passes.read(sets))

    for layer in range(last):
        assert cost([cut(layer)]) - cost([cut(layer + 1)]) == N_ROWS * block(N_POS)
    thin = 2 * 2 * SIZE.d_model * N_PARTS * N_POS * N_ROWS
    assert cost([cut(0)]) - cost([()]) == thin
    assert cost([cut(0)] * 4) == 4 * cost([cut(0)])
