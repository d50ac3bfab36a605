"""What components do over a text, against loops over its tokens."""

import numpy as np
import pytest
import torch

from analysis.components.decomposed import logits, reading
from analysis.components.evaluation import importances
from analysis.components.harvest import (
    FIRES,
    N_EXAMPLES,
    Firing,
    Harvest,
    Together,
    _choose,
    _pair,
    association,
    harvest,
)
from tests.models.architectures import VOCAB

from .decomposed_models import N, decomposed, importance_of

Q, K, V = (f"h.1.attn.{letter}_proj" for letter in "qkv")
PAIRINGS = ((Q, K, 0), (Q, K, 1), (K, V, 1))
N_ROWS, N_POS = 11, 7
"""More rows than a batch holds, and no multiple of it."""
TOKENS = np.random.default_rng(5).integers(3, VOCAB, (N_ROWS, N_POS)).astype(np.int32) // 8
"""Few tokens, so that each is met often."""


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def made(saved):
    return decomposed(saved("llama_simple_mlp"))


@pytest.fixture(scope="module")
def watched(made):
    """Importance and activation of every component at every token, each row on its own."""
    function = importance_of(made, "shared_mlp")
    g, activation = {}, {}
    with torch.no_grad():
        for name in made.components:
            g[name], activation[name] = np.zeros((2, N_ROWS, N_POS, N))
        for row, ids in enumerate(torch.from_numpy(TOKENS).long()):
            with reading(made.model, made.components) as inputs:
                logits(made, ids[None], {})
            for name, found in importances(made, function, ids[None]).items():
                g[name][row] = found[0].numpy()
                activation[name][row] = (inputs[name][0] @ made.components[name].V).numpy()
    return g, activation


@pytest.fixture(scope="module")
def found(made) -> Harvest:
    told: list[tuple[int, int, str]] = []
    function = importance_of(made, "shared_mlp")
    found = harvest(
        made, function, TOKENS, PAIRINGS, seed=0, report=lambda *said: told.append(said)
    )
    assert [(done, total) for done, total, _ in told] == [(8, N_ROWS), (N_ROWS, N_ROWS)]
    return found


def test_counts_and_means_are_those_of_a_loop_over_tokens(found, watched):
    g, activation = watched
    for name in g:
        for c in range(N):
            values = [
                (g[name][place][c], activation[name][place][c])
                for place in np.ndindex(N_ROWS, N_POS)
            ]
            fired = [a for importance, a in values if importance > FIRES]
            assert found.count(name)[c] == len(fired)
            assert found.density(name)[c] == pytest.approx(len(fired) / TOKENS.size)
            mean = sum(importance for importance, _ in values) / TOKENS.size
            assert found.mean_importance(name)[c] == pytest.approx(mean, abs=1e-5)
            expected = (np.mean(fired), np.mean(np.abs(fired))) if fired else (0, 0)
            assert found.mean_activation(name)[c] == pytest.approx(expected[0], abs=1e-5)
            assert found.mean_magnitude(name)[c] == pytest.approx(expected[1], abs=1e-5)
        assert 0 < found.count(name).max() < TOKENS.size, "a loop over nothing must not pass"


def test_every_row_is_counted_apart(found, watched):
    g, _ = watched
    np.testing.assert_array_equal(found.firing[Q].count, (g[Q] > FIRES).sum(1))
    np.testing.assert_allclose(found.firing[Q].importance, g[Q].sum(1), atol=1e-5)


def test_pmi_is_that_of_counted_probabilities(found, watched):
    fires, pmi = watched[0][K] > FIRES, found.pmi(K)
    for i, token in enumerate(found.distinct):
        here = token == TOKENS
        for c in range(N):
            joint = (fires[..., c] & here).mean()
            apart = fires[..., c].mean() * here.mean()
            expected = np.log(joint / apart) if joint else -np.inf
            assert float(pmi[i, c]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_the_second_component_is_counted_lag_tokens_before_the_first(found, watched, pairing):
    first, second, lag = pairing
    counted = association(found.together[pairing])
    fires = {name: watched[0][name] > FIRES for name in (first, second)}
    for i, j in np.ndindex(N, N):
        a, b = [], []
        for row in range(N_ROWS):
            for t in range(lag, N_POS):
                a.append(fires[first][row, t, i])
                b.append(fires[second][row, t - lag, j])
        both, either = np.logical_and(a, b).sum(), np.logical_or(a, b).sum()
        assert counted["count"][i, j] == both
        assert counted["jaccard"][i, j] == pytest.approx(both / either if either else 0)
        assert counted["p_key"][i, j] == pytest.approx(both / np.sum(a) if any(a) else 0)
        assert counted["p_query"][i, j] == pytest.approx(both / np.sum(b) if any(b) else 0)
        varied = 0 < np.sum(a) < len(a) and 0 < np.sum(b) < len(b)
        phi = np.corrcoef(a, b)[0, 1] if varied else 0
        assert counted["phi"][i, j] == pytest.approx(phi, abs=1e-9)


def test_direction_matters():
    """What always fires one token after another is seen at lag 1 in one order only."""
    key = torch.tensor([[1, 0, 0, 1, 0, 0, 1, 0]], dtype=torch.bool)[..., None]
    query = torch.roll(key, 1, dims=1)
    together: dict = {}
    _pair(together, ("q", "k", 1), {"q": query, "k": key})
    _pair(together, ("k", "q", 1), {"q": query, "k": key})
    assert association(together["q", "k", 1])["phi"].item() == pytest.approx(1)
    assert association(together["k", "q", 1])["count"].item() == 0


def test_examples_are_where_it_fired(found, watched):
    g, _ = watched
    for c in range(N):
        examples = found.examples(V, c)
        assert len(examples) == len(set(examples)) == min(N_EXAMPLES, int(found.count(V)[c]))
        for row, t, importance in examples:
            assert importance == pytest.approx(g[V][row, t, c], abs=1e-5)
            assert importance > FIRES


def test_examples_are_drawn_evenly_from_early_and_late_places():
    """Every place that fires is kept equally often, whichever batch it came in."""
    n_batches, size, n_draws = 4, 10, 4000
    g = torch.zeros(n_batches * size, n_draws)
    fired = [0, 3, 4, 7, 11, 12, 18, 19, 20, 25, 26, 27, 31, 35, 38, 39]
    g[fired] = 0.5
    kept = Firing.nothing(n_draws, 1, 1)
    generator = torch.Generator().manual_seed(0)
    for batch in range(n_batches):
        rows = slice(batch * size, (batch + 1) * size)
        _choose(kept, g[rows], batch * size, generator)
    counts = np.bincount(kept.example_places.flatten(), minlength=len(g))
    assert counts[fired].sum() == N_EXAMPLES * n_draws, "only places that fire, and no gaps"
    share = N_EXAMPLES / len(fired)
    spread = np.sqrt(n_draws * share * (1 - share))
    assert np.abs(counts[fired] - n_draws * share).max() < 5 * spread


def test_undefined_associations_are_0_and_identical_firing_is_1():
    fires = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    both, sums = (fires.T @ fires).double(), fires.sum(0).double()
    found = association(Together(both, sums, sums, 3))
    assert found["phi"][0, 0] == pytest.approx(1)
    assert found["jaccard"][0, 0] == found["p_key"][0, 0] == found["p_query"][0, 0] == 1
    for values in found.values():
        assert values[0, 1] == values[1, 0] == values[1, 1] == 0
