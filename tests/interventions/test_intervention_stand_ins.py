"""What takes the place of what heads read, what is combined, and what must stay as it was."""

from copy import deepcopy
from itertools import permutations, product

import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from transformer_lens.model_bridge.sources import build_bridge_from_module

from analysis import attention
from analysis.attention import Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions import (
    Block,
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    block_taps,
    check,
    derangement,
    means,
    read_z,
    taps,
)
from analysis.models.load import load_model
from tests.models.architectures import GQA, SUPPORTED, build

from .intervened import (
    HEADS,
    IDS,
    N_POS,
    ORDER,
    REFERENCE,
    assert_near,
    assert_same,
    done,
    intervened,
    loaded,
    logits,
    seen,
    stand_ins,
    tapped,
)

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module", params=SUPPORTED)
def model(request, saved):
    return loaded(saved(request.param), request.param)


@pytest.fixture(scope="module")
def ready(model):
    return stand_ins(model)


def averaged(model, pooling: Pooling, ids: np.ndarray) -> StandIns:
    return StandIns(means=means(model, ids, pooling), donors=None)


@pytest.mark.parametrize("tokens_per_batch", [1, 30, 8192])
def test_means_are_those_of_what_was_captured(model, monkeypatch, tokens_per_batch):
    name = "analysis.interventions.stand_ins._TOKENS_PER_BATCH"
    monkeypatch.setattr(name, tokens_per_batch)
    shown = seen(model, Taps(), torch.from_numpy(REFERENCE))
    found = means(model, REFERENCE, Pooling.PER_POSITION)
    pooled = means(model, REFERENCE, Pooling.POOLED)
    for layer, (z, v) in enumerate(zip(shown.z, shown.v, strict=True)):
        for mean, pool, captured in ((found.z, pooled.z, z), (found.v, pooled.v, v)):
            assert_near(mean[layer], captured.mean(0).transpose(0, 1))
            assert_near(pool[layer], captured.mean((0, 2))[None])
    assert found.n_sequences == pooled.n_sequences == len(REFERENCE)
    assert found.pooling is Pooling.PER_POSITION
    assert pooled.pooling is Pooling.POOLED


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_a_head_writes_its_mean(model, head):
    reference = seen(model, Taps(), torch.from_numpy(REFERENCE)).z[head.layer][:, head.head]
    oracles = {
        Pooling.PER_POSITION: reference.mean(0)[:N_POS],
        Pooling.POOLED: reference.mean((0, 1)).expand(N_POS, -1),
    }
    for pooling, oracle in oracles.items():
        using = averaged(model, pooling, REFERENCE)
        found = intervened(model, done(Method.MEAN, head), given=using).z[head.layer]
        assert_near(found[:, head.head], oracle.expand(len(IDS), -1, -1))


@pytest.mark.parametrize("method", [Method.MEAN, Method.MEAN_VALUE])
def test_the_mean_of_equal_sequences_changes_nothing(model, method):
    """Each position's own mean, that is; pooled over positions it does change something."""
    same = IDS[:1].repeat(4, 1)
    plain = tapped(model, Taps(), same)
    using = averaged(model, Pooling.PER_POSITION, same.numpy())
    assert_near(logits(model, done(method, *HEADS), given=using, ids=same), plain)
    pooled = averaged(model, Pooling.POOLED, same.numpy())
    changed = logits(model, done(method, *HEADS), given=pooled, ids=same)
    assert (changed - plain).abs().max() > 1e-3


def test_resampling_from_itself_changes_nothing_bit_for_bit(model):
    using = StandIns(means=None, donors=read_z(model, IDS))
    found = logits(model, done(Method.RESAMPLE, *HEADS), given=using)
    assert torch.equal(found, tapped(model, Taps()))


def test_donors_are_what_the_other_sequences_read(model, ready):
    plain = seen(model, Taps())
    found = intervened(model, done(Method.RESAMPLE, *HEADS), given=ready)
    for z, other in zip(found.z, plain.z, strict=True):
        assert_same(z, other[ORDER])
        assert (z - other).abs().flatten(1).amax(1).min() > 1e-3, "a sequence kept its own z"


@given(n=st.integers(2, 60), seed=SEEDS)
def test_a_derangement_moves_everything_and_loses_nothing(n, seed):
    found = derangement(n, seed)
    assert sorted(found) == list(range(n))
    assert (found != np.arange(n)).all()
    assert np.array_equal(found, derangement(n, seed))


@pytest.mark.parametrize(("n", "n_derangements"), [(2, 1), (3, 2), (4, 9), (5, 44)])
def test_all_derangements_are_equally_likely(n, n_derangements):
    possible = [p for p in permutations(range(n)) if all(p[i] != i for i in range(n))]
    assert len(possible) == n_derangements
    drawn = [tuple(derangement(n, seed).tolist()) for seed in range(40 * n_derangements)]
    counts = [drawn.count(one) for one in possible]
    assert stats.chisquare(counts).pvalue > 1e-4 if n > 2 else counts == [40]


def drawn_interventions(rng: np.random.Generator) -> list[Intervention]:
    """Three random interventions of a small model."""
    every = list(Method)
    return [
        done(
            every[rng.integers(len(every))],
            *(HEADS[i] for i in rng.choice(len(HEADS), rng.integers(1, 4), replace=False)),
            positions=rng.choice(N_POS, rng.integers(1, 5), replace=False).tolist()
            if rng.random() < 0.6
            else None,
        )
        for _ in range(3)
    ]


@settings(max_examples=8)
@given(seed=SEEDS)
def test_the_order_of_interventions_does_not_matter(model, ready, seed):
    several = drawn_interventions(np.random.default_rng(seed))
    try:
        check(several, model.card, N_POS)
    except UserError:
        assume(False)
    found = [logits(model, *order, given=ready) for order in permutations(several)]
    assert all(torch.equal(one, found[0]) for one in found)


@settings(max_examples=8)
@given(seed=SEEDS)
def test_an_intervention_at_several_heads_and_positions_is_one_at_each(model, ready, seed):
    several = drawn_interventions(np.random.default_rng(seed))[0]
    places = range(N_POS) if several.positions is None else several.positions
    apart = [
        done(several.method, head, positions=(place,))
        for head, place in product(several.heads, places)
    ]
    check(apart, model.card, N_POS)
    expected = logits(model, several, given=ready)
    assert torch.equal(logits(model, *apart, given=ready), expected)
    assert torch.equal(logits(model, several, several, given=ready), expected)


SETS = [
    (done(Method.ZERO, Head(0, 1)),),
    (done(Method.UNIFORM, Head(0, 3), positions=(4, 7)), done(Method.MASK_KEY, Head(1, 0))),
    (),
    (done(Method.RESAMPLE, Head(1, 3), Head(0, 0)), done(Method.MEAN, Head(1, 1))),
    (done(Method.MASK_KEY, Head(0, 2), positions=(0, 3)), done(Method.UNIFORM, Head(0, 2))),
    (done(Method.ZERO_VALUE, Head(0, 1)), done(Method.MEAN_VALUE, Head(1, 2), positions=(2,))),
]


@pytest.mark.parametrize("rows_per_chunk", [None, 1, 2, 4])
def test_a_block_of_rows_is_what_it_is_alone(model, ready, monkeypatch, rows_per_chunk):
    """Also where chunks of the slow path end inside a block, or span two."""
    alone = [logits(model, *one, given=ready) for one in SETS]
    if rows_per_chunk is not None:
        size = rows_per_chunk * 4 * N_POS * N_POS
        monkeypatch.setattr(attention, "CHUNK_ELEMENTS", size)
    n = len(IDS)
    blocks = [Block(slice(i * n, (i + 1) * n), one, slice(0, n)) for i, one in enumerate(SETS)]
    found = tapped(model, block_taps(blocks, ready), IDS.repeat(len(SETS), 1))
    for rows, expected in zip(found.split(n), alone, strict=True):
        assert_same(rows, expected)
    gaps = [(a - b).abs().max() for i, a in enumerate(alone) for b in alone[:i]]
    assert min(gaps) > 1e-5


def test_blocks_of_single_rows_take_their_own_donors(model, ready):
    """Row 2 first: a block's donors are those it names, not those of its place in the batch."""
    one = done(Method.RESAMPLE, *HEADS[:3])
    expected = logits(model, one, given=ready)
    order = [2, 0, 1]
    blocks = [Block(slice(i, i + 1), (one,), slice(r, r + 1)) for i, r in enumerate(order)]
    found = tapped(model, block_taps(blocks, ready), IDS[order])
    assert_same(found, expected[order])
    own = [Block(slice(i, i + 1), (one,), slice(i, i + 1)) for i in range(3)]
    wrong = tapped(model, block_taps(own, ready), IDS[order])
    assert (wrong - expected[order]).abs().max() > 1e-3


def test_weights_inputs_and_stand_ins_are_never_written_to(model, ready):
    kept = [IDS, ready.means.z, ready.means.v, ready.donors, *model.net.state_dict().values()]
    copies = [tensor.clone() for tensor in kept]
    plain = tapped(model, Taps())
    for method in Method:
        logits(model, done(method, *HEADS), done(Method.MASK_KEY, *HEADS), given=ready)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
    assert torch.equal(tapped(model, Taps()), plain)


def test_no_edit_writes_to_what_it_is_given(model, ready):
    sites: list[Site] = []

    def guarded(site: Site, edit):
        def checked(where: Where, tensor: torch.Tensor) -> torch.Tensor:
            copy = tensor.clone()
            sites.append(site)
            edited = edit(where, tensor)
            assert torch.equal(tensor, copy)
            return edited

        return checked

    for method in Method:
        edits = taps([done(method, *HEADS)], ready, len(IDS)).edits
        tapped(model, Taps(edits={site: guarded(site, edit) for site, edit in edits.items()}))
    assert set(sites) == {Site.Z, Site.V, Site.SCORES, Site.PATTERN}


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def pair(request, tmp_path_factory):
    """The same random model as TransformerLens sees it, and as we do."""
    configs = {"llama": tf.LlamaConfig(**GQA), "gpt2": SUPPORTED["gpt2"]}
    folder = tmp_path_factory.mktemp(request.param)
    net = build(configs[request.param])
    net.save_pretrained(folder)
    stock = deepcopy(net)
    name = type(stock).__name__
    return build_bridge_from_module(stock, name, hf_config=stock.config), load_model(str(folder))


@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize("positions", [None, (2, 5)])
def test_zero_and_mean_are_those_of_transformer_lens(pair, head, positions):
    theirs, model = pair
    using = averaged(model, Pooling.PER_POSITION, REFERENCE)
    name = f"blocks.{head.layer}.attn.hook_z"
    with torch.no_grad():
        _, cache = theirs.run_with_cache(torch.from_numpy(REFERENCE))
    average = cache[name].mean(0)[:N_POS, head.head]
    places = list(range(N_POS)) if positions is None else list(positions)

    def run(new: torch.Tensor) -> torch.Tensor:
        def hook(z: torch.Tensor, hook) -> torch.Tensor:
            edited = z.clone()
            edited[:, places, head.head] = new
            return edited

        with torch.no_grad():
            return theirs.run_with_hooks(IDS, return_type="logits", fwd_hooks=[(name, hook)])

    for method, new in ((Method.ZERO, torch.zeros(8)), (Method.MEAN, average[places])):
        found = logits(model, done(method, head, positions=positions), given=using)
        torch.testing.assert_close(found, run(new), atol=1e-4, rtol=1e-4)
        assert (found - tapped(model, Taps())).abs().max() > 1e-3
