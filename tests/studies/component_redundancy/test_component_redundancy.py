"""Redundancy of components: every number against plain passes, controls, and claims."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from analysis.attention import Taps
from analysis.components import ablation
from analysis.components.ablation import Mode
from analysis.components.adversary import Ascent
from analysis.components.decomposed import logits, masked, reading
from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Method, taps
from analysis.interventions.passes import endings
from analysis.models.load import hidden_states
from analysis.questions.asked import Asked
from analysis.studies.component_redundancy import question as redundancy
from analysis.studies.component_redundancy import views
from analysis.studies.component_redundancy.choice import (
    LARGEST,
    MATCHED,
    OUTSIDE,
    PairChoice,
    matched_pairs,
)
from analysis.studies.component_redundancy.claims import by_sequence
from analysis.studies.component_redundancy.question import (
    EFFECT,
    EFFECT_ERROR,
    HARM,
    ComponentRedundancy,
)
from analysis.studies.component_redundancy.study import ComponentRedundancyStudy
from analysis.studies.redundancy.claims import log_ratios
from tests.components.ablated_components import saved_beside
from tests.components.decomposed_models import N
from tests.interventions.intervened import done, seen

LAYER, HEAD = 0, 2
PAIR = "h.0.attn.q_proj:3,h.0.attn.k_proj:5"
IDLE = f"h.0.attn.q_proj:{N - 1},h.0.attn.k_proj:{N - 1}"
"""Components that write nothing."""


class Answer(dict):
    """Frames by table and one run."""

    runs = ("r",)


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def run(worded, tmp_path_factory):
    return saved_beside(worded, tmp_path_factory.mktemp("decomposed") / "worded")


@pytest.fixture(scope="module")
def question(run) -> ComponentRedundancy:
    return ComponentRedundancy(
        model=str(run),
        decomposition=str(run / "decomposition"),
        seed=3,
        text="reference",
        bos=True,
        n_sequences=8,
        n_tokens=12,
        n_measured=8,
        head=f"L{LAYER}H{HEAD}",
        components=PAIR,
        mode="deterministic",
        n_draws=1,
        within=None,
        method="zero_value",
        max_lag=3,
    )


def asked(question, mode: Mode, **changes) -> ComponentRedundancy:
    n_draws = 1 if mode in {Mode.DETERMINISTIC, Mode.ADVERSARIAL} else 3
    return replace(question, mode=mode.value, n_draws=n_draws, **changes)


def number(rows: pl.DataFrame, layer: int | None = None, **where) -> float:
    here = pl.col("layer").eq_missing(pl.lit(layer, pl.Int16))
    return rows.filter(pl.col("sequence").is_null(), here, **where)["value"].item()


def plain(question: ComponentRedundancy, lag: int, scope: str):
    """Every condition as whole passes, draw by draw: attention outputs at t, and probabilities."""
    made, _ = question.made
    heads = [Head(LAYER, h) for h in range(4)] if scope == "all" else [Head(LAYER, HEAD)]
    found = {}
    for t, rows in question.groups():
        if t < lag:
            continue
        arms = question.ablation_at(t, rows, question.within).arms(Mode(question.mode))
        ids = question.opened(made.model, t, rows)
        unread = done(Method.ZERO_VALUE, *heads, positions=(t - lag,))
        for name, draws, what in (
            ("base", arms.base, ()),
            ("A", arms.ablated, ()),
            ("B", arms.base, (unread,)),
            ("A+B", arms.ablated, (unread,)),
        ):
            outputs, p = [], []
            for masks in draws:
                tapping = taps(what, NOTHING, len(rows))
                with torch.no_grad(), masked(made, masks):
                    outputs.append(torch.stack(seen(made.model, tapping, ids).attn_out)[:, :, -1])
                with torch.no_grad():
                    p.append(logits(made, ids, masks, tapping)[:, -1].softmax(-1))
            found.setdefault(name, []).append((torch.stack(outputs), torch.stack(p)))
    return {
        name: (torch.cat([x for x, _ in each], 2), torch.cat([p for _, p in each], 1).double())
        for name, each in found.items()
    }


def divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p.log() - q.log())).sum(-1)


@pytest.mark.parametrize(
    ("mode", "within", "scope", "lag"),
    [
        (Mode.DETERMINISTIC, None, "all", 1),
        (Mode.DETERMINISTIC, "L0H2", "specific", 3),
        (Mode.STOCHASTIC, None, "specific", 1),
        (Mode.STOCHASTIC, "L0H2", "all", 2),
        (Mode.STOCHASTIC_CI, None, "all", 2),
    ],
)
def test_every_number_is_that_of_plain_passes(question, mode, within, scope, lag):
    """Outputs are compared draw by draw; of predictions, probabilities are averaged before."""
    one = asked(question, mode, within=within)
    rows, passes = one.run(silent)["comparisons"], plain(one, lag, scope)
    assert rows.select("head", "components", "mode").unique().rows() == [(within, PAIR, mode.value)]
    for reference, name in (("base", "B"), ("base", "A+B"), ("A", "A+B")):
        where = {"lag": lag, "reference": reference, "condition": f"{name}({scope})"}
        (x, p), (y, q) = passes[reference], passes[name]
        for layer in range(2):
            a, b = x[:, layer].double(), y[:, layer].double()
            expected = {
                "nip": (a * b).sum(-1) / a.norm(dim=-1) ** 2,
                "cosine": (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1),
                "distance2": (a - b).norm(dim=-1) ** 2,
            }
            for metric, values in expected.items():
                found = number(rows, layer, **where, metric=metric)
                assert found == pytest.approx(float(values.mean()), abs=1e-4, rel=1e-3)
        expected = float(divergence(p.mean(0), q.mean(0)).mean())
        assert number(rows, **where, metric="kl") == pytest.approx(expected, abs=1e-5, rel=2e-3)
    p = {name: each.mean(0) for name, (_, each) in passes.items()}
    ratios = divergence(p["base"], p["B"]) / divergence(p["A"], p["A+B"])
    where = {"lag": lag, "condition": f"A+B({scope})", "metric": "log_ratio"}
    assert number(rows, **where) == pytest.approx(np.median(ratios.log()), abs=0.02)
    judged = log_ratios(Answer(comparisons=rows))
    assert list(judged) == [1, 2, 3], "what claims are about is kept of every sequence"
    index = {"lag": lag, "condition": f"A+B({scope})", "metric": "redundancy_pooled"}
    left, whole = (
        (passes[i][0] - passes[j][0])[:, LAYER].square().sum(-1).sum()
        for i, j in (("A", "A+B"), ("base", "B"))
    )
    assert number(rows, LAYER, **index) == pytest.approx(float(1 - left / whole), abs=1e-3)


@pytest.mark.parametrize("mode", [Mode.STOCHASTIC, Mode.STOCHASTIC_APART])
def test_the_effect_is_a_mean_over_draws_with_its_error(question, mode):
    one = asked(question, mode)
    rows, passes = one.run(silent)["comparisons"], plain(one, 1, "all")
    made, _ = one.made
    with torch.no_grad():
        last = [logits(made, one.opened(made.model, t, at), {})[:, -1] for t, at in one.groups()]
    target = torch.cat(last).double().softmax(-1)
    top = target.argmax(-1)[None, :, None].expand(3, -1, 1)
    change = (passes["A"][1] - passes["base"][1]).gather(-1, top)[..., 0]
    where = {"reference": "base", "condition": "A"}
    found = number(rows, **where, metric=EFFECT)
    assert found == pytest.approx(float(change.mean()), abs=1e-6)
    error = number(rows, **where, metric=EFFECT_ERROR)
    assert error == pytest.approx(float((change.var(0) / 3).sqrt().mean()), rel=1e-3)
    errors = by_sequence(Answer(comparisons=rows), EFFECT_ERROR)
    assert len(errors) == len(one.tokens.ids)
    assert errors.mean() == pytest.approx(error)
    means = {name: passes[name][1].mean(0) for name in ("base", "A")}
    far = [divergence(target, means[name]) for name in means]
    harm = float(np.median(far[1] - far[0]))
    assert number(rows, **where, metric=HARM) == pytest.approx(harm, abs=1e-4)


@pytest.mark.parametrize("mode", list(Mode))
def test_components_that_write_nothing_change_nothing(question, mode, monkeypatch):
    """The control that must fail: R is 0, and no harm is done; draws apart differ all the same."""
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=3, step=0.1))
    rows = asked(question, mode, components=IDLE, n_measured=4).run(silent)["comparisons"]
    where = {"reference": "base", "condition": "A"}
    moved = number(rows, LAYER, **where, metric="distance2")
    if mode is Mode.STOCHASTIC_APART:
        assert moved > 1e-2
        return
    assert moved < 1e-8
    assert abs(number(rows, **where, metric=EFFECT)) < 1e-6
    assert abs(number(rows, **where, metric=HARM)) < 1e-5
    pooled = rows.filter(metric="redundancy_pooled", layer=LAYER)["value"].to_numpy()
    np.testing.assert_allclose(pooled, 0, atol=1e-3)
    ratios = rows.filter(metric="log_ratio")["value"].to_numpy()
    assert ratios.size
    np.testing.assert_allclose(ratios, 0, atol=1e-3)


def test_an_adversary_is_another_condition_and_its_way_is_kept(question, monkeypatch):
    monkeypatch.setattr(ablation, "ASCENT", Ascent(n_steps=12, step=0.05))
    harmed = asked(question, Mode.ADVERSARIAL, n_measured=4).run(silent)
    steps = harmed["adversary_steps"]
    assert set(steps["arm"]) == {"base", "ablated"}
    for _, rows in steps.group_by("arm"):
        ordered = rows.sort("step")["value"]
        assert len(ordered) == 13
        assert ordered[-1] > ordered[0]
    plainly = asked(question, Mode.DETERMINISTIC, n_measured=4).run(silent)["comparisons"]
    where = {"reference": "target", "condition": "base", "metric": "kl"}
    assert number(plainly, **where) < 1e-9
    assert number(harmed["comparisons"], **where) > 1e-2
    drawn = views.trajectories(steps)
    assert set(drawn["role"]) == {"nothing ablated", "components ablated"}


def test_fewer_measured_sequences_are_the_first_ones(question):
    fewer = replace(question, n_measured=3)
    assert fewer.tokens.ids.tolist() == question.tokens.ids[:3].tolist()
    assert fewer.positions.tolist() == question.positions[:3].tolist()


def test_cut_from_one_head_differs_from_cut_in_full(question):
    full, within = (replace(question, within=w).run(silent)["comparisons"] for w in (None, "L0H1"))
    where = {"reference": "base", "condition": "A", "metric": "distance2"}
    assert number(within, LAYER, **where) != pytest.approx(number(full, LAYER, **where), rel=1e-2)
    with pytest.raises(UserError, match="expected whole components"):
        asked(question, Mode.STOCHASTIC_CI, within="L0H1").run(silent)


@pytest.fixture(scope="module")
def choice(question) -> PairChoice:
    kept = ("model", "decomposition", "seed", "text", "bos", "n_sequences", "n_tokens", "head")
    return PairChoice(**{name: getattr(question, name) for name in kept}, n_matched=4)


def test_pairs_are_ranked_by_what_they_add_to_the_score(choice):
    """Against keys turned with their positions, one pair and token at a time."""
    rows = choice.run(silent)["component_pairs"]
    made, _ = choice.loaded()
    ids = torch.from_numpy(choice.reference.ids).long()
    d_head, (query, key) = made.model.card.d_head, choice.layers
    q, k = made.components[query], made.components[key]
    with torch.no_grad(), reading(made.model, choice.layers) as inputs:
        hidden_states(made.model, ids, Taps())
        a_q, a_k = (p.activations(inputs[n]).double().numpy() for p, n in ((q, query), (k, key)))

    def turned(vector: np.ndarray, position: int) -> np.ndarray:
        half = d_head // 2
        angle = position * 10000.0 ** (-np.arange(half) / half)
        pairs = (vector[:half] + 1j * vector[half:]) * np.exp(1j * angle)
        return np.concatenate([pairs.real, pairs.imag])

    added = np.zeros((N, N))
    for i, j in np.ndindex(N, N):
        u = q.U[i].detach().double().numpy()[HEAD * d_head :][:d_head]
        w = k.U[j].detach().double().numpy()[HEAD // 2 * d_head :][:d_head]
        scores = [
            a_q[b, t, i] * a_k[b, t - 1, j] * turned(u, t) @ turned(w, t - 1) / d_head**0.5
            for b, t in np.ndindex(*ids.shape)
            if t
        ]
        added[i, j] = np.mean(scores)
    here = rows.filter(measure=LARGEST, text=choice.reference.text)
    order = np.argsort(-added, axis=None)[: here.height]
    found = here.select("first_component", "second_component").rows()
    assert found == [tuple(map(int, np.unravel_index(place, (N, N)))) for place in order]
    np.testing.assert_allclose(
        here["value"], np.sort(-added, axis=None)[: len(found)] * -1, atol=1e-4
    )
    best, answer = found[0], Answer(component_pairs=rows)
    assert choice.chosen(answer) == f"{query}:{best[0]},{key}:{best[1]}"
    assert len(choice.matched(answer)) == rows.filter(measure=MATCHED).height / 2 == 4
    outside = rows.filter(measure=OUTSIDE)
    assert len(choice.outside(answer)) == outside.height / 2
    kept = rows.filter(measure=LARGEST)
    for part in ("first_component", "second_component"):
        assert not set(outside[part]) & set(kept[part]), "none is of a pair that adds most"
    beside = views.pair_rows(rows, choice.reference.text)
    assert beside.select("query", "key").rows() == found
    assert (beside["elsewhere"] != beside["chosen_on"]).all()


def test_matched_pairs_are_the_nearest_in_norm():
    norms = torch.tensor([1.0, 5.0, 1.2, 0.7, 9.0]), torch.tensor([3.0, 2.0, 2.5, 40.0])

    def pairs(count: int, *without: tuple[int, int]) -> list[tuple[int, int]]:
        return matched_pairs((0, 2), norms, without=[(0, 2), *without], count=count, seed=0)

    assert {i for i, _ in pairs(2)} == {2, 3}
    assert {j for _, j in pairs(2)} == {0, 1}
    assert pairs(2) == pairs(2)
    assert len(pairs(9)) == 3
    beyond = pairs(2, (2, 0))
    assert {i for i, _ in beyond} == {3, 1}
    assert {j for _, j in beyond} == {1, 3}
    assert pairs(2, (1, 0), (2, 1), (3, 3), (4, 3)) == [], "nothing is left outside"


def test_a_pairs_index_in_the_attention_output_is_no_number_of_one_pass(question):
    """It is 0 for components that write nothing: unlike a zeroed head's, it could be anything."""
    where = {"lag": 1, "condition": "A+B(all)", "metric": "redundancy"}
    pair, idle = (
        number(replace(question, components=each).run(silent)["comparisons"], LAYER, **where)
        for each in (PAIR, IDLE)
    )
    assert abs(idle) < 1e-6
    assert abs(pair) > 1e-3


def test_a_model_without_a_decomposition_is_not_asked(worded, run):
    assert ComponentRedundancyStudy.of(Asked(model=str(worded))) is None
    found = ComponentRedundancyStudy.of(Asked(model=str(run)))
    head = Head(LAYER, HEAD)
    experiments = [
        found.pair_choice(head),
        found.redundancy(head, PAIR, Mode.STOCHASTIC, head),
        found.offsets(head, PAIR, Mode.ADVERSARIAL),
        found.predictions(head, PAIR, Mode.DETERMINISTIC),
    ]
    for one in experiments:
        assert one.question()["model"]["transform"]["decomposition"] == one.weights
        assert "decomposition" not in one.question()["parameters"]
    assert len({str(one.question()) for one in experiments}) == 4


def test_what_is_read_without_masks_is_read_once_for_all_who_ask_the_same(question, monkeypatch):
    ended: list[bool] = []
    plain = ComponentRedundancy._ended

    def counted(self, ablation, draws, start):
        ended.append(any(draws))
        return plain(self, ablation, draws, start)

    def run_anew(other: ComponentRedundancy) -> tuple[dict[str, pl.DataFrame], int]:
        ended.clear()
        return other.run(silent), ended.count(False)

    monkeypatch.setattr(ComponentRedundancy, "_ended", counted)
    redundancy._unmasked.cache_clear()
    n_groups = len(list(question.groups()))
    assert run_anew(question)[1] == n_groups
    same = replace(question, components=IDLE)
    shared, n_read = run_anew(same)
    assert n_read == 0
    redundancy._unmasked.cache_clear()
    alone, n_read = run_anew(same)
    assert n_read == n_groups
    for table, rows in alone.items():
        assert_frame_equal(shared[table], rows)
    for change in ({"method": "mask_key"}, {"head": "L0H1"}, {"max_lag": 2}, {"seed": 4}):
        assert run_anew(replace(question, **change))[1] >= n_groups - 1, change
    monkeypatch.setattr(redundancy, "MOST_KEPT", 0)
    for _ in range(2):
        assert run_anew(replace(question, seed=5))[1] > 0, "too large to be kept"
    assert replace(question, components=IDLE).together == question.together is not None
    assert asked(question, Mode.STOCHASTIC).together is None


def test_a_run_that_begins_under_masks_is_that_of_any_other(question):
    """What a model can do is measured once, and was measured under masks where they came first."""
    one = asked(question, Mode.STOCHASTIC)
    expected = one.run(silent)["comparisons"]
    endings._CONTINUES.clear()
    assert_frame_equal(one.run(silent)["comparisons"], expected)
    assert endings._CONTINUES[one.made[0].model.net]
