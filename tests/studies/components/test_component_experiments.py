"""What is stored of components: what they are, pairs of them, and the tokens they fire on."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from analysis.components import folder
from analysis.components.decomposed import Decomposition, weight
from analysis.components.geometry import (
    PROJECTIONS,
    Rotation,
    head_norms,
    head_vectors,
    pair_contributions,
    projections,
)
from analysis.components.harvest import WINDOW, association, harvest
from analysis.studies.components import pair_views
from analysis.studies.components import report as component_report
from analysis.studies.components import views as component_views
from analysis.studies.components.harvest import MIN_MET, ComponentHarvest
from analysis.studies.components.pairs import (
    ADDED,
    ADDED_BY_RANDOM,
    MAX_OFFSET,
    N_PARTNERS,
    N_SHOWN,
    N_STRONGEST,
    OFFSETS,
    pairings,
)
from store.schema import conformed
from tests.components.decomposed_models import N, decomposed, importance_of
from tests.components.decomposition_folders import save

SEED = 3


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def made(worded, tmp_path_factory) -> tuple[Decomposition, str]:
    """A random decomposition of the random model with words, and its folder."""
    random = decomposed(worded)
    function = importance_of(random, "shared_mlp")
    path = save(tmp_path_factory.mktemp("decomposition") / "d", random, function)
    loaded, _ = folder.load_decomposition(random.model, folder.Path(path))
    return loaded, path


@pytest.fixture(scope="module")
def question(worded, made) -> ComponentHarvest:
    return ComponentHarvest(
        model=str(worded),
        decomposition=made[1],
        text="reference",
        bos=True,
        n_sequences=10,
        n_tokens=30,
        seed=SEED,
    )


@pytest.fixture(scope="module")
def answer(question) -> dict[str, pl.DataFrame]:
    return question.run(silent)


@pytest.fixture(scope="module")
def found(question):
    """The same pass over the text."""
    made, function = question.loaded()
    paired = pairings(made)
    return harvest(made, function, question.tokens.ids, paired, seed=SEED, report=silent)


def test_answers_fit_the_store_and_say_whose_they_are(question, answer, made):
    assert set(answer) == {
        *("components", "component_scores", "component_pairs", "component_tokens"),
        "head_scores",
    }
    for table, rows in answer.items():
        fitting = conformed(table, rows.with_columns(run=pl.lit("r")))
        if "decomposition" in fitting.columns:
            assert set(fitting["decomposition"]) == {question.decomposition_id}
            assert set(fitting["text"]) == {question.tokens.text}
    assert answer["components"].height == len(made[0].components) * N


def test_components_are_described_by_weights_and_firing(answer, made, found):
    for (layer, letter), name in projections(made[0]).items():
        rows = answer["components"].filter(layer=layer, projection=letter).sort("component")
        parts = made[0].components[name]
        matrices = [torch.outer(parts.U[c], parts.V[:, c]).detach() for c in range(N)]
        np.testing.assert_allclose(rows["norm"], [m.norm() for m in matrices], rtol=1e-5)
        np.testing.assert_allclose(rows["density"], found.density(name))
        np.testing.assert_allclose(rows["mean_importance"], found.mean_importance(name))
        np.testing.assert_allclose(rows["mean_activation"], found.mean_activation(name))
        assert (rows["spread"] <= np.log(4 if letter in "qo" else 2) + 1e-6).all()


def test_scores_by_head_have_norms_and_sizes(answer, made, found):
    scores, card = answer["component_scores"], made[0].model.card
    for (layer, letter), name in projections(made[0]).items():
        parts, site = made[0].components[name], PROJECTIONS[letter]
        rows = scores.filter(layer=layer, projection=letter)
        kind = "KV" if letter in "kv" else "H"
        norms = head_norms(parts, site, card)
        sizes = found.mean_magnitude(name)[:, None] * head_vectors(parts, site, card).norm(dim=-1)
        for c, h in np.ndindex(*norms.shape):
            at = rows.filter(component=c, head=f"L{layer}{kind}{h}")
            assert at.filter(score="head_norm")["value"].item() == pytest.approx(
                float(norms[c, h]), rel=1e-5
            )
            size = at.filter(score="head_activation")
            if letter == "o" or not found.count(name)[c]:
                assert size.is_empty()
                continue
            row = size.row(0, named=True)
            assert row["value"] == pytest.approx(float(sizes[c, h]), rel=1e-4)
            assert row["n"] == int((found.firing[name].count[:, c] > 0).sum())
            if row["n"] > 1:
                assert row["lower"] <= row["value"] <= row["upper"]


def test_weights_by_head_show_what_the_components_leave_out(answer, made):
    card, rows = made[0].model.card, answer["head_scores"]
    for (layer, letter), name in projections(made[0]).items():
        W = weight(made[0].model, name)
        whole = rows.filter(layer=layer, score=f"norm_{letter}")
        for data, matrix in (("target", W), ("remainder", made[0].delta(name).detach())):
            norms = whole.filter(data=data).sort("head")["value"].to_numpy()
            assert len(norms) == (card.n_kv_heads if letter in "kv" else card.n_heads)
            assert np.sqrt((norms**2).sum()) == pytest.approx(float(matrix.norm()), rel=1e-5)


def every_contribution(made: Decomposition, found, layer: int, offsets) -> torch.Tensor:
    """Of all pairs of a layer at their signed mean activations (head, offset, query, key)."""
    names, card = projections(made), made.model.card
    vectors = [
        head_vectors(made.components[names[layer, letter]], PROJECTIONS[letter], card)
        * found.mean_activation(names[layer, letter]).float()[:, None, None]
        for letter in "qk"
    ]
    return pair_contributions(*vectors, torch.tensor(offsets), Rotation.of(made))


@pytest.mark.parametrize("layer", [0, 1])
def test_contributions_are_those_of_the_pairs_and_add_up_over_heads(answer, made, found, layer):
    expected = every_contribution(made[0], found, layer, list(range(MAX_OFFSET + 1)))
    rows = answer["component_pairs"].filter(
        pl.col("measure").is_in([ADDED, ADDED_BY_RANDOM]), layer=layer
    )
    columns = ("first_component", "second_component", "lag", "head", "value")
    for q, k, lag, head, value in rows.select(columns).iter_rows():
        here = expected[:, lag, q, k]
        one = here.sum() if head is None else here[int(head.removeprefix(f"L{layer}H"))]
        assert value == pytest.approx(float(one), abs=1e-4)
    assert set(rows["lag"]) == set(range(MAX_OFFSET + 1))
    assert rows["head"].n_unique() == made[0].model.card.n_heads + 1


def test_kept_pairs_hold_the_strongest_and_the_partners(answer, made, found):
    names, layer = projections(made[0]), 1
    every = every_contribution(made[0], found, layer, OFFSETS)
    rows = answer["component_pairs"].filter(layer=layer, measure=ADDED)
    kept = set(rows.select("first_component", "second_component").iter_rows())
    strength = every.abs().sum((0, 1)).numpy()
    order = np.argsort(-strength, axis=None)[:N_STRONGEST]
    assert {tuple(map(int, np.unravel_index(i, strength.shape))) for i in order} <= kept
    queries = np.argsort(-found.mean_importance(names[layer, "q"]).numpy(), kind="stable")
    firing = [int(c) for c in queries if found.count(names[layer, "q"])[c] > 0][:N_SHOWN]
    part = pair_views.of_layer(answer, layer)
    told = component_report.partners(part)
    assert set(told["query"]) <= {f"q{c}" for c in firing}
    for query in firing:
        total = every.sum(0)[:, query]
        for does, sign in (("raises", 1), ("lowers", -1)):
            best = (sign * total).amax(0)
            wanted = [int(k) for k in best.argsort(descending=True)[:N_PARTNERS] if best[k] > 0]
            mine = told.filter(query=f"q{query}", does=does)
            assert mine["key"].to_list() == [f"k{k}" for k in wanted]
            np.testing.assert_allclose(mine["value"], [sign * best[k] for k in wanted], rtol=1e-3)
            for k, offset in zip(wanted, mine["offset"], strict=True):
                assert OFFSETS[int((sign * total[:, k]).argmax())] == offset


def test_random_pairs_fire(answer, made, found):
    names = projections(made[0])
    random = answer["component_pairs"].filter(measure=ADDED_BY_RANDOM)
    assert random.height
    for layer, q, k in random.select("layer", "first_component", "second_component").iter_rows():
        assert found.count(names[layer, "q"])[q] > 0
        assert found.count(names[layer, "k"])[k] > 0


def test_firing_together_is_what_the_harvest_counted(answer, made, found):
    names = projections(made[0])
    rows = answer["component_pairs"].filter(~pl.col("measure").str.starts_with(ADDED))
    assert set(rows["measure"]) == {"count", "phi", "jaccard", "p_key", "p_query", "cosine"}
    assert set(rows.select("first", "second").iter_rows()) == {("q", "k"), ("k", "v")}
    counted = {key: association(together) for key, together in found.together.items()}
    for row in rows.iter_rows(named=True):
        first, second = names[row["layer"], row["first"]], names[row["layer"], row["second"]]
        pair = row["first_component"], row["second_component"]
        if row["measure"] == "cosine":
            k, v = made[0].components[first].V[:, pair[0]], made[0].components[second].V[:, pair[1]]
            expected = torch.cosine_similarity(k, v, dim=0).detach()
        else:
            expected = counted[first, second, row["lag"]][row["measure"]][pair]
        assert row["value"] == pytest.approx(float(expected), abs=1e-5)


def test_tokens_are_where_components_fire(question, answer, made, found):
    names, vocabulary = projections(made[0]), question.vocabulary
    rows = answer["component_tokens"]
    texts = [[vocabulary.display(int(i)) for i in ids] for ids in question.tokens.ids]
    windows = {}
    for words in texts:
        for t, word in enumerate(words):
            before, after = words[max(0, t - WINDOW) : t], words[t + 1 : t + 1 + WINDOW]
            windows["".join(before), word, "".join(after)] = True
    examples = rows.filter(kind="example")
    assert examples.height
    assert all(key in windows for key in examples.select("before", "token", "after").iter_rows())
    assert examples["value"].min() > 0
    words = [vocabulary.display(int(i)) for i in found.distinct]
    for row in rows.filter(kind="input").iter_rows(named=True):
        name, c = names[row["layer"], row["projection"]], row["component"]
        place = words.index(row["token"])
        assert found.firing[name].by_token[place, c] >= MIN_MET
        assert row["value"] == pytest.approx(float(found.pmi(name)[place, c]))
        assert row["value"] > 0


def answered(model, made: Decomposition, tmp_path) -> dict[str, pl.DataFrame]:
    """The answer of a model without a tokenizer, on token ids."""
    text = tmp_path / "ids.jsonl"
    text.write_text(json.dumps({"input_ids": list(range(2, 90)) * 2}) + "\n")
    asked = ComponentHarvest(
        model=str(model),
        decomposition=save(tmp_path / "d", made, importance_of(made, "shared_mlp")),
        text=str(text),
        bos=False,
        n_sequences=6,
        n_tokens=12,
        seed=0,
    )
    return asked.run(silent)


def test_a_model_with_other_scores_lacks_contributions_and_nothing_else(saved, tmp_path):
    answer = answered(saved("qwen3"), decomposed(saved("qwen3")), tmp_path)
    assert "expected scores of queries and keys" in answer["absences"]["reason"].item()
    assert not answer["component_pairs"]["measure"].str.starts_with(ADDED).any()
    assert {"phi", "cosine"} <= set(answer["component_pairs"]["measure"])
    assert pair_views.paired_layers(answer) == []


def test_a_decomposition_of_queries_alone_has_no_pairs(saved, tmp_path):
    made = decomposed(saved("llama"), layers=r".*\.q_proj")
    answer = answered(saved("llama"), made, tmp_path)
    assert "component_pairs" not in answer
    assert set(answer["components"]["projection"]) == {"q"}
    assert pair_views.paired_layers(answer) == []


def test_a_reader_sees_the_most_important_components_and_their_examples(answer, made):
    part = pair_views.of_layer(answer, 1)
    rows = answer["components"].filter(pl.col("density") > 0, layer=1, projection="q")
    best = rows.sort("mean_importance", descending=True)["component"].head(N_SHOWN).to_list()
    assert component_views.most_important(answer["components"], "L1 q", N_SHOWN) == best
    shown = pair_views.shown_pairs(
        part, pair_views.added(part, pair_views.EVERY_HEAD, ADDED), "q", "k"
    )
    assert shown["first"].unique(maintain_order=True).to_list() == [f"q{c}" for c in best]
    heads = [
        pair_views.shown_pairs(part, pair_views.added(part, f"H{h}", ADDED), "q", "k")["value"]
        for h in range(pair_views.n_heads(answer))
    ]
    np.testing.assert_allclose(sum(h.to_numpy() for h in heads), shown["value"], atol=2e-2)
    gained = pair_views.minus_offset_0(shown, 2)
    start = shown.filter(lag=0)["value"].to_numpy()
    np.testing.assert_allclose(gained["value"] + start, shown.filter(lag=2)["value"], atol=1e-9)
    html = component_report.examples(part, 0)
    assert f"<b>q{best[0]}</b><br>query" in html
    assert "<mark>" in html
    assert "<script" not in html


def test_the_random_band_is_numpys_and_not_the_nearest_of_few_draws():
    values = np.random.default_rng(0).normal(size=20)
    rows = [
        {"lag": 1, "value": value, "measure": ADDED_BY_RANDOM, "head": None} for value in values
    ]
    frame = pl.DataFrame(rows, schema_overrides={"head": pl.String})
    band = pair_views.random_band({"component_pairs": frame}, pair_views.EVERY_HEAD)
    row = band.row(0, named=True)
    expected = np.quantile(values, (0.025, 0.975))
    np.testing.assert_allclose((row["lower"], row["upper"]), expected)
    nearest = (values.min(), values.max())
    assert nearest[0] < row["lower"] and row["upper"] < nearest[1]
