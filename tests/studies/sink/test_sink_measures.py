"""What a sink takes and carries: from patterns made by hand, and a pass written by hand."""

import numpy as np
import pytest
import torch

from analysis.attention import Site, Taps, Where
from analysis.interventions import Condition, Head, Method
from analysis.interventions.averages import Measurement
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.sweep import sweep
from analysis.models.load import hidden_states, load_model, unembed
from analysis.studies.sink.conditions import OWN, Plan, bands, removed
from analysis.studies.sink.data import queries, repeated_and_fresh, two_by_two
from analysis.studies.sink.measures import (
    PLACES,
    attention_to,
    has_earlier_copy,
    massive,
    mean_where,
    over_the_rest,
    places,
    resting_output,
    written_norms,
)
from analysis.studies.sink.moved import moving, other_keys, other_values
from analysis.studies.sink.passes import carried, resting_outputs, scores_under, stream_sizes
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


def test_norms_written_are_those_of_the_output():
    W_O = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(0))
    z = torch.randn(1, 1, 5, 4, generator=torch.Generator().manual_seed(1))
    written = torch.einsum("bhpd,hdm->bhpm", z, W_O).norm(dim=-1)
    torch.testing.assert_close(written_norms(z, W_O), written)


def test_a_head_that_writes_nothing_at_rest_scores_0_and_one_that_never_writes_is_undefined():
    written = torch.tensor([[[0.0, 0.0, 3.0, 5.0], [2.0, 4.0, 3.0, 3.0], [1.0, 1.0, 0.0, 0.0]]])
    resting = torch.tensor([[True, True, False, False]])
    found = resting_output(written, resting, ~resting)[0]
    assert found[:2].tolist() == [0, 1]
    assert found[2].isnan()


def test_massive_is_beyond_both_published_bars():
    largest = torch.tensor([150.0, 90.0, 150.0, 3000.0])
    median = torch.tensor([0.1, 0.01, 0.2, 1.0])
    found = massive(largest, median)
    torch.testing.assert_close(found, torch.tensor([1.5, 0.9, 0.75, 3.0]))


def test_norms_of_values_and_of_the_stream_are_those_of_a_forward_pass_by_hand(saved):
    model = load_model(str(saved("llama")))
    ids = np.random.default_rng(0).integers(2, 100, (3, 9)).astype(np.int32)
    state = {name: t.double().numpy() for name, t in model.net.state_dict().items()}
    sizes = Rotary(n_layers=2, n_heads=4, n_kv_heads=2, theta=10_000.0, eps=1e-6)
    expected = llama(state, ids, sizes)
    found = stream_sizes(model, ids, (3, 5))
    for layer in range(N_LAYERS):
        stream = expected.resid[layer]
        norms = np.linalg.norm(stream, axis=-1)
        np.testing.assert_allclose(found["residual_norm"][:, layer], norms, rtol=1e-4)
        by_hand = norms[:, 0] / norms[:, 1:].mean(-1)
        np.testing.assert_allclose(found["residual_norm_ratio"][:, layer], by_hand, rtol=1e-4)
        largest = np.abs(stream).max(-1)
        over = largest[:, 0] / np.median(np.abs(stream).reshape(3, -1), axis=-1)
        np.testing.assert_allclose(found["largest_activation"][:, layer], largest[:, 0], rtol=1e-4)
        np.testing.assert_allclose(found["largest_over_median"][:, layer], over, rtol=0.05)
    found = carried(model, ids, (3, 5), plain=True)
    resting = torch.zeros(3, 9, dtype=torch.bool)
    resting[:, 2:4] = True
    outputs = resting_outputs(model, ids, resting, ~resting)
    for layer in range(N_LAYERS):
        pattern, z = expected.pattern[layer], expected.z[layer]
        w_o = state[f"model.layers.{layer}.self_attn.o_proj.weight"].T.reshape(4, 8, 32)
        v = np.linalg.solve(pattern, z)
        mass = pattern[..., 1:, 0].mean(-1)
        writes = np.linalg.norm(np.einsum("bhkd,hdm->bhkm", v, w_o), axis=-1)
        norms = np.linalg.norm(v, axis=-1)
        at_3 = norms[..., 3] / norms[..., [1, 2, 4, 5, 6, 7, 8]].mean(-1)
        at_5 = norms[..., 5] / norms[..., [1, 2, 3, 4, 6, 7, 8]].mean(-1)
        written = np.linalg.norm(np.einsum("bhqd,hdm->bhqm", z, w_o), axis=-1)
        for name, by_hand in {
            "carried_norm": mass * writes[..., 0],
            "carried_norm_elsewhere": mass * writes[..., [3, 5]].mean(-1),
            "value_norm_ratio": norms[..., 0] / norms[..., 1:].mean(-1),
            "value_norm_ratio_elsewhere": (at_3 + at_5) / 2,
        }.items():
            np.testing.assert_allclose(found[name][:, layer], by_hand, rtol=1e-3)
        rest = written[..., 2:4].mean(-1) / written[..., [0, 1, 4, 5, 6, 7, 8]].mean(-1)
        np.testing.assert_allclose(outputs[:, layer], rest, rtol=1e-4)


def test_a_norm_over_the_rest_leaves_out_itself_and_position_0():
    norms = torch.tensor([[[100.0, 2.0, 4.0, 6.0], [5.0, 0.0, 0.0, 0.0]]])
    assert over_the_rest(norms, 0)[0, 0].item() == pytest.approx(25)
    assert over_the_rest(norms, 3)[0, 0].item() == pytest.approx(2)
    assert over_the_rest(norms, 0)[0, 1].isnan()


def test_every_query_gives_its_attention_to_another_key_that_it_sees():
    keys = other_keys((50, 7), (0, 1))
    assert (keys[:, 0] == 0).all()
    for query in range(1, 7):
        assert set(keys[:, query]) == set(range(1, query + 1))
    assert not np.array_equal(keys, other_keys((50, 7), (0, 2)))


def test_attention_to_position_0_moves_as_a_whole_and_nothing_else_does():
    pattern = random_pattern()
    keys = torch.from_numpy(other_keys((2, 7), (0, 0)))
    edit = moving([Head(1, 0), Head(1, 2)], keys)
    assert torch.equal(edit(Where(0, slice(0, 2)), pattern), pattern)
    before = pattern.clone()
    moved = edit(Where(1, slice(0, 2)), pattern)
    assert torch.equal(pattern, before)
    assert torch.equal(moved[:, 1], pattern[:, 1])
    for row, head, query in np.ndindex(2, 2, 7):
        expected = pattern[row, 2 * head, query].clone()
        if query:
            expected[keys[row, query]] += expected[0].clone()
            expected[0] = 0
        torch.testing.assert_close(moved[row, 2 * head, query], expected)


def test_effects_of_other_values_are_those_of_the_moved_patterns(saved):
    model = load_model(str(saved("llama")))
    ids = np.random.default_rng(0).integers(2, 100, (3, 9)).astype(np.int32)
    every = tuple(Head(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS))
    plan = Plan(top=every[2:4], every=every, elsewhere=(3,), n_draws=2, seed=0)
    conditions = [c for c in plan.other_values() if c.family == "top_other_value"]
    whole = {"all": np.ones(ids.shape, dtype=bool)}
    measured = Measurement(scopes=whole, metrics=Metrics.LEAN, max_rows=2)
    found = other_values(model, ids, conditions, measured, 7, silent)
    tokens = torch.from_numpy(ids.astype(np.int64))
    with torch.inference_mode():
        base = unembed(model, hidden_states(model, tokens, Taps())).double().log_softmax(-1)
        for draw in range(2):
            edit = moving(plan.top, torch.from_numpy(other_keys(ids.shape, (7, draw))))
            changed = hidden_states(model, tokens, Taps(edits={Site.PATTERN: edit}))
            other = unembed(model, changed).double().log_softmax(-1)
            kl = (base.exp() * (base - other)).sum(-1)
            values = found.values["kl_base_ablated"][draw]
            after, at = (values[found.scopes.index(scope)] for scope in ("after", "at"))
            np.testing.assert_allclose(after, kl[:, 1:].mean(-1), rtol=1e-3)
            np.testing.assert_allclose(at, 0, atol=1e-6)
            assert (after > 1e-4).all()


def test_parts_of_sequences_cover_all_but_position_0_once():
    for n_pos in (2, 16, 17, 64, 128):
        masks = np.stack(list(bands((3, n_pos)).values()))
        assert (masks.sum(0) == (np.arange(n_pos) > 0)).all()
    assert list(bands((1, 128))) == ["1-15", "16-63", "64-127"]


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
