"""Prediction tables: what plain passes predict, against the right baseline, and nothing faked."""

from dataclasses import replace

import polars as pl
import pytest
import torch

from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, taps
from analysis.models.files.card import read_card
from analysis.models.load import last_logits, load_model
from analysis.studies.predictions import views
from analysis.studies.predictions.conditions import table_conditions
from analysis.studies.predictions.measures import Outcome, Place, prediction_rows
from analysis.studies.predictions.question import PredictionTables
from analysis.text.prompts import PROMPTS, Prompt, prompt_tokens
from analysis.text.tokens import Vocabulary
from store.schema import conformed

HEAD = Head(1, 2)


def silent(*_args) -> None:
    pass


@pytest.fixture(scope="module")
def question(worded) -> PredictionTables:
    return PredictionTables(
        model=str(worded),
        seed=3,
        head=str(HEAD),
        text="reference",
        bos=True,
        n_samples=3,
        n_tokens=12,
        top_k=4,
    )


@pytest.fixture(scope="module")
def answer(question):
    return question.run(silent)


def test_prompts_are_ours_and_one_of_them_is_hostile():
    assert 35 <= len(PROMPTS) <= 45
    assert len({prompt.text for prompt in PROMPTS}) == len(PROMPTS)
    assert sum("<script>alert(1)</script>" in prompt.text for prompt in PROMPTS) == 1


def test_the_answer_fits_the_store(answer):
    for table, frame in answer.items():
        conformed(table, frame.with_columns(run=pl.lit("0123")))


@pytest.mark.parametrize("index", [0, -1])
def test_every_condition_is_a_plain_pass(question, answer, index):
    tokens, model = question.data()[index], load_model(question.model)
    ids, t = torch.from_numpy(tokens.ids).long(), tokens.ids.size - 1
    with torch.no_grad():
        passes = {
            one.condition.name: last_logits(
                model, ids, torch.tensor([t + 1]), taps(one.condition.interventions, NOTHING, 1)
            )[0]
            for one in table_conditions(HEAD, t, question.card)
        }
    rows = answer["predictions"].filter(text=tokens.text)
    assert set(rows["condition"]) == set(passes)
    assert len(passes) == 7
    for row in rows.iter_rows(named=True):
        logits, base = passes[row["condition"]], passes[row["baseline"]]
        assert row["position"] == t
        assert row["logit"] == pytest.approx(logits[row["token_id"]].item(), abs=1e-4)
        change = (logits - base)[row["token_id"]].item()
        assert row["change"] == pytest.approx(change, abs=1e-4)
    for row in rows.filter(kind="top").iter_rows(named=True):
        assert row["logit"] == pytest.approx(passes[row["condition"]].max().item(), abs=1e-4)
    effects = answer["ablation_effects"].filter(text=tokens.text)
    for row in effects.iter_rows(named=True):
        p, q = (passes[name].log_softmax(-1) for name in ("target", row["condition"]))
        assert row["kl_base_ablated"] == pytest.approx((p.exp() * (p - q)).sum().item(), abs=1e-4)
        assert row["loss_change"] is None


def test_risers_and_fallers_are_the_largest_changes_in_order(answer):
    moved = answer["predictions"].filter(pl.col("kind").is_in(["riser", "faller"]))
    assert "target" not in set(moved["condition"])
    for (_, _, kind), rows in moved.group_by("text", "condition", "kind"):
        sign = 1 if kind == "riser" else -1
        changes = (rows.sort("rank")["change"] * sign).to_list()
        assert changes == sorted(changes, reverse=True)
        assert changes[-1] > 0
        assert rows["rank"].sort().to_list() == list(range(1, len(rows) + 1))


def outcome(condition: str, baseline: str, *logits: float) -> Outcome:
    return Outcome(condition=condition, baseline=baseline, logits=torch.tensor(logits))


def test_a_condition_is_compared_with_its_own_baseline(worded):
    vocabulary = Vocabulary(worded, read_card(str(worded)).vocab)
    tokens = prompt_tokens(Prompt("typed", "a"), vocabulary, bos=True)
    place = Place(model="m", vocabulary=vocabulary, tokens=tokens, position=1)
    outcomes = [
        outcome("target", "target", 0.0, 1.0, 2.0),
        outcome("reconstruction", "target", 0.0, 3.0, 2.0),
        outcome("without one", "reconstruction", 1.0, 3.0, 0.5),
    ]
    rows = prediction_rows(outcomes, place, top_k=1)
    found = rows.filter(condition="without one").select("kind", "token_id", "change").rows()
    assert found == [("top", 1, 0.0), ("base_top", 1, 0.0), ("riser", 0, 1.0), ("faller", 2, -1.5)]
    assert rows.filter(condition="reconstruction", kind="riser")["change"].item() == 2
    broken = [*outcomes, outcome("broken", "target", float("nan"), 0.0, 0.0)]
    with pytest.raises(UserError, match="finite logits, got others under broken"):
        prediction_rows(broken, place, top_k=1)


def test_what_a_short_prompt_does_not_have_is_left_out(question):
    names = [
        {one.condition.name for one in table_conditions(HEAD, t, question.card)} for t in range(3)
    ]
    assert names[0] == {"target", "zero L1H2 at t"}
    assert names[2] - names[1] == {"values t-1 and t-2, layer 1"}
    assert len(names[2]) == 7
    for one in table_conditions(HEAD, 5, question.card)[2:]:
        (done,) = one.condition.interventions
        assert max(done.positions) < 5


def test_a_prompt_longer_than_the_context_is_absent_for_a_reason(question, monkeypatch):
    long = Prompt("long", "a " * 70)
    monkeypatch.setattr(
        "analysis.studies.predictions.question.PROMPTS", (long, Prompt("short", "a lamp"))
    )
    frames = replace(question).run(silent)
    gap = frames["absences"].row(0, named=True)
    assert gap["data"].startswith("prompt: a a")
    assert "context 64" in gap["reason"]
    assert frames["prompts"]["text"].n_unique() == 4


def test_samples_end_at_random_positions_with_two_before_them(question):
    samples = question.data()[-3:]
    lengths = {tokens.ids.size for tokens in replace(question, n_samples=12).data()[-12:]}
    assert all(3 <= tokens.ids.size <= 12 for tokens in samples)
    assert len(lengths) > 3
    with pytest.raises(UserError, match="samples of 3 to 64 tokens"):
        replace(question, n_tokens=65).data()


def test_means_are_over_prompts(question, answer):
    categories = question.categories()
    crafted = answer["ablation_effects"].filter(
        pl.col("text").replace_strict(categories) != "text", condition="zero L1H2 at t"
    )
    mean = answer["ablation_means"].filter(
        condition="zero L1H2 at t", scope="at t of prompts", metric="js"
    )
    assert mean["value"].item() == pytest.approx(crafted["js"].mean())
    assert mean["n"].item() == len(crafted)
    changes = views.top_changes(answer["ablation_means"])
    count = changes.filter(group="crafted prompts", condition="zero L1H2 at t")["changed"].item()
    assert count == crafted["top1_changed"].sum()


def test_every_prompt_is_on_the_menu_once(question, answer):
    menu = views.menu(answer["prompts"], question.categories())
    assert sorted(menu.values()) == sorted(question.categories())


def test_the_question_depends_on_every_field(question):
    first = question.question()
    for field in ({"head": "L0H1"}, {"seed": 4}, {"n_samples": 2}, {"bos": False}, {"top_k": 5}):
        assert replace(question, **field).question() != first
