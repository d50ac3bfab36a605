"""What a sink takes and carries: from patterns made by hand, and a pass written by hand."""

import numpy as np
import pytest
import torch

from analysis.interventions import Condition, Head, Method
from analysis.interventions.averages import Measurement
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.sweep import sweep
from analysis.models.load import load_model
from analysis.studies.sink.conditions import OWN, removed
from analysis.studies.sink.data import queries, repeated_and_fresh, two_by_two
from analysis.studies.sink.measures import (
    PLACES,
    attention_to,
    carried,
    carried_share,
    has_earlier_copy,
    mean_where,
    over_the_rest,
    places,
    residual_norms,
    scores_under,
    value_norm_ratio,
    written_norms,
)
from analysis.text.pool import Pool
from analysis.text.tokens import Tokens
from tests.models.oracle import Rotary, llama

N_LAYERS, N_HEADS = 2, 4


def silent(*_args) -> None:
    pass


def random_pattern(batch: int = 2, n_heads: int = 3, n_pos: int = 7) -> torch.Tensor:
    scores = torch.randn(batch, n_heads, n_pos, n_pos, generator=torch.Generator().manual_seed(3))
    return scores.masked_fill(~torch.ones(n_pos, n_pos).tril().bool(), -torch.inf).softmax(-1)


def test_a_pattern_made_by_hand_scores_what_it_was_made_for():
    pattern = torch.zeros(1, 2, 6, 6)
    pattern[0, 0, :, 0] = 1  # a perfect sink
    pattern[0, 1] = torch.eye(6)  # looks at itself
    assert attention_to(pattern, 0, 2).tolist() == [[1, 0]]
    assert attention_to(pattern, 3, 3).tolist() == [[0, 0]]
    shares = places(pattern, torch.zeros(1, 6, dtype=torch.bool))
    assert shares["position_0"].tolist() == [[1, 0]]
    assert shares["self"].tolist() == [[0, 1]]


def test_places_are_disjoint_and_cover_all_attention():
    pattern = random_pattern()
    marked = torch.tensor([[1, 1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1]]).bool()
    shares = places(pattern, marked)
    assert tuple(shares) == PLACES
    torch.testing.assert_close(sum(shares.values()), torch.ones(2, 3))
    for name in PLACES:
        expected = torch.zeros(2, 3)
        for q in range(2, 7):
            for k in range(q + 1):
                kind = {0: "position_0", q: "self", q - 1: "previous"}.get(k)
                for row in range(2):
                    marks = "delimiter" if marked[row, k] else "other"
                    expected[row] += ((kind or marks) == name) * pattern[row, :, q, k] / 5
        torch.testing.assert_close(shares[name], expected)


def test_a_mean_over_chosen_queries_is_undefined_without_any():
    column = torch.tensor([[[0.2, 0.4, 0.9]], [[0.1, 0.1, 0.1]]])
    chosen = torch.tensor([[True, False, True], [False, False, False]])
    found = mean_where(column, chosen)
    assert found[0].item() == pytest.approx(0.55)
    assert found[1].isnan().all()


def test_what_is_carried_is_what_was_put_there():
    """A head that reads half of its output from a value of a known size."""
    W_O = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(0))
    v = torch.randn(1, 1, 5, 4, generator=torch.Generator().manual_seed(1))
    v[:, :, 0] *= 0.01
    pattern = random_pattern(1, 1, 5)
    z = pattern @ v
    written = torch.einsum("bhpd,hdm->bhpm", z, W_O).norm(dim=-1)
    torch.testing.assert_close(written_norms(z, W_O), written)
    value = (v @ W_O[0]).norm(dim=-1)
    share, by_attention = carried_share(pattern[..., 0], value, written)
    parts = (pattern[..., 1:, :1] * (v[:, :, :1] @ W_O[0])).norm(dim=-1)
    torch.testing.assert_close(share, parts.mean(-1) / written[..., 1:].mean(-1))
    torch.testing.assert_close(by_attention / share, value[..., 1:].mean(-1) / value[..., 0])
    ratio = v[0, 0, 0].norm() / v[0, 0, 1:].norm(dim=-1).mean()
    torch.testing.assert_close(value_norm_ratio(v)[0, 0], ratio)


def test_a_head_that_reads_position_0_alone_carries_all_from_there():
    v, W_O = torch.randn(1, 1, 5, 4), torch.randn(1, 4, 9)
    column = torch.ones(1, 1, 5)
    value, output = written_norms(v, W_O), written_norms(v[:, :, :1].expand(v.shape), W_O)
    share, _ = carried_share(column, value, output)
    torch.testing.assert_close(share, torch.ones(1, 1))


def test_norms_of_values_and_of_the_stream_are_those_of_a_forward_pass_by_hand(saved):
    model = load_model(str(saved("llama")))
    ids = np.random.default_rng(0).integers(2, 100, (3, 9)).astype(np.int32)
    state = {name: t.double().numpy() for name, t in model.net.state_dict().items()}
    sizes = Rotary(n_layers=2, n_heads=4, n_kv_heads=2, theta=10_000.0, eps=1e-6)
    expected = llama(state, ids, sizes)
    norms = residual_norms(model, ids)
    for layer in range(N_LAYERS):
        by_hand = np.linalg.norm(expected.resid[layer], axis=-1)
        np.testing.assert_allclose(norms[:, layer], by_hand, rtol=1e-4)
    found = carried(model, ids)
    for layer in range(N_LAYERS):
        pattern, z = expected.pattern[layer], expected.z[layer]
        w_o = state[f"model.layers.{layer}.self_attn.o_proj.weight"].T.reshape(4, 8, 32)
        value_0 = z[:, :, 0]  # query 0 reads nothing but the value at position 0
        carried_norm = pattern[..., 1:, 0].mean(-1) * np.linalg.norm(
            np.einsum("bhd,hdm->bhm", value_0, w_o), axis=-1
        )
        np.testing.assert_allclose(found["carried_norm"][:, layer], carried_norm, rtol=1e-4)
        written = np.linalg.norm(np.einsum("bhqd,hdm->bhqm", z, w_o), axis=-1)
        share = carried_norm / written[..., 1:].mean(-1)
        np.testing.assert_allclose(found["carried_share"][:, layer], share, rtol=1e-4)


def test_a_norm_over_the_rest_leaves_out_itself_and_position_0():
    norms = np.array([[[100.0, 2.0, 4.0, 6.0]]])
    assert over_the_rest(norms, 0).item() == pytest.approx(25)
    assert over_the_rest(norms, 3).item() == pytest.approx(2)


def test_the_designs_differ_at_two_positions_only():
    ids = np.arange(1, 21, dtype=np.int32).reshape(2, 10)
    ids[:, 0] = 0
    rows = two_by_two(Tokens(ids, "text", "", True, ""), 4)
    bos = {name: (tokens.ids == 0).tolist() for name, tokens in rows.items()}
    where = {"bos_first": {0}, "word_first": set(), "bos_moved": {4}, "bos_twice": {0, 4}}
    for name, at in where.items():
        assert bos[name] == [[p in at for p in range(9)]] * 2
        assert rows[name].bos == (0 in at)
        kept = [p for p in range(9) if p not in at]
        assert np.array_equal(rows[name].ids[:, kept], ids[:, 1:][:, kept])


def test_queries_are_of_new_tokens_first_and_of_the_asked_kind_second():
    pool = Pool("all", "ids 1 to 8", tuple(range(1, 9)), 8)
    rows = repeated_and_fresh(pool, (0,), (4, 6), 0)
    assert np.array_equal(rows["repeated"].ids[:, :7], rows["fresh"].ids[:, :7])
    for data, tokens in rows.items():
        first, second = queries(tokens.ids, 1, 6)
        for row, ids in enumerate(tokens.ids.tolist()):
            for p, token in enumerate(ids):
                copied = token in ids[:p]
                assert first[row, p] == (0 < p < 7 and not copied)
                assert second[row, p] == (p >= 7 and copied == (data == "repeated"))
        assert has_earlier_copy(torch.tensor([[5, 6, 5, 5]])).tolist() == [[0, 0, 1, 1]]


def test_removing_a_key_spreads_its_attention_in_proportion(saved):
    model = load_model(str(saved("llama")))
    ids = np.random.default_rng(0).integers(2, 100, (3, 9)).astype(np.int32)
    heads = [Head(0, head) for head in range(N_HEADS)]

    def last_query(pattern: torch.Tensor, _rows: slice) -> dict[str, torch.Tensor]:
        return {str(key): pattern[..., -1, key] for key in range(9)}

    base = scores_under(model, ids, (), last_query)
    masked = scores_under(model, ids, removed(Method.MASK_KEY, 0, heads), last_query)
    assert (masked["0"][:, 0] == 0).all()
    for key in map(str, range(1, 9)):
        share = base[key][:, 0] / (1 - base["0"][:, 0])
        np.testing.assert_allclose(masked[key][:, 0], share, atol=1e-5)


@pytest.mark.parametrize("method", [Method.ZERO_VALUE, Method.MASK_KEY])
@pytest.mark.parametrize("position", [0, 4])
def test_a_removed_position_itself_stays_as_it_was(method, position, saved):
    """Only later positions change; without giving z back, the position itself does as well."""
    model = load_model(str(saved("llama")))
    ids = np.random.default_rng(0).integers(2, 100, (3, 9)).astype(np.int32)
    heads = [Head(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
    kept = removed(method, position, heads)
    conditions = [
        Condition(name="kept", family="test", interventions=kept),
        Condition(name="whole", family="test", interventions=kept[:1]),
    ]
    measured = Measurement(scopes={}, metrics=Metrics.LEAN, max_rows=64)
    effects = sweep(model, ids, conditions, OWN, measured, silent)
    at, after = (effects.scopes.index(scope) for scope in ("at", "after"))
    kl = effects.values["kl_base_ablated"]
    assert kl[0, at] == pytest.approx(0, abs=1e-5)
    assert (kl[0, after] > 1e-4).all()
    assert (kl[1, at] > 1e-4).all()
