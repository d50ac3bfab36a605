"""What cannot be done is refused in one sentence: expected, got; remedy. And nothing stays."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.attention import Site, Taps, Where
from analysis.errors import UserError
from analysis.interventions import (
    Block,
    Head,
    Method,
    Pooling,
    StandIns,
    block_taps,
    check,
    derangement,
    means,
    taps,
)
from analysis.models.load import hidden_states
from tests.models.architectures import SUPPORTED

from .intervened import HEADS, IDS, N_POS, REFERENCE, done, loaded, logits, stand_ins, tapped

TOGETHER = (Method.MEAN, Method.ZERO_VALUE, Method.MASK_KEY)


@pytest.fixture(scope="module", params=SUPPORTED)
def model(request, saved):
    return loaded(saved(request.param), request.param)


@pytest.fixture(scope="module")
def llama(saved):
    return loaded(saved("llama"), "llama")


@pytest.fixture(scope="module")
def given(llama):
    return stand_ins(llama)


def says(text: str) -> str:
    """A pattern for the whole message, which is one sentence with a remedy."""
    assert text.startswith("expected ")
    assert ", got " in text
    assert "; " in text
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize("head", [(2, 0), (0, 4), (-1, 0), (0, -1), (1, 100)])
@pytest.mark.parametrize("method", Method)
def test_a_head_must_be_in_the_model(llama, head, method):
    """Negative ones too: Python would silently count them from the end."""
    expected = says(
        f"expected heads from L0H0 to L1H3 of llama, got L{head[0]}H{head[1]}; "
        "choose heads of the model"
    )
    with pytest.raises(UserError, match=expected):
        check([done(method, HEADS[0], Head(*head))], llama.card, N_POS)


def test_query_heads_beyond_the_kv_heads_are_heads(llama):
    assert llama.card.n_kv_heads == 2
    check([done(method, *HEADS) for method in (Method.ZERO, Method.MASK_KEY)], llama.card, N_POS)


@pytest.mark.parametrize("position", [N_POS, -1, 1000])
@pytest.mark.parametrize("method", Method)
def test_a_position_must_be_in_the_sequence(llama, position, method):
    expected = says(
        "expected positions from 0 to 8, the last of a sequence of 9 tokens, "
        f"got {position}; choose positions inside it"
    )
    with pytest.raises(UserError, match=expected):
        check([done(method, HEADS[0], positions=(0, position))], llama.card, N_POS)
    check([done(method, HEADS[0], positions=(0, N_POS - 1))], llama.card, N_POS)


CLAIMING = [[m for m in Method if m.of_queries], [Method.ZERO_VALUE, Method.MEAN_VALUE]]
RIVALS = [(a, b) for some in CLAIMING for a in some for b in some if a is not b]


@pytest.mark.parametrize(("first", "second"), RIVALS)
def test_two_stand_ins_for_the_same_thing_are_a_contradiction(llama, first, second):
    """Which of them won would depend on the order of the list."""
    expected = says(
        f"expected one stand-in for L1H2 at position 3, got both {first.value} and "
        f"{second.value}; apply them apart"
    )
    with pytest.raises(UserError, match=expected):
        check(
            [done(first, *HEADS, positions=(3,)), done(second, Head(1, 2), positions=(0, 3))],
            llama.card,
            N_POS,
        )
    with pytest.raises(UserError, match="at position 3"):
        one = done(first, Head(1, 2), positions=(3,))
        check([done(second, Head(1, 2)), one], llama.card, N_POS)


@pytest.mark.parametrize(("first", "second"), RIVALS)
def test_different_stand_ins_at_other_heads_or_positions_go_together(llama, first, second):
    check(
        [
            done(first, HEADS[0], positions=(3, 4)),
            done(second, HEADS[0], positions=(5,)),
            done(second, HEADS[1]),
        ],
        llama.card,
        N_POS,
    )


def test_the_same_method_twice_and_methods_at_other_sites_go_together(llama):
    for method in Method:
        check([done(method, HEADS[0]), done(method, *HEADS, positions=(1,))], llama.card, N_POS)
    apart = [Method.UNIFORM, Method.MASK_KEY, Method.ZERO_VALUE]
    check([done(method, HEADS[0]) for method in apart], llama.card, N_POS)


def test_nothing_to_do_is_not_a_mistake(llama):
    check([], llama.card, N_POS)
    check([done(method) for method in Method], llama.card, N_POS)
    check([done(method, *HEADS, positions=()) for method in Method], llama.card, N_POS)


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("shape", [(0, N_POS), (3, 0)])
def test_a_mean_needs_sequences(llama, pooling, shape):
    expected = says("expected a reference set for the mean, got no sequences; give at least one")
    with pytest.raises(UserError, match=expected):
        means(llama, np.zeros(shape, dtype=np.int64), pooling)


@pytest.mark.parametrize("n", [0, 1])
def test_resampling_needs_another_sequence(n):
    expected = says(f"expected at least 2 sequences to resample from, got {n}; raise --sequences")
    with pytest.raises(UserError, match=expected):
        derangement(n, 0)


@pytest.mark.parametrize("method", [Method.MEAN, Method.MEAN_VALUE])
def test_mean_ablation_needs_means(llama, given, method):
    expected = says("expected a reference set for the mean, got none; compute `means` of one first")
    with pytest.raises(UserError, match=expected):
        logits(llama, done(method, HEADS[5]), given=replace(given, means=None))


@pytest.mark.parametrize("method", [Method.MEAN, Method.MEAN_VALUE])
def test_means_by_position_must_reach_as_far_as_the_sequences(llama, method):
    """Also at a position that they know: the reference set is another than was meant."""
    short = means(llama, REFERENCE[:, : N_POS - 1], Pooling.PER_POSITION)
    expected = says(
        "expected a reference set of at least 9 positions, got 8; "
        "use longer sequences or a pooled mean"
    )
    for positions in (None, (0,)):
        with pytest.raises(UserError, match=expected):
            one = done(method, HEADS[5], positions=positions)
            logits(llama, one, given=StandIns(means=short, donors=None))
    pooled = means(llama, REFERENCE[:, : N_POS - 1], Pooling.POOLED)
    logits(llama, done(method, HEADS[5]), given=StandIns(means=pooled, donors=None))


def misfits(donors: torch.Tensor) -> dict[str, torch.Tensor | None]:
    """What the message says was got, and the donors that it says it of."""
    return {
        "none": None,
        "some of shape (2, 4, 9, 8)": donors[:, :2],
        "some of shape (3, 3, 9, 8)": donors[:, :, :3],
        "some of shape (3, 4, 8, 8)": donors[:, :, :, 1:],
        "some of shape (3, 4, 9, 7)": donors[..., 1:],
    }


def test_donors_must_fit(llama, given):
    one = done(Method.RESAMPLE, HEADS[5])
    for found, donors in misfits(given.donors).items():
        expected = says(
            f"expected donors of shape (3, 4, 9, 8) to resample layer 1, got {found}; "
            "read them from a derangement of the same sequences"
        )
        with pytest.raises(UserError, match=expected):
            logits(llama, one, given=replace(given, donors=donors))
    with pytest.raises(UserError, match="to resample layer 1, got none"):
        logits(llama, one, given=replace(given, donors=given.donors[:1]))


def test_donors_must_be_there_for_every_row_of_a_block(llama, given):
    one = done(Method.RESAMPLE, HEADS[5])
    late = block_taps([Block(slice(0, 3), (one,), slice(1, 4))], given)
    with pytest.raises(UserError, match=re.escape("got some of shape (2, 4, 9, 8)")):
        tapped(llama, late)


def test_what_is_not_needed_may_be_missing(llama):
    nothing = StandIns(means=None, donors=None)
    for method in (Method.ZERO, Method.UNIFORM, Method.ZERO_VALUE, Method.MASK_KEY):
        logits(llama, done(method, *HEADS), done(Method.MEAN), given=nothing)


class TapError(Exception):
    pass


def failing(site: Site, tapping: Taps, layer: int) -> Taps:
    """Taps that fail once an intervention has acted in a layer."""

    def edit(where: Where, tensor: torch.Tensor) -> torch.Tensor:
        edited = tapping.edit(site, where, tensor)
        if where.layer == layer:
            raise TapError
        return edited

    return Taps(edits={**tapping.edits, site: edit})


def hooks(model) -> int:
    """Hooks on any part of a model."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(getattr(m, kind)) for m in model.net.modules() for kind in kinds)


@pytest.mark.parametrize("site", Site)
@pytest.mark.parametrize("run", [tapped, lambda m, t: hidden_states(m, IDS, t)])
def test_nothing_stays_after_an_exception(model, site, run):
    given, before, n_hooks = stand_ins(model), tapped(model, Taps()), hooks(model)
    whole = taps([done(m, HEADS[0]) for m in TOGETHER], given, len(IDS))
    ablated = tapped(model, whole)
    with torch.no_grad(), pytest.raises(TapError):
        run(model, failing(site, whole, 1))
    assert hooks(model) == n_hooks
    assert torch.equal(tapped(model, Taps()), before)
    assert torch.equal(tapped(model, whole), ablated), "the same taps work again"


def test_nothing_stays_after_a_refusal_inside_the_model(model):
    before, n_hooks = tapped(model, Taps()), hooks(model)
    for method in (Method.MEAN, Method.RESAMPLE, Method.MEAN_VALUE):
        for run in (tapped, lambda m, t: hidden_states(m, IDS, t)):
            refused = taps(
                [done(Method.MASK_KEY, HEADS[0]), done(method, HEADS[-1])],
                StandIns(means=None, donors=None),
                len(IDS),
            )
            with torch.no_grad(), pytest.raises(UserError):
                run(model, refused)
    assert hooks(model) == n_hooks
    assert torch.equal(tapped(model, Taps()), before)
