"""The experiments on retrieval items: every item's row, and the same numbers however it is run."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from transformers import MistralConfig

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.models.load import hidden_states, load_model
from analysis.questions.halves import EVEN
from analysis.studies.retrieval.answering.conversation import Conversation
from analysis.studies.retrieval.answering.growing import caches
from analysis.studies.retrieval.answering.observations import observations
from analysis.studies.retrieval.answering.prompts import null_prompt
from analysis.studies.retrieval.ranking.chances import visible_keys
from analysis.studies.retrieval.ranking.rankings import (
    MEASURED,
    SCORES,
    FileRetrievalScores,
    RetrievalScores,
    _scored,
    item_values,
    ranking,
    validity_row,
)
from analysis.text.records import FACTS
from store import Answer
from store.schema import conformed
from tests.models.architectures import GQA, SUPPORTED, VOCAB, build
from tests.models.zoo.build import build as tiny
from tests.models.zoo.build import save
from tests.models.zoo.kinds import every_kind
from tests.questions.test_experiments import silent

from .retrieval_circuit import word_items, worded_circuit

SIZES = {"n_tokens": 96, "n_records": 3, "n_items": 2, "bos": True, "seed": 0}


@pytest.fixture(scope="module")
def detection() -> RetrievalScores:
    return RetrievalScores(model="reference", **SIZES)


@pytest.fixture(scope="module")
def answer(detection):
    return Answer(detection.run(silent), "RetrievalScores", ("run",))


KEPT_APART = ("deepseek_v32, few keys", "inkling_text", "lfm2")
"""Kinds that keep more than keys and values of earlier positions: an index, states."""


@pytest.mark.parametrize("name", [*SUPPORTED, *KEPT_APART])
def test_what_follows_a_context_is_seen_as_in_one_pass(saved, name, tmp_path):
    if name in KEPT_APART:
        kind, changes, _ = every_kind()[name]
        folder = save(tiny(kind, changes), tmp_path / "kind")
    else:
        folder = saved(name)
    model = load_model(str(folder))
    assert caches(model) == (name not in KEPT_APART)
    ids = torch.randint(2, VOCAB, (3, 16), generator=torch.Generator().manual_seed(0))
    begin, whole = 9, [[] for _ in model.layers]
    with torch.inference_mode():
        watch = Taps(watch=lambda where, pattern: whole[where.layer].append(pattern))
        expected = hidden_states(model, ids, watch)
        talk = Conversation(model, ids[:, :begin])
        for _ in range(2):
            seen = [[] for _ in model.layers]
            hidden = talk.follow(
                ids[:, begin:].tolist(), lambda where, p, seen=seen: seen[where.layer].append(p)
            )
            torch.testing.assert_close(hidden, expected[:, begin:], atol=1e-4, rtol=1e-4)
            for layer in model.card.attending:
                tail, pattern = seen[layer][0], whole[layer][0][:, :, begin:]
                torch.testing.assert_close(tail, pattern, atol=1e-5, rtol=1e-4)
            said = talk.answers(ids[:, begin:], 4, [], lambda *_: None)
    tokens = ids
    for _ in range(4):
        with torch.inference_mode():
            best = model.net(tokens, use_cache=False).logits[:, -1].argmax(-1)
        tokens = torch.cat([tokens, best[:, None]], dim=1)
    assert said == [tuple(row) for row in tokens[:, 16:].tolist()]


def test_heads_that_look_at_all_that_they_see_alike_are_at_chance(detection, tmp_path):
    """Under a window of 40, in which some needles lie and others do not."""
    card = detection.card
    net = build(MistralConfig(**{**GQA, "vocab_size": card.vocab}, sliding_window=40))
    with torch.no_grad():
        for layer in net.model.layers:
            layer.self_attn.q_proj.weight.zero_()
    net.config.max_position_embeddings = 512
    net.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(card.folder / name, tmp_path)
    model, prompts = load_model(str(tmp_path)), detection.prompts
    nulls = [null_prompt(asked, detection.vocabulary, bos=True) for asked in prompts]
    seen = observations(model, prompts, nulls, detection.vocabulary, silent)
    values, levels = _scored(prompts, nulls, seen, visible_keys(model, [*prompts, *nulls]))
    for level in levels.values():
        assert level.shape == (len(prompts), 2, 4)
    summed = levels["summed_attention"]
    np.testing.assert_allclose(values["summed_attention"], summed, atol=1e-6)
    assert 0 < (summed == 0).mean() < 1
    assert ((levels["retrieval_score"] == 0) >= (summed == 0)).all()


def test_every_item_has_its_row(detection, answer):
    items = answer["retrieval_items"]
    assert items["item"].to_list() == [asked.item.id for asked in detection.prompts]
    assert items["sequence"].to_list() == list(range(8))
    assert items["fact"].to_list() == [fact for fact in FACTS for _ in range(2)]
    assert set(items["split"]) == {"train"}
    assert set(items["n_tokens"]) == {96}
    assert set(items["n_records"]) == {3}
    assert items["correct"].mean() > 0.5
    right = items.filter(pl.col("correct"))
    assert all(
        re.match(rf"\s*{row['answer']}\b", row["generated"]) for row in right.iter_rows(named=True)
    )
    assert (items["log_p"] <= 0).all()


def test_log_p_and_logit_difference_are_those_of_a_whole_pass(detection, answer):
    model = load_model("reference")
    rows = answer["retrieval_items"].to_dicts()
    for asked, row in list(zip(detection.prompts, rows, strict=True))[::3]:
        ids = torch.tensor([[*asked.ids, *asked.answer]])
        with torch.inference_mode():
            logits = model.net(ids, use_cache=False).logits[0, len(asked.ids) - 1 : -1].double()
        logprobs = logits.log_softmax(-1)
        total = sum(float(logprobs[i, token]) for i, token in enumerate(asked.answer))
        assert row["log_p"] == pytest.approx(total, abs=1e-4)
        assert asked.wrong is not None
        pairs = enumerate(zip(asked.answer, asked.wrong, strict=False))
        fork = next(i for i, (right, wrong) in pairs if right != wrong)
        gap = logits[fork, asked.answer[fork]] - logits[fork, asked.wrong[fork]]
        assert row["logit_difference"] == pytest.approx(float(gap), abs=1e-4)
        rank = 1 + int((logits[0] > logits[0, asked.answer[0]]).sum())
        assert row["answer_rank"] == rank


def test_scores_of_items_and_of_facts(detection, answer):
    rows = answer["head_scores"]
    n_right = answer["retrieval_items"]["correct"].sum()
    for score in SCORES:
        heads, values = item_values(answer, score)
        assert values.shape == (n_right if score == "retrieval_score" else 8, 32)
        assert np.abs(values).max() <= 1 + 1e-9
        means = rows.filter(pl.col("sequence").is_null(), score=score, data="all")
        np.testing.assert_allclose(
            means.sort("layer", "head")["value"].to_numpy(), values.mean(0), atol=1e-12
        )
        for chosen in (MEASURED, EVEN):
            ranked = ranking(answer, score, chosen)
            assert sorted(ranked) == heads
            on = rows.filter(MEASURED & chosen, score=score, data="all")
            by_head = on.group_by("layer", "head").agg(pl.col("value").mean())
            best = by_head["value"].max()
            first = by_head.filter(layer=ranked[0].layer, head=ranked[0].head)["value"].item()
            assert first == best
    facts = rows.filter(pl.col("data") != "all")
    assert facts["sequence"].null_count() == facts.height
    assert set(facts["data"]) <= set(FACTS)
    share = [len(asked.needle) / 96 for asked in detection.prompts]
    summed = rows.filter(score="summed_attention", data="all", layer=0, head=0).sort("sequence")
    chances = summed.filter(pl.col("sequence").is_not_null())["chance"]
    np.testing.assert_allclose(chances.to_numpy(), share)
    measured = answer["model_scores"].filter(pl.col("sequence").is_not_null())
    np.testing.assert_allclose(measured.sort("sequence")["value"].to_numpy(), share)


def test_frames_fit_their_tables(answer):
    for table, frame in answer.items():
        conformed(table, frame.with_columns(run=pl.lit("run")))


def test_questions_that_differ_are_other_questions(detection):
    asked = detection.question()
    other = RetrievalScores(model="reference", **{**SIZES, "seed": 1})
    assert asked["tokens"] != other.question()["tokens"]
    assert asked["parameters"] == {"n_tokens": 96, "n_records": 3, "n_items": 2, "bos": True}


def test_a_prompt_without_room_for_its_answer_is_refused():
    long = RetrievalScores(model="reference", **{**SIZES, "n_tokens": 506})
    with pytest.raises(UserError, match="expected prompts of at most 502 tokens"):
        long.run(silent)


def test_rankings_and_validity_say_what_they_miss(answer):
    with pytest.raises(UserError, match="expected scores of nothing, found none"):
        ranking(answer, "nothing", MEASURED)
    with pytest.raises(UserError, match="ask RetrievalScores"):
        item_values(Answer({}, "RetrievalScores", ()), "qr_score")
    with pytest.raises(UserError, match="expected effects of the 32 heads"):
        validity_row(answer, "qr_score", np.ones((3, 1)), ["L0H0"], 0)


def test_a_users_own_questions_are_asked_and_the_refused_counted(tmp_path):
    folder = worded_circuit(tmp_path / "circuit")
    items = [
        {
            "id": item.id,
            "context": item.context,
            "question": item.question,
            "answer": item.answer,
            "answer_span": list(item.answer_span),
            "wrong": list(item.wrong),
        }
        for item in word_items(6, 0)
    ]
    file = tmp_path / "own.jsonl"
    lines = [*map(json.dumps, items), "{", json.dumps({**items[0], "id": "x", "answer": "w0"})]
    long = {**items[0], "id": "long", "context": items[0]["context"] + " w3" * 30}
    file.write_text("\n".join([*lines, json.dumps(long)]))
    asked = FileRetrievalScores(model=folder, file=str(file), bos=True, seed=0)
    found = Answer(asked.run(silent), "FileRetrievalScores", ("run",))
    assert found["retrieval_items"]["correct"].all()
    assert set(found["retrieval_items"]["split"]) == {"file"}
    assert ranking(found, "retrieval_score", MEASURED)[0] == (1, 0)
    assert ranking(found, "summed_attention", MEASURED)[0] == (1, 0)
    gaps = found["absences"].filter(score="retrieval_items")
    assert gaps["data"].to_list() == ["line 7", "line 8, item x", "item long"]
    (alone,) = found["absences"].filter(score="qr_ndcg")["reason"]
    assert alone == "contexts of a single document leave nothing to rank"
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(file.read_bytes())
    other = FileRetrievalScores(model=folder, file=str(moved), bos=True, seed=0)
    assert other.question() == asked.question()
    file.write_text("{\n")
    empty = FileRetrievalScores(model=folder, file=str(file), bos=True, seed=0)
    with pytest.raises(UserError, match=r"all 1 were refused, the first: line 1: expected JSON"):
        empty.data()
