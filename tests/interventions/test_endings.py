"""Endings are what whole passes compute at the last position, with less of it."""

import pytest
import torch

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.interventions import NOTHING, Condition, Head, Method, endings, opening, taps
from analysis.interventions.passes.endings import continues, first_position
from analysis.models.load import hidden_states, load_model
from tests.models.architectures import SUPPORTED

from .intervened import HEADS, IDS, N_LAYERS, N_POS, assert_near, done, seen, stand_ins

T = N_POS - 1


def condition(*interventions) -> Condition:
    return Condition(name="c", family="test", interventions=interventions)


LATE = (
    condition(done(Method.ZERO, Head(0, 1), positions=(T,))),
    condition(done(Method.ZERO_VALUE, Head(0, 0), Head(0, 1), positions=(T - 2,))),
    condition(done(Method.MEAN_VALUE, Head(1, 3), positions=(T - 1,))),
    condition(
        done(Method.MEAN, Head(0, 2), positions=(T,)),
        done(Method.MASK_KEY, Head(1, 2), positions=(T - 1, T - 2)),
    ),
    condition(done(Method.RESAMPLE, *HEADS, positions=(T - 1,))),
    condition(done(Method.UNIFORM, Head(1, 0), positions=(T,))),
    condition(),
)
"""None touches a position before the last three."""
EARLY = (condition(done(Method.ZERO, Head(1, 1))), condition(done(Method.MASK_KEY, *HEADS)))
"""All positions."""


@pytest.fixture(params=SUPPORTED)
def model(request, saved):
    loaded = load_model(str(saved(request.param)))
    assert continues(loaded)  # measured once, here and not while layers are counted
    return loaded


@pytest.mark.parametrize("conditions", [LATE, EARLY, LATE + EARLY], ids=["late", "early", "both"])
def test_endings_are_those_of_whole_passes(model, conditions):
    given = stand_ins(model)
    found = endings(opening(model, IDS), conditions, given)
    for i, each in enumerate(conditions):
        tapping = taps(each.interventions, given, len(IDS))
        with torch.no_grad():
            expected = hidden_states(model, IDS, tapping)[:, -1]
        assert_near(found.hidden[i], expected)
        wrote = seen(model, tapping).attn_out
        assert len(wrote) == N_LAYERS
        for layer in range(N_LAYERS):
            assert_near(found.attn_out[i, layer], wrote[layer][:, -1])


def test_only_the_positions_that_can_change_are_walked(model):
    lengths: list[int] = []
    handle = model.layers[-1].register_forward_pre_hook(
        lambda _m, args, kwargs: lengths.append((args or [kwargs["hidden_states"]])[0].shape[1]),
        with_kwargs=True,
    )
    start, given = opening(model, IDS), stand_ins(model)
    lengths.clear()
    endings(start, LATE, given)
    handle.remove()
    assert lengths == [3]


def test_the_base_is_its_own_ending(model):
    found = opening(model, IDS).endings
    with torch.no_grad():
        assert_near(found.hidden[0], hidden_states(model, IDS, Taps())[:, -1])
    assert found.attn_out.shape[:3] == (1, N_LAYERS, len(IDS))


def test_nothing_leaves_the_base_as_it_is(model):
    start = opening(model, IDS)
    found = endings(start, [condition()], NOTHING)
    assert torch.equal(found.hidden, start.endings.hidden)
    assert torch.equal(found.attn_out, start.endings.attn_out)


def test_positions_decide_where_walking_begins():
    assert first_position(LATE, N_POS) == T - 2
    assert first_position(EARLY, N_POS) == 0
    assert first_position([condition()], N_POS) == T


def test_a_position_outside_is_refused(model):
    outside = condition(done(Method.ZERO, Head(0, 0), positions=(N_POS,)))
    with pytest.raises(UserError, match="expected positions from 0 to 8"):
        endings(opening(model, IDS), [outside], NOTHING)
