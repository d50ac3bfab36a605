"""The sweep measures what a whole pass for every condition does, with less of it."""

from collections import Counter
from contextlib import ExitStack
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from analysis.attention import Taps
from analysis.interventions import (
    NOTHING,
    Condition,
    Head,
    Intervention,
    Method,
    Pooling,
    derangement,
    means,
    taps,
)
from analysis.interventions.passes import predictions
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.sweep import Source, sweep
from analysis.models.load import load_model
from tests.models.architectures import SUPPORTED

from .slow_sweep import slow_sweep
from .sweep_cases import (
    ATTENDING,
    EVERYWHERE,
    FULL,
    IDS,
    LEAN,
    N_SEQUENCES,
    NO_HEADS,
    NO_SOURCE,
    NONE,
    SHAPE,
    SINGLE,
    measurement,
    one,
    silent,
)

SOME = [Head(0, 0), Head(0, 3), Head(1, 1)]
PLACES = [
    ([Head(0, 1)], None),
    ([Head(1, 2)], None),
    ([Head(1, 2)], (3,)),
    (SOME, None),
    (SOME, (2, 5)),
]

MIXED = Condition(
    name="mixed",
    family="test",
    interventions=(
        Intervention(method=Method.ZERO, heads=(Head(0, 0),), positions=None),
        Intervention(method=Method.RESAMPLE, heads=(Head(0, 1), Head(1, 0)), positions=(4,)),
        Intervention(method=Method.MASK_KEY, heads=(Head(0, 0), Head(1, 3)), positions=(0, 2)),
    ),
)
EVERY = [
    NONE,
    MIXED,
    NO_HEADS,
    *(
        one(f"{method.value} {heads} {positions}", method, heads, positions)
        for method in Method
        for heads, positions in PLACES
    ),
]


@pytest.fixture
def llama(saved):
    return load_model(str(saved("llama")))


@pytest.fixture(scope="module", params=SUPPORTED)
def slowly(request, saved):
    """A model, a source, and what the slow way measures of everything."""
    model = deepcopy(load_model(str(saved(request.param))))
    donor_of = derangement(N_SEQUENCES, 0)
    source = Source(means=means(model, IDS, Pooling.PER_POSITION), donor_of=donor_of)
    return model, source, slow_sweep(model, IDS, EVERY, source, FULL, silent)


def assert_same(found, expected, tolerance: float) -> None:
    """Equal effects, as far as they were measured."""
    assert found.conditions == expected.conditions
    assert found.scopes == expected.scopes
    for metric, values in found.values.items():
        np.testing.assert_allclose(values, expected.values[metric], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("metrics", "max_rows"),
    [(Metrics.LEAN, 9), (Metrics.FULL, 1000)],
)
def test_the_sweep_measures_what_whole_passes_do(slowly, metrics, max_rows):
    model, source, expected = slowly
    found = sweep(model, IDS, EVERY, source, measurement(metrics, max_rows), silent)
    assert set(found.values) == set(metrics.value)
    assert_same(found, expected, 1e-5)
    kl = found.values["kl_base_ablated"][:, 0]
    assert (kl[3:].max(1) > 1e-3).mean() > 0.5, "nothing was replaced, so nothing was compared"


def test_a_layer_call_fits_any_number_of_rows(slowly):
    model, *_ = slowly
    calls = layer_calls(model, torch.from_numpy(IDS[:1]).long())
    assert len(calls) == model.card.n_layers
    tensors = [
        tensor
        for call in calls
        for value in (*call.args, *call.kwargs.values())
        for tensor in (value if isinstance(value, tuple) else (value,))
        if isinstance(tensor, torch.Tensor)
    ]
    assert tensors
    assert {tensor.shape[0] for tensor in tensors} == {1}


def test_another_head_would_not_pass_for_this_one(llama):
    found = sweep(llama, IDS, SINGLE, NO_SOURCE, LEAN, silent)
    swapped = slow_sweep(llama, IDS, [SINGLE[1], *SINGLE[1:]], NO_SOURCE, LEAN, silent)
    gap = np.abs(found.values["kl_base_ablated"] - swapped.values["kl_base_ablated"]).max((1, 2))
    assert gap[0] > 1e-3
    assert gap[1:].max() < 1e-5


@pytest.mark.parametrize("asked", [LEAN, FULL])
def test_replacing_nothing_changes_exactly_nothing(llama, asked):
    found = sweep(llama, IDS, [NONE, *ATTENDING, NO_HEADS], NO_SOURCE, asked, silent)
    assert found.scopes == ("all", "second half", "at", "after")
    for values in found.values.values():
        assert (values[[0, -1], :2] == 0).all()
        assert np.isnan(values[[0, -1], 2:]).all()


def test_a_sweep_of_idle_conditions_or_none_is_possible(llama):
    assert sweep(llama, IDS, [], NO_SOURCE, LEAN, silent).values["loss_change"].shape == (0, 2, 4)
    idle = sweep(llama, IDS, [NONE], NO_SOURCE, LEAN, silent)
    assert all((values == 0).all() for values in idle.values.values())


def test_scopes_average_the_positions_that_they_name(llama):
    """Against passes and sums written out here."""
    condition = one("zero", Method.ZERO, [Head(0, 1)], (2, 5))
    last = np.zeros(SHAPE, dtype=bool)
    last[:, -1] = True
    given = {"all": EVERYWHERE, "last": last, "before": np.tile(np.arange(9) < 2, (4, 1))}
    asked = measurement(Metrics.LEAN, 12, given)
    found = sweep(llama, IDS, [condition], NO_SOURCE, asked, silent)
    tokens = torch.from_numpy(IDS).long()
    with torch.no_grad():
        tapped = taps(condition.interventions, NOTHING, N_SEQUENCES)
        p, q = (
            Categorical(logits=llama.net(tokens, use_cache=False, taps=t).logits)
            for t in (Taps(), tapped)
        )
    kl = kl_divergence(p, q)
    loss = (p.log_prob(tokens.roll(-1, 1)) - q.log_prob(tokens.roll(-1, 1)))[:, :-1]
    positions = {"all": slice(0, 9), "last": [8], "before": [0, 1], "at": [2, 5]}
    for i, at in enumerate([*positions.values(), slice(3, 9)]):
        np.testing.assert_allclose(
            found.values["kl_base_ablated"][0, i], kl[:, at].mean(1), atol=1e-5
        )
    for i, at in {0: slice(0, 9), 3: [2, 5], 4: slice(3, 9)}.items():
        np.testing.assert_allclose(
            found.values["loss_change"][0, i], loss[:, at].mean(1), atol=1e-5
        )
    assert found.scopes == ("all", "last", "before", "at", "after")
    assert np.isnan(found.values["loss_change"][0, 1]).all(), "the last position has no loss"
    assert np.abs(found.values["kl_base_ablated"][0, 2]).max() < 1e-6, "the past cannot change"
    assert found.values["kl_base_ablated"][0, 3].min() > 1e-4


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_order_of_conditions_only_permutes_effects(saved, name):
    model = deepcopy(load_model(str(saved(name))))
    model.net.double()
    donor_of = derangement(N_SEQUENCES, 0)
    source = Source(means=means(model, IDS, Pooling.POOLED), donor_of=donor_of)
    found = sweep(model, IDS, EVERY, source, LEAN, silent)
    order = np.random.default_rng(1).permutation(len(EVERY))
    permuted = sweep(model, IDS, [EVERY[i] for i in order], source, LEAN, silent)
    for metric, values in permuted.values.items():
        np.testing.assert_allclose(values, found.values[metric][order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("metrics", Metrics)
def test_chunks_change_nothing(llama, metrics, monkeypatch):
    expected = sweep(llama, IDS, SINGLE, NO_SOURCE, measurement(metrics, 1000), silent)
    monkeypatch.setattr(predictions, "_MIN_TOKENS", 5)
    monkeypatch.setattr(predictions, "_MIN_POSITIONS", 1)
    for max_rows, at_once in [(1, 50), (3, 2**22), (5, 1000), (13, 300)]:
        monkeypatch.setattr(predictions, "LOGIT_ELEMENTS", at_once)
        monkeypatch.setattr(predictions, "BLOCK_ELEMENTS", at_once)
        found = sweep(llama, IDS, SINGLE, NO_SOURCE, measurement(metrics, max_rows), silent)
        for metric, values in found.values.items():
            np.testing.assert_allclose(values, expected.values[metric], rtol=0, atol=1e-6)


def test_resampling_from_equal_sequences_changes_nothing(llama):
    ids = np.tile(IDS[:1], (N_SEQUENCES, 1))
    source = Source(means=None, donor_of=derangement(N_SEQUENCES, 0))
    condition = one("resample", Method.RESAMPLE, [Head(0, 1), Head(1, 1)])
    for equal, expected in [(ids, 0.0), (IDS, 1.0)]:
        found = sweep(llama, equal, [condition], source, LEAN, silent)
        changed = float(np.abs(found.values["kl_base_ablated"]).max() > 1e-5)
        assert changed == expected


def counted_rows(modules, run) -> int:
    """How many rows all modules together are called with."""
    rows: Counter[str] = Counter()

    def count(_module, _args, output) -> None:
        first = output[0] if isinstance(output, tuple) else output
        rows["all"] += first.shape[0]

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(count).remove)
        run()
    return rows["all"]


def n_layer_rows(conditions, n_layers, n_sequences) -> int:
    """How many rows pass through a layer, over all layers, the base's own included."""
    walked = sum(max(0, n_layers - condition.first_layer) for condition in conditions)
    return n_sequences * (n_layers + walked)


@pytest.mark.parametrize("max_rows", [3, 12, 1000])
def test_no_layer_runs_before_a_condition_touches_it(llama, max_rows):
    """Counted, not timed: the base once, one more row, and every condition's own layers."""
    asked = measurement(Metrics.LEAN, max_rows)
    conditions = [*SINGLE, NONE, *ATTENDING]

    def rows(function) -> int:
        return counted_rows(
            llama.layers, lambda: function(llama, IDS, conditions, NO_SOURCE, asked, silent)
        )

    n_layers = llama.card.n_layers
    assert rows(sweep) == n_layer_rows(conditions, n_layers, N_SEQUENCES) + n_layers
    assert rows(slow_sweep) == n_layers * N_SEQUENCES * (len(conditions) + 1)
    assert n_layer_rows(SINGLE, n_layers, N_SEQUENCES) == N_SEQUENCES * (2 + 4 * 2 + 4 * 1)


def test_replacing_z_runs_none_of_its_layers_attention(llama, monkeypatch):
    """Beyond the base and the first row, the last layer's attention need not run at all."""
    products: list[int] = []
    attend = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, *args, **kwargs: products.append(len(q)) or attend(q, *args, **kwargs),
    )
    sweep(llama, IDS, SINGLE[4:], NO_SOURCE, measurement(Metrics.LEAN, 1000), silent)
    assert products == [1, 1, N_SEQUENCES, N_SEQUENCES, 1]


def test_inputs_and_weights_are_never_written_to(llama):
    ids, state = IDS.copy(), deepcopy(llama.net.state_dict())
    sweep(llama, ids, [*SINGLE, *ATTENDING], NO_SOURCE, FULL, silent)
    assert np.array_equal(ids, IDS)
    assert all(torch.equal(value, state[key]) for key, value in llama.net.state_dict().items())


@pytest.mark.parametrize("function", [sweep, slow_sweep])
def test_progress_ends_at_all_conditions_times_sequences(llama, function):
    told: list[tuple[int, int]] = []
    asked = measurement(Metrics.LEAN, 3)
    conditions = [NONE, *SINGLE]
    function(llama, IDS, conditions, NO_SOURCE, asked, lambda *args: told.append(args[:2]))
    done = [d for d, _ in told]
    assert done == sorted(done)
    assert told[-1] == (36, 36)
