"""What each method does to a head, on every architecture; in float64 against oracles."""

import pytest
import torch

from analysis.attention import Site, Taps
from analysis.interventions import Condition, Head, Method, taps
from tests.models.architectures import SUPPORTED

from .intervened import (
    HEADS,
    IDS,
    N_HEADS,
    N_POS,
    ORDER,
    assert_near,
    assert_same,
    done,
    editing,
    intervened,
    loaded,
    logits,
    seen,
    stand_ins,
    tapped,
    visible,
    written,
)

EXPLICIT = Taps(watch=lambda _where, _pattern: None)
KEYS = (0, 2, 5)
POSITIONS = [None, (0,), (2, 5), (N_POS - 1,)]


@pytest.fixture(scope="module", params=SUPPORTED)
def model(request, saved):
    return loaded(saved(request.param), request.param)


@pytest.fixture(scope="module")
def given(model):
    return stand_ins(model)


@pytest.fixture(scope="module")
def base(model):
    return seen(model, Taps())


def sinks(model, head: Head) -> torch.Tensor | None:
    """The learned logit of a head's key that holds nothing."""
    found = getattr(model.attentions[head.layer], "sinks", None)
    return None if found is None else found[head.head]


def others(head: Head) -> list[int]:
    """The other heads of the layer, those of the same kv head among them."""
    return [other for other in range(N_HEADS) if other != head.head]


def test_ablating_nothing_changes_nothing_bit_for_bit(model, given):
    plain = tapped(model, Taps())
    untouched = Condition(name="base", family="base", interventions=())
    assert torch.equal(logits(model, *untouched.interventions, given=given), plain)
    for method in Method:
        assert torch.equal(logits(model, done(method), given=given), plain)
        nowhere = done(method, *HEADS, positions=())
        assert torch.equal(logits(model, nowhere, given=given), plain)


def test_no_head_and_no_position_beside_an_intervention_change_nothing(model, given):
    for method in Method:
        alone = done(method, HEADS[1], positions=(3,))
        beside = [done(method), done(method, *HEADS, positions=())]
        expected = logits(model, alone, given=given)
        assert torch.equal(logits(model, alone, *beside, given=given), expected)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_zero_removes_exactly_what_the_head_writes(model, base, head):
    contribution = written(model, head, base.z[head.layer])
    assert contribution.abs().max() > 1e-3
    found = intervened(model, done(Method.ZERO, head))
    assert (found.z[head.layer][:, head.head] == 0).all()
    assert_same(found.attn_out[head.layer], base.attn_out[head.layer] - contribution)
    for earlier in range(head.layer):
        assert torch.equal(found.attn_out[earlier], base.attn_out[earlier])


def test_zeroing_heads_together_removes_the_sum_of_what_they_write(model, base):
    heads = [Head(0, 1), Head(0, 3)]
    gone = sum(written(model, head, base.z[0]) for head in heads)
    found = intervened(model, done(Method.ZERO, *heads))
    assert_same(found.attn_out[0], base.attn_out[0] - gone)


@pytest.mark.parametrize("method", Method)
def test_every_head_of_every_layer_has_its_own_effect(model, given, method):
    """A head index that is ignored, or read as that of a kv head, gives the same logits twice."""
    found = [tapped(model, Taps())]
    found += [logits(model, done(method, head, positions=KEYS), given=given) for head in HEADS]
    gaps = [(a - b).abs().max() for i, a in enumerate(found) for b in found[:i]]
    assert min(gaps) > 1e-5


@pytest.mark.parametrize("method", Method)
def test_a_head_is_ablated_alone(model, given, base, method):
    """Under GQA the other query heads of the same kv head keep their copy of its values."""
    for head in HEADS:
        found = intervened(model, done(method, head, positions=KEYS), given=given)
        rest, layer = others(head), head.layer
        assert torch.equal(found.pattern[layer][:, rest], base.pattern[layer][:, rest])
        assert torch.equal(found.z[layer][:, rest], base.z[layer][:, rest])
        assert not torch.equal(found.z[layer][:, head.head], base.z[layer][:, head.head])


def test_no_layer_before_the_first_changes(model, given, base):
    for method in Method:
        one = done(method, Head(1, 3), Head(1, 0))
        condition = Condition(name="late", family="single", interventions=(done(method), one))
        assert one.first_layer == condition.first_layer == 1
        assert torch.equal(intervened(model, one, given=given).z[0], base.z[0])


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_uniform_reads_the_mean_of_the_visible_values(model, base, head):
    v = base.v[head.layer][:, head.head]
    keys = [row.nonzero().flatten() for row in visible(model, head.layer)]
    expected = torch.stack([v[:, some].mean(1) for some in keys], dim=1)
    found = intervened(model, done(Method.UNIFORM, head)).z[head.layer][:, head.head]
    assert_same(found, expected)
    assert found.abs().max() > 0.01, "uniform attention is not an output of about 0"


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_no_query_and_constant_scores_are_the_same_as_uniform(model, head):
    """Without a learned sink; a sink keeps its share of both, and none of uniform attention."""
    seeing = visible(model, head.layer)

    def constant(scores: torch.Tensor) -> torch.Tensor:
        return torch.where(seeing, 0.0, -torch.inf).to(scores.dtype).expand_as(scores)

    uniform = taps([done(Method.UNIFORM, head)], stand_ins(model), len(IDS))
    no_query = Taps(edits={Site.Q: editing(head, torch.zeros_like)})
    same_scores = Taps(edits={Site.SCORES: editing(head, constant)})
    read = [seen(model, one).z[head.layer][:, head.head] for one in (uniform, no_query)]
    assert_same(tapped(model, no_query), tapped(model, same_scores))
    sink = sinks(model, head)
    if sink is None:
        assert_same(read[0], read[1])
        assert_same(tapped(model, uniform), tapped(model, no_query))
    else:
        n_visible = seeing.sum(-1)[:, None]
        assert_same(read[0] * n_visible / (n_visible + sink.exp()), read[1])
        assert (read[0] - read[1]).abs().max() > 1e-3
    zeroed = logits(model, done(Method.ZERO, head))
    assert (tapped(model, uniform) - zeroed).abs().max() > 1e-4
    assert (tapped(model, no_query) - zeroed).abs().max() > 1e-4


def test_no_score_at_all_is_not_a_number_unless_handled(model):
    """The trap: softmax over -inf alone. A sink is a key that stays, so it alone is spared."""
    hidden = Taps(edits={Site.SCORES: editing(HEADS[0], lambda s: torch.full_like(s, -torch.inf))})
    found = tapped(model, hidden)
    zeroed = logits(model, done(Method.ZERO, HEADS[0]))
    if sinks(model, HEADS[0]) is None:
        assert found.isnan().all()
    else:
        assert_same(found, zeroed)
    masked = done(Method.MASK_KEY, HEADS[0])
    assert (intervened(model, masked).z[0][:, 0] == 0).all()
    assert_same(logits(model, masked), zeroed)


def test_masking_or_zeroing_every_value_is_zero(model, given):
    for head in HEADS:
        zeroed = logits(model, done(Method.ZERO, head))
        for method in (Method.ZERO_VALUE, Method.MASK_KEY):
            everywhere = done(method, head, positions=range(N_POS))
            assert_same(logits(model, done(method, head)), zeroed)
            assert torch.equal(logits(model, done(method, head)), logits(model, everywhere))
    means = logits(model, done(Method.MEAN_VALUE, HEADS[0]), given=given)
    assert (means - logits(model, done(Method.ZERO, HEADS[0]))).abs().max() > 1e-4


def later_changed() -> tuple[torch.Tensor, int]:
    """The same sequences with other tokens from a position on."""
    start = 6
    changed = IDS.clone()
    changed[:, start:] = (changed[:, start:] + 7) % 90 + 2
    return changed, start


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("method", Method)
def test_no_method_sees_the_future(model, given, method, positions):
    changed, start = later_changed()
    one = done(method, *HEADS, positions=positions)
    before, after = (logits(model, one, given=given, ids=ids) for ids in (IDS, changed))
    assert_same(after[:, :start], before[:, :start])
    assert (after[:, start:] - before[:, start:]).abs().max() > 1e-3


def test_zero_scores_after_the_mask_do_see_the_future(model):
    """What uniform attention must not be."""
    changed, start = later_changed()
    leaky = Taps(edits={Site.SCORES: editing(HEADS[0], torch.zeros_like)})
    before, after = tapped(model, leaky), tapped(model, leaky, changed)
    assert (after[:, :start] - before[:, :start]).abs().max() > 1e-3


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_values_are_replaced_under_an_unchanged_pattern(model, given, base, head):
    """z'_q = z_q + sum over p of P[q, p] (new_p - v_p), for the head's own copy of the values."""
    layer, h, keys = head.layer, head.head, list(KEYS)
    seen_keys, v = base.pattern[layer][:, h][..., keys], base.v[layer][:, h, keys]
    average = given.means.v[layer][keys, h].to(v.dtype)
    for method, new in ((Method.ZERO_VALUE, 0.0), (Method.MEAN_VALUE, average)):
        found = intervened(model, done(method, head, positions=KEYS), given=given)
        assert torch.equal(found.pattern[layer], base.pattern[layer])
        assert_same(found.z[layer][:, h], base.z[layer][:, h] + seen_keys @ (new - v))


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_masked_keys_get_nothing_and_the_others_their_share(model, base, head):
    """P' = P / (1 - P[masked]), also with a sink, which then keeps its own share."""
    layer, h = head.layer, head.head
    pattern = base.pattern[layer][:, h].clone()
    rest = 1 - pattern[..., list(KEYS)].sum(-1, keepdim=True)
    pattern[..., list(KEYS)] = 0
    left = visible(model, layer).clone()
    left[:, list(KEYS)] = False
    seeing = left.any(-1)[:, None]
    expected = torch.where(seeing, pattern / rest, 0.0)
    found = intervened(model, done(Method.MASK_KEY, head, positions=KEYS))
    masked = found.pattern[layer][:, h]
    assert_same(masked, expected)
    assert (masked[:, 0] == 0).all(), "query 0 saw key 0 alone, and reads nothing now"
    if sinks(model, head) is None:
        assert_same(masked.sum(-1, keepdim=True), seeing.expand(3, -1, -1).to(masked.dtype))
    else:
        assert (masked.sum(-1) < 1).all()


def test_masking_a_key_for_all_heads_is_padding_it(model):
    """The model's own attention mask is the oracle."""
    mask = torch.ones_like(IDS)
    mask[:, 0] = 0
    places = {"position_ids": torch.arange(N_POS).expand_as(IDS)}
    expected = tapped(model, Taps(), attention_mask=mask, **places)[:, 1:]
    masked = taps([done(Method.MASK_KEY, *HEADS, positions=(0,))], stand_ins(model), len(IDS))
    assert_same(tapped(model, masked, **places)[:, 1:], expected)
    assert (tapped(model, Taps(), **places)[:, 1:] - expected).abs().max() > 1e-3


@pytest.mark.parametrize("padded", [slice(0, 2), slice(N_POS - 2, N_POS)], ids=["left", "right"])
def test_padding_stays_invisible(model, padded):
    mask = torch.ones_like(IDS)
    mask[1, padded] = 0
    head = HEADS[1]
    plain = seen(model, Taps(), attention_mask=mask)
    for method in (Method.UNIFORM, Method.MASK_KEY):
        one = taps([done(method, head, positions=KEYS)], stand_ins(model), len(IDS))
        found = seen(model, one, attention_mask=mask)
        assert torch.equal(found.z[0][:, others(head)], plain.z[0][:, others(head)])
        assert (found.pattern[0][1, head.head][KEYS[-1], padded] == 0).all()
    everywhere = taps([done(Method.UNIFORM, head)], stand_ins(model), len(IDS))
    pattern = seen(model, everywhere, attention_mask=mask).pattern[0][:, head.head]
    seeing = (visible(model, 0) & mask[:, None].bool()).to(pattern.dtype)
    assert_same(pattern, seeing / seeing.sum(-1, keepdim=True).clamp(min=1))


@pytest.mark.parametrize("method", [m for m in Method if m.of_queries])
@pytest.mark.parametrize("position", [0, 4, N_POS - 1])
def test_one_query_position_leaves_those_before_it_alone(model, given, method, position):
    """Uniform attention of query 0, which sees itself alone, changes nothing without a sink."""
    pattern_known = method is Method.UNIFORM
    plain = tapped(model, EXPLICIT if pattern_known else Taps())
    found = logits(model, done(method, *HEADS, positions=(position,)), given=given)
    assert_same(found[:, :position], plain[:, :position])
    moved = (found[:, position] - plain[:, position]).abs().max()
    same = pattern_known and position == 0 and sinks(model, HEADS[0]) is None
    assert moved < 1e-12 if same else moved > 1e-3


@pytest.mark.parametrize("method", [m for m in Method if m.at_z])
def test_only_the_z_at_the_positions_is_replaced(model, given, base, method):
    places, head = [3, 5], HEADS[2]
    new = {
        Method.ZERO: torch.zeros(()),
        Method.MEAN: given.means.z[0, :N_POS, head.head],
        Method.RESAMPLE: base.z[0][ORDER, head.head],
    }[method].expand(3, N_POS, 8)
    expected = base.z[0][:, head.head].clone()
    expected[:, places] = new[:, places].to(expected.dtype)
    found = intervened(model, done(method, head, positions=places), given=given)
    assert_near(found.z[0][:, head.head], expected)
