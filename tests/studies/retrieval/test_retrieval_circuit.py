"""Retrieval in a model written by hand: one head matches and copies, and every score finds it."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from analysis.attention import Taps
from analysis.errors import UserError
from analysis.interventions import NOTHING, Head, Intervention, Method, taps
from analysis.models.load import hidden_states, load_model, unembed
from analysis.scores.retrieval import RETRIEVAL_HEAD
from analysis.statistics.stability import validity
from analysis.studies.retrieval.answering.items import MAX_NEW
from analysis.studies.retrieval.answering.prompts import Prompt, null_prompt, prompt
from analysis.studies.retrieval.questions import Asking
from analysis.studies.retrieval.ranking.rankings import (
    MEASURED,
    NDCG,
    SCORES,
    HeadDetection,
    item_values,
    ranking,
    validity_row,
)
from store import Answer
from tests.questions.test_experiments import silent
from tests.studies.circuit.circuit_model import COPIER, PREVIOUS

from .retrieval_circuit import N_RECORDS, word_items, worded_circuit

N_ITEMS = 40
OTHERS = [Head(1, head) for head in range(4) if (1, head) != COPIER]


@dataclass(frozen=True, kw_only=True)
class WordScores(HeadDetection):
    """Scores of the hand-built model's heads on its own questions."""

    version: ClassVar[int] = 1

    n_items: int

    @property
    def split_name(self) -> str:
        return "train"

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        items = word_items(self.n_items, self.seed)
        return tuple(prompt(item, self.vocabulary, bos=self.bos) for item in items)


@pytest.fixture(scope="module")
def circuit(tmp_path_factory) -> str:
    return worded_circuit(tmp_path_factory.mktemp("circuit") / "circuit")


@pytest.fixture(scope="module")
def question(circuit) -> WordScores:
    return WordScores(model=circuit, seed=0, bos=True, n_items=N_ITEMS)


@pytest.fixture(scope="module")
def answer(question):
    return Answer(question.run(silent), "WordScores", ("run",))


def answers(question: Asking, *heads: Head) -> tuple[np.ndarray, np.ndarray]:
    """With heads zeroed: whether every item's tokens are the most probable, and which record's
    first word is more probable than those of the other records."""
    model, asked = load_model(question.model), question.prompts
    ids = torch.tensor([[*p.ids, *p.answer] for p in asked])
    done = [Intervention(method=Method.ZERO, heads=heads, positions=None)] if heads else []
    with torch.inference_mode():
        logits = unembed(model, hidden_states(model, ids, taps(done, NOTHING, len(ids))))[:, -3:-1]
    right = (logits.argmax(-1) == ids[:, -2:]).all(1).numpy()
    firsts = [[p.answer[0]] + [w[0] for w in wrongs(question, p)] for p in asked]
    chosen = logits[:, 0].gather(1, torch.tensor(firsts)).argmax(1).numpy()
    return right, chosen


def wrongs(question: Asking, asked: Prompt) -> list[list[int]]:
    return [question.vocabulary.encode(wrong) for wrong in asked.item.wrong]


def test_the_circuit_answers_and_only_its_two_heads_are_needed(question, answer):
    items = answer["retrieval_items"]
    assert items["correct"].all()
    assert (items["answer_rank"] == 1).all()
    assert (items["logit_difference"] > 0).all()
    base, chosen = answers(question)
    assert base.all()
    assert (chosen == 0).all()
    for other in OTHERS:
        right, still = answers(question, other)
        assert right.all()
        assert (still == 0).all()


def test_without_the_copier_the_right_record_is_chosen_by_chance(question):
    for head in (COPIER, PREVIOUS):
        right, chosen = answers(question, Head(*head))
        assert not right.any()
        spread = np.sqrt(1 / N_RECORDS * (1 - 1 / N_RECORDS) / N_ITEMS)
        assert abs((chosen == 0).mean() - 1 / N_RECORDS) < 3 * spread


@pytest.mark.parametrize("score", [*SCORES, NDCG])
def test_every_score_ranks_the_copier_first(answer, score):
    assert ranking(answer, score, MEASURED)[0] == COPIER
    means = answer["head_scores"].filter(pl.col("sequence").is_null(), score=score, data="all")
    by_head = {Head(*row[:2]): row[2] for row in means.select("layer", "head", "value").rows()}
    assert by_head[COPIER] == max(by_head.values())
    assert all(-1 <= value <= 1 + 1e-9 for value in by_head.values())
    chance = means["chance"][0]
    if chance is not None:
        assert by_head[COPIER] > chance + 0.3


def test_the_copier_copies_every_token_and_no_other_head_does(answer):
    """Others look almost evenly, so that what they look at most is in the needle by luck."""
    means = answer["head_scores"].filter(pl.col("sequence").is_null(), score="retrieval_score")
    by_head = {Head(*row[:2]): row[2] for row in means.select("layer", "head", "value").rows()}
    assert by_head.pop(Head(*COPIER)) == 1 >= RETRIEVAL_HEAD
    assert max(by_head.values()) < 0.5
    assert 0 < means["chance"][0] < RETRIEVAL_HEAD


def test_scores_agree_with_what_ablating_each_head_costs(question, answer):
    """In the copier's layer they do; the head below, which is as necessary, no score can see."""
    heads, values = item_values(answer, "retrieval_score")
    assert values.shape == (N_ITEMS, 8)
    base = answers(question)[0].astype(float)
    costs = np.stack([base - answers(question, head)[0] for head in heads], axis=1)
    assert {head for head, cost in zip(heads, costs.mean(0), strict=True) if cost} == {
        COPIER,
        PREVIOUS,
    }
    names = [str(head) for head in heads]
    row = validity_row(answer, "retrieval_score", costs, names, 0)
    assert row is not None
    assert row["lower"] <= row["value"] <= row["upper"]
    back = validity_row(answer, "retrieval_score", costs[:, ::-1], names[::-1], 0)
    assert back == row
    above = validity(values[:, 4:], costs[:, 4:], 0)
    assert above is not None
    assert above.interval.estimate > max(0.5, row["value"])


def test_stability_of_a_clear_ranking(answer):
    checks = answer["ranking_checks"]
    top = checks.filter(measure="jaccard", size=1, score="retrieval_score")
    assert top["value"].item() == 1
    assert top["chance"].item() == pytest.approx(1 / 8)
    assert set(checks["measure"]) == {"split_half", "jaccard"}
    assert (checks["lower"] <= checks["value"]).all()
    assert (checks["value"] <= checks["upper"]).all()


def test_heads_are_seen_as_in_one_whole_pass(question, answer):
    """From one pass over prompt and greedy answer, and one over the null prompt, by loops."""
    model, vocabulary = load_model(question.model), question.vocabulary
    _, summed = item_values(answer, "summed_attention")
    _, copied = item_values(answer, "retrieval_score")
    _, gold = item_values(answer, "qr_score")
    for i, asked in enumerate(question.prompts[:4]):
        null = null_prompt(asked, vocabulary, bos=True)
        ids = list(asked.ids)
        for _ in range(MAX_NEW):
            with torch.inference_mode():
                hidden = hidden_states(model, torch.tensor([ids]), Taps())
                ids.append(int(unembed(model, hidden[:, -1]).argmax()))
        seen, unasked = patterns(model, ids[:-1]), patterns(model, null.ids)
        for place, head in enumerate((at, h) for at in range(2) for h in range(4)):
            pattern, without = seen[head[0]][head[1]], unasked[head[0]][head[1]]
            last = len(asked.ids) - 1
            total = sum(pattern[last][p] for p in asked.needle)
            assert summed[i, place] == pytest.approx(total, abs=1e-6)
            fired = {
                ids[last + step + 1]
                for step in range(MAX_NEW)
                if (most := int(np.argmax(pattern[last + step]))) in asked.needle
                and ids[most] == ids[last + step + 1]
            }
            needle = {ids[p] for p in asked.needle}
            assert copied[i, place] == pytest.approx(len(fired) / len(needle))
            gains = [
                np.mean([pattern[q][p] for q in asked.query])
                - np.mean([without[q][p] for q in null.query])
                for p in asked.documents[asked.gold]
            ]
            floor = np.mean(gains) - 2 * np.std(gains, ddof=1)
            kept = sum(gain for gain in gains if gain >= floor)
            assert gold[i, place] == pytest.approx(kept, abs=1e-6)


def patterns(model, ids) -> list[np.ndarray]:
    """Every layer's pattern (head, query, key) of one sequence."""
    found: list[np.ndarray] = []
    with torch.inference_mode():
        watch = Taps(watch=lambda _where, pattern: found.append(pattern[0].double().numpy()))
        hidden_states(model, torch.tensor([list(ids)]), watch)
    return found


def test_nothing_answered_is_a_stated_result(tmp_path_factory):
    """A copier without strength answers nothing: no scores, and the reason beside every item."""
    folder = tmp_path_factory.mktemp("broken") / "broken"
    worded_circuit(folder)
    net = load_model(str(folder)).net
    broken = tmp_path_factory.mktemp("silent") / "silent"
    with torch.no_grad():
        net.transformer.h[1].attn.c_proj.weight.zero_()
    net.save_pretrained(broken)
    (broken / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    asked = WordScores(model=str(broken), seed=0, bos=True, n_items=6)
    found = Answer(asked.run(silent), "WordScores", ("run",))
    assert found["retrieval_items"].height == 6
    assert not found["retrieval_items"]["correct"].any()
    assert "head_scores" not in found
    assert set(found["absences"]["score"]) == {*SCORES, NDCG}
    assert set(found["absences"]["reason"]) == {"0 of 6 answered correctly: no scores"}
    with pytest.raises(UserError, match="0 of 6 answered correctly"):
        ranking(found, "qr_score", MEASURED)
