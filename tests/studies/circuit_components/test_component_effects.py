"""Components of the induction circuit: their effects against weights without them, and claims."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from analysis.attention import Taps
from analysis.components import folder
from analysis.components.ablation import parse_parts
from analysis.components.decomposed import Decomposition
from analysis.components.importance import MLP, Layerwise
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.models.load import hidden_states, instrument, load_model, unembed
from analysis.plots.bars import ablation_strip
from analysis.plots.curves import curves
from analysis.questions.asked import Asked, Profile
from analysis.studies.circuit.heads import CircuitHeads
from analysis.studies.circuit_components import views
from analysis.studies.circuit_components.measures import MATCHED, REST, SUM, TOP, condition
from analysis.studies.circuit_components.question import SIZES, SWEPT, ComponentEffects
from analysis.studies.circuit_components.study import CircuitComponentStudy
from store import Store
from tests.components.decomposed_models import N, decomposed, importance_of

from .test_component_effect_claims import Answer, verdicts

PREVIOUS, COPIER = Head(0, 1), Head(1, 2)
BLOCK = 7


def silent(*_: object) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def made(worded, tmp_path_factory) -> tuple[Decomposition, Layerwise, str]:
    """Some components never matter: their importances are negative before the sigmoid."""
    found = decomposed(worded)
    function = importance_of(found, "shared_mlp")
    with torch.no_grad():
        for mlp in function.ci_fns.values():
            assert isinstance(mlp, MLP)
            mlp.layers[-1].b[3:5] = -1e4
    out = tmp_path_factory.mktemp("decomposition")
    folder.save(out, found, function, {"model": found.model.card.model})
    return (*folder.load_decomposition(found.model, out), str(out))


@pytest.fixture(scope="module")
def asked(worded, made) -> ComponentEffects:
    return ComponentEffects(
        model=str(worded),
        decomposition=made[2],
        previous=str(PREVIOUS),
        copiers=(str(COPIER),),
        n_sequences=6,
        block_len=BLOCK,
        n_draws=3,
        seed=1,
    )


@pytest.fixture(scope="module")
def answer(asked, tmp_path_factory):
    """As the store takes it: every frame fits its table."""
    return Store.open(tmp_path_factory.mktemp("store")).recall(asked)


def oracle(made: Decomposition, parts: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Scores and losses of a model from whose weights components are subtracted, by sequence."""
    net = deepcopy(made.model.net)
    for part in parse_parts(parts, made) if parts else ():
        components, c = made.components[part.layer], part.component
        weight = net.get_submodule(part.layer).weight
        with torch.no_grad():
            weight -= torch.outer(components.U[c], components.V[:, c])
    model = instrument(net, made.model.card)
    patterns: dict[int, torch.Tensor] = {}
    tokens = torch.from_numpy(ids).long()
    watch = Taps(watch=lambda where, pattern: patterns.update({where.layer: pattern}))
    with torch.no_grad():
        logits = unembed(model, hidden_states(model, tokens, watch)).double()
    n_pos = ids.shape[1]
    back = [patterns[0][:, :, i, i - 1] for i in range(2, n_pos)]
    copied = [patterns[1][:, :, BLOCK + k, k + 1] for k in range(1, BLOCK)]
    loss = [
        -logits[:, i].log_softmax(-1)[range(len(ids)), tokens[:, i + 1]]
        for i in range(BLOCK + 1, n_pos - 1)
    ]
    return {
        "previous_token": torch.stack(back).double().mean(0).numpy(),
        "induction": torch.stack(copied).double().mean(0).numpy(),
        "loss": torch.stack(loss).mean(0)[:, None].numpy(),
    }


def changes(made: Decomposition, parts: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    base, without = oracle(made, "", ids), oracle(made, parts, ids)
    return {score: without[score] - base[score] for score in base}


def place(weight: str) -> dict:
    """Layer and letter of a weight such as `h.1.attn.q_proj`."""
    _, layer, _, projection = weight.split(".")
    return {"layer": int(layer), "projection": projection[0]}


def of_part(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows of `component_scores` of a component such as `h.1.attn.q_proj:3`."""
    weight, component = name.split(":")
    return rows.filter(**place(weight), component=int(component))


def test_the_halves_share_no_block(asked):
    even, odd = (tokens.ids for tokens in asked.data())
    assert len(even) == len(odd) == 3
    both = np.concatenate([even, odd])[:, 1:]
    assert len({tuple(row[:BLOCK]) for row in both}) == 6
    assert (both[:, :BLOCK] == both[:, BLOCK:]).all()
    assert np.array_equal(asked.repeated.ids[1::2], odd)


@pytest.mark.parametrize("projection", ["q", "k", "v", "o"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_component_does_what_its_absence_from_the_weights_does(
    asked, answer, made, layer, projection
):
    name = f"h.{layer}.attn.{projection}_proj:7"
    rows = of_part(answer["component_scores"], name)
    for score, expected in changes(made[0], name, asked.tested_on.ids).items():
        found = rows.filter(score=f"effect_{score}").sort("head")
        np.testing.assert_allclose(found["value"], expected.mean(0), atol=1e-5)
        assert (found["lower"] <= found["value"]).all()
        assert (found["value"] <= found["upper"]).all()
        assert set(found["n"]) == {3}
        at = 0 if score == "previous_token" else 1
        heads = [None] if score == "loss" else [f"L{at}H{h}" for h in range(4)]
        assert found["head"].to_list() == heads


def test_components_together_are_weights_without_all_of_them(asked, answer, made):
    rows = answer["ablations"].filter(pl.col("size") > 1, pl.col("family") != SUM)
    chosen = rows.filter(pl.col("family").is_in([TOP, REST])).vstack(
        rows.filter(family=MATCHED).head(2)
    )
    for name, parts in chosen.select("condition", "heads").iter_rows():
        expected = changes(made[0], parts, asked.tested_on.ids)
        effects = answer["head_effects"].filter(pl.col("sequence").is_not_null(), condition=name)
        for score, head in (("previous_token", PREVIOUS), ("induction", COPIER)):
            found = effects.filter(score=score, layer=head.layer, head=head.head)
            values = found.sort("sequence")["value"]
            np.testing.assert_allclose(values, expected[score][:, head.head], atol=1e-5)
        losses = answer["ablation_effects"].filter(condition=name).sort("sequence")
        assert set(losses["scope"]) == {"second copy"}
        np.testing.assert_allclose(losses["loss_change"], expected["loss"][:, 0], atol=1e-5)


def test_sums_are_those_of_the_components_alone(answer):
    scores = answer["component_scores"].filter(score="effect_induction", head=str(COPIER))
    for size in SIZES:
        (parts,) = answer["ablations"].filter(condition=condition(SUM, size).name)["heads"]
        alone = [of_part(scores, part)["value"].item() for part in parts.split(",")]
        found = answer["head_effects"].filter(
            pl.col("sequence").is_null(), condition=condition(SUM, size).name, score="induction"
        )
        assert found["value"].item() == pytest.approx(sum(alone), abs=1e-9)


def test_components_are_chosen_on_the_even_blocks(asked, answer, made):
    ranks = answer["component_scores"].filter(score="rank").sort("value")
    assert ranks["value"].to_list() == list(range(1, ranks.height + 1))
    named = [
        f"h.{n}.attn.{p}_proj:{c}"
        for n, p, c in ranks.select("layer", "projection", "component").iter_rows()
    ]
    (top,) = answer["ablations"].filter(condition=condition(TOP, 3).name)["heads"]
    assert top.split(",") == named[:3]
    even = asked.data()[0].ids
    falls = [
        changes(made[0], name, even)["induction"][:, COPIER.head].mean()
        for name in (*named[:3], named[len(named) // 2], named[-1])
    ]
    assert falls == sorted(falls)


def test_only_components_that_matter_are_swept_and_the_rest_is_one_piece(asked, answer, made):
    importance = answer["component_scores"].filter(score="importance")
    assert importance["value"].min() > SWEPT
    assert not set(importance["component"]) & {3, 4}
    rest = answer["ablations"].filter(family=REST)
    assert rest["size"].item() + importance.height == 8 * N
    norms = answer["component_scores"].filter(score="norm")
    for name, parts in made[0].components.items():
        for c, norm in norms.filter(**place(name)).select("component", "value").iter_rows():
            rank_one = torch.outer(parts.U[c], parts.V[:, c])
            assert norm == pytest.approx(rank_one.norm().item(), rel=1e-5)


def test_no_component_reaches_a_head_that_it_cannot_feed(answer):
    scores = answer["component_scores"]
    assert views.leakage(scores) < 1e-6
    assert views.leakage(scores.with_columns(projection=pl.lit("o"))) > 1e-3, "q and k do reach it"
    fed = scores.filter(pl.col("projection").is_in(["q", "k"]), score="effect_induction")
    assert fed["value"].abs().max() > 1e-3


def test_scores_as_they_are(asked, answer, made):
    base = oracle(made[0], "", asked.tested_on.ids)
    for score, head in (("previous_token", PREVIOUS), ("induction", COPIER)):
        rows = answer["head_scores"].filter(pl.col("sequence").is_not_null(), score=score)
        assert set(rows.select("layer", "head").iter_rows()) == {tuple(head)}
        values = rows.sort("sequence")["value"]
        np.testing.assert_allclose(values, base[score][:, head.head], atol=1e-6)


def test_every_set_has_random_ones_beside_it(answer):
    sizes = answer["ablations"].filter(family=MATCHED).group_by("size").len()
    assert set(sizes.iter_rows()) >= {(size, 3) for size in SIZES[:-1]}


def test_concentration_is_told_of_every_head(answer):
    table = views.concentration_table(answer["head_scores"])
    assert table["name"].to_list() == [f"L{layer}H{head}" for layer in (0, 1) for head in range(4)]
    assert (table["the largest"] <= table["the few largest"]).all()
    assert (table["the few largest"] <= 1).all()
    assert (table["as many as equal components"] >= 1).all()


def test_random_weights_support_no_claim_on_the_few(worded, answer):
    found = verdicts(worded, Answer(answer))
    assert found["needed"] != "supported"


def test_charts_and_tables_stand(answer):
    joint = views.joint_rows(answer, str(COPIER))
    assert set(joint["at"]) == set(SIZES)
    assert joint["series"].n_unique() == 3
    assert (joint["lower"] <= joint["value"] + 1e-9).all()
    curves(joint, ("x", "y"), None, "t", "d").to_dict()
    alone = views.single_rows(answer["component_scores"], str(COPIER))
    assert alone["group"].n_unique() == views.N_LISTED
    assert alone.filter(role="the induction head").height == views.N_LISTED
    assert set(alone["name"]) == {f"L1H{head}" for head in range(4)}
    chart = ablation_strip(alone, ("x", "y"), "t", "d").to_dict()
    assert "the induction head" in str(chart)
    table = views.component_table(answer["component_scores"], str(COPIER), str(PREVIOUS))
    assert (
        table["component"].to_list()[: views.N_LISTED]
        == alone["group"].unique(maintain_order=True).to_list()
    )
    assert table.null_count().sum_horizontal().item() == 0


def test_layers_without_components_and_components_without_importance_are_errors(
    asked, made, tmp_path
):
    found, function, _ = made
    some = Decomposition.of(
        found.model, {n: p for n, p in found.components.items() if n == "h.0.attn.q_proj"}
    )
    few = importance_of(some, "shared_mlp")
    with torch.no_grad():
        few.ci_fns["h-0-attn-q_proj"].layers[-1].b.fill_(-1e4)
    folder.save(tmp_path / "few", some, few, {"model": found.model.card.model})
    with pytest.raises(UserError, match="expected components that matter on random blocks"):
        replace(asked, decomposition=str(tmp_path / "few")).run(silent)
    with pytest.raises(UserError, match="expected components of the attention of layers"):
        passes = asked.passes(Decomposition(found.model, {}), asked.tested_on)
        asked.importance(passes, function)


def test_a_request_asks_for_both(worded, made):
    request = Asked(model=str(worded), profile=Profile.QUICK)
    assert CircuitComponentStudy.of(request) is None, "this model has no decomposition of its own"
    heads = CircuitHeads(PREVIOUS, (COPIER, Head(1, 3)))
    both = CircuitComponentStudy(request, made[2])
    effects = both.effects(heads)
    assert effects.copiers == (str(COPIER),)
    assert effects.question()["model"]["transform"] == {"decomposition": effects.weights}
    assert "decomposition" not in effects.question()["parameters"]
    found = Answer(ablations=pl.DataFrame())
    assert both.claims(heads, found).runs() == ["r"]
    assert load_model(str(worded)).card.model == effects.card.model
