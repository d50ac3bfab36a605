"""What is edited changes, and nothing else does; in float64, on every architecture."""

from copy import deepcopy

import pytest
import torch

from analysis import attention
from analysis.attention import Site, Taps, Where
from analysis.models.load import hidden_states, load_model

from .architectures import SUPPORTED, VOCAB

IDS = torch.randint(2, VOCAB, (3, 9), generator=torch.Generator().manual_seed(1))
N_LAYERS, N_HEADS = 2, 4
HEADS = [(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
EXPLICIT = Taps(watch=lambda _where, _pattern: None)


@pytest.fixture(scope="module", params=SUPPORTED)
def model(request, saved):
    """A loaded model in float64; the experts of GPT-OSS cannot have that."""
    found = deepcopy(load_model(str(saved(request.param))))
    if request.param != "gpt_oss":
        found.net.double()
    return found


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to the precision of the type."""
    tolerance = 1e-5 if expected.dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


def logits(model, taps: Taps) -> torch.Tensor:
    with torch.no_grad():
        return model.net(IDS, use_cache=False, taps=taps).logits


def zeroing(layer: int, head: int):
    """An edit that makes one head's slice of a site zero."""

    def edit(where: Where, tensor: torch.Tensor) -> torch.Tensor:
        if where.layer != layer:
            return tensor
        zeroed = tensor.clone()
        zeroed[:, head] = 0
        return zeroed

    return edit


def observed(model, edits) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """`z` and `attn_out` of every layer under some edits of other sites or of z."""
    z: dict[int, torch.Tensor] = {}
    out: dict[int, torch.Tensor] = {}

    def keep(where: Where, tensor: torch.Tensor) -> torch.Tensor:
        z[where.layer] = edits[Site.Z](where, tensor) if Site.Z in edits else tensor
        return z[where.layer]

    def hook(layer: int):
        return lambda _module, _args, output: out.__setitem__(layer, output[0])

    handles = [m.register_forward_hook(hook(i)) for i, m in enumerate(model.attentions)]
    try:
        logits(model, Taps(edits={**edits, Site.Z: keep}, watch=EXPLICIT.watch))
    finally:
        for handle in handles:
            handle.remove()
    return [z[i] for i in range(N_LAYERS)], [out[i] for i in range(N_LAYERS)]


def written(model, layer: int, z: torch.Tensor) -> torch.Tensor:
    """What each head adds to the residual stream (batch, head, pos, d_model)."""
    return torch.einsum("bhpd,hdm->bhpm", z, model.W_O(layer))


def test_attn_out_is_the_sum_over_heads_and_the_bias(model):
    zs, outs = observed(model, {})
    for layer, (z, attn_out) in enumerate(zip(zs, outs, strict=True)):
        total = written(model, layer, z).sum(1) + model.b_O(layer)
        assert_same(total, attn_out)
        assert attn_out.abs().max() > 0.01


@pytest.mark.parametrize(("layer", "head"), HEADS)
def test_zeroing_a_head_removes_exactly_its_contribution(model, layer, head):
    zs, before = observed(model, {})
    _, after = observed(model, {Site.Z: zeroing(layer, head)})
    contribution = written(model, layer, zs[layer])[:, head]
    assert contribution.abs().max() > 1e-3
    assert_same(after[layer], before[layer] - contribution)
    for earlier in range(layer):
        assert torch.equal(after[earlier], before[earlier])


@pytest.mark.parametrize("site", [Site.Q, Site.K, Site.V, Site.SCORES, Site.PATTERN, Site.Z])
def test_every_head_index_has_its_own_effect(model, site):
    """A head index that is silently ignored gives the same logits twice."""
    found = [
        logits(model, Taps()),
        *(logits(model, Taps(edits={site: zeroing(*h)})) for h in HEADS),
    ]
    gaps = [(a - b).abs().max() for i, a in enumerate(found) for b in found[:i]]
    assert min(gaps) > 1e-5


@pytest.mark.parametrize("site", [Site.Q, Site.K, Site.V, Site.SCORES, Site.PATTERN])
@pytest.mark.parametrize("head", range(N_HEADS))
def test_editing_a_query_head_touches_that_head_only(model, site, head):
    before, _ = observed(model, {})
    after, _ = observed(model, {site: zeroing(0, head)})
    touched = (after[0] != before[0]).flatten(2).any(-1)
    expected = torch.zeros(3, N_HEADS, dtype=torch.bool)
    expected[:, head] = True
    assert torch.equal(touched, expected)
    if site in {Site.V, Site.PATTERN}:
        assert (after[0][:, head] == 0).all()


def test_the_fast_path_equals_the_explicit_one_to_the_precision_of_the_type(model):
    assert_same(logits(model, Taps()), logits(model, EXPLICIT))


@pytest.mark.parametrize("site", Site)
def test_editing_nothing_changes_nothing_bit_for_bit(model, site):
    explicit = site in {Site.SCORES, Site.PATTERN}
    unedited = EXPLICIT if explicit else Taps()
    shapes: set[torch.Size] = set()

    def same(_where: Where, tensor: torch.Tensor) -> torch.Tensor:
        shapes.add(tensor.shape)
        return tensor

    assert torch.equal(logits(model, Taps(edits={site: same})), logits(model, unedited))
    square = (3, N_HEADS, 9, 9 if explicit else 8)
    assert shapes == {torch.Size(square)}


def test_an_edited_pattern_is_what_the_head_reads_with(model):
    """Attention to the query itself alone makes z equal to v."""
    values: dict[int, torch.Tensor] = {}

    def keep(where: Where, v: torch.Tensor) -> torch.Tensor:
        values[where.layer] = v
        return v

    def itself(_where: Where, pattern: torch.Tensor) -> torch.Tensor:
        return torch.eye(9, dtype=pattern.dtype).expand_as(pattern)

    zs, _ = observed(model, {Site.V: keep, Site.PATTERN: itself})
    for layer, z in enumerate(zs):
        assert_same(z, values[layer])


def test_an_edit_after_another_is_watched(model):
    """The watcher sees what the head used, after all edits."""
    seen: list[torch.Tensor] = []
    edits = {Site.PATTERN: zeroing(1, 2)}
    logits(model, Taps(edits=edits, watch=lambda _where, pattern: seen.append(pattern)))
    assert (seen[1][:, 2] == 0).all()
    assert (seen[1][:, [0, 1, 3]].sum((-1, -2)) > 0).all()
    assert (seen[0].sum((-1, -2)) > 0).all()


def test_edits_of_rows_in_chunks_land_on_those_rows(model, monkeypatch):
    def on_row_one(where: Where, pattern: torch.Tensor) -> torch.Tensor:
        edited = pattern.clone()
        edited[[row == 1 for row in range(where.rows.start, where.rows.stop)]] = 0
        return edited

    edits = {Site.PATTERN: on_row_one}
    whole = observed(model, edits)[0]
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", 1)
    for z, expected in zip(observed(model, edits)[0], whole, strict=True):
        assert_same(z, expected)
        assert (z[1] == 0).all()
        assert (z[[0, 2]].abs().sum((1, 2, 3)) > 0).all()


class TapError(Exception):
    pass


def boom(*_args):
    raise TapError


@pytest.mark.parametrize("taps", [Taps(watch=boom), Taps(edits={Site.Z: boom})])
@pytest.mark.parametrize("run", [logits, lambda m, t: hidden_states(m, IDS, t)])
def test_nothing_stays_after_an_exception(model, taps, run):
    before = logits(model, Taps())
    with pytest.raises(TapError):
        run(model, taps)
    assert torch.equal(logits(model, Taps()), before)
    for module in model.net.modules():
        assert not module._forward_pre_hooks
    assert hidden_states(model, IDS, Taps()).shape == (3, 9, 32)


def test_calls_do_not_leak_into_each_other(model):
    plain = logits(model, EXPLICIT)
    edited = Taps(edits={Site.Z: zeroing(0, 1)})
    alone = logits(model, edited)
    inner: list[torch.Tensor] = []
    seen: list[int] = []

    def nested(where: Where, _pattern: torch.Tensor) -> None:
        seen.append(where.layer)
        inner.append(logits(model, edited))

    assert torch.equal(logits(model, Taps(watch=nested)), plain)
    assert seen == [0, 1], "a call inside was watched by the call outside"
    assert all(torch.equal(found, alone) for found in inner)
    assert torch.equal(logits(model, EXPLICIT), plain)


def test_taps_and_inputs_are_never_written_to(model):
    ids, taps = IDS.clone(), Taps(edits={Site.Z: zeroing(1, 1)})
    state = {key: value.clone() for key, value in model.net.state_dict().items()}
    kept: list[torch.Tensor] = []
    copies: list[torch.Tensor] = []

    def watch(_where: Where, pattern: torch.Tensor) -> None:
        kept.append(pattern)
        copies.append(pattern.clone())

    logits(model, Taps(edits=taps.edits, watch=watch))
    assert torch.equal(ids, IDS)
    assert all(torch.equal(a, b) for a, b in zip(kept, copies, strict=True))
    for key, value in model.net.state_dict().items():
        assert torch.equal(value, state[key])


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_copied_model_is_edited_alone(saved, name):
    first = load_model(str(saved(name)))
    second = deepcopy(first)
    before = logits(second, Taps())
    logits(first, Taps(edits={Site.Z: zeroing(0, 0)}))
    assert torch.equal(logits(second, Taps()), before)
