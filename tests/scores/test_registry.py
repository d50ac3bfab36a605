"""What is registered is scored on text, labelled, explained, and in the key if it came later."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from analysis import scores
from analysis.overview import documented
from analysis.overview.methods import score_meanings
from analysis.scores.registry import Given, HeadScore, functions, registered
from analysis.studies.atlas import text_scores, views
from analysis.studies.atlas.text_scores import TextScores

FIRST = {
    *("previous_token", "induction", "duplicate_token", "bos", "delimiter"),
    *("successor", "s_inhibition"),
}


def first_key_score(pattern: torch.Tensor) -> torch.Tensor:
    return pattern[..., 0].mean(-1)


def first_token_score(pattern: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return (pattern * (tokens == tokens[0, 0])[:, None, None]).sum(-1).mean(-1)


LATER = HeadScore(
    name="first_key",
    function=first_key_score,
    data="text",
    also=("random",),
    label="first key",
    threshold=0.01,
    column=8,
    version=1,
)
CONTENT = replace(
    LATER, name="first_token", function=first_token_score, given=(Given.TOKENS,), also=(), version=2
)


@pytest.fixture(scope="module")
def question(worded) -> TextScores:
    return TextScores(
        model=str(worded),
        text="reference",
        bos=True,
        n_sequences=16,
        n_tokens=16,
        n_offsets=4,
        n_pictured=4,
        pictured=("L0H0",),
        seed=3,
    )


@pytest.fixture
def with_later(monkeypatch):
    first = text_scores._ON_TEXT
    monkeypatch.setattr(text_scores, "_ON_TEXT", [*first[:2], LATER, *first[2:], CONTENT])


def test_no_two_scores_are_called_alike_or_stand_in_one_column():
    for field in ("name", "label", "column"):
        values = [value for score in registered() if (value := getattr(score, field))]
        assert len(set(values)) == len(values)
    assert [score.column for score in registered()] == sorted(s.column for s in registered())


@pytest.mark.parametrize("score", registered(), ids=lambda score: score.name)
def test_what_a_score_is_stands_in_its_documentation(score):
    meanings = score_meanings()
    (row,) = meanings.filter(score=score.name).to_dicts()
    assert row["function"] == score.function.__name__
    assert row["what it is and gives"].startswith(documented.summary(score.function))
    assert row["what it is and gives"].endswith(documented.section(score.function, "Returns"))


def test_every_function_that_is_exported_is_explained_once():
    explained = score_meanings()["function"].to_list()
    assert set(scores.__all__) <= set(explained)
    assert len(set(explained)) == len(explained)
    assert set(explained) <= {function.__name__ for function in functions()}


def test_a_label_is_made_of_a_score():
    assert tuple(score for score in registered() if score.label) == views.LABELS


def test_the_first_scores_are_in_no_key(question):
    """A later score with version 0 would be answered from what was stored without it."""
    assert {score.name for score in registered() if score.version == 0} <= FIRST
    on_text = {score.name: score.version for score in text_scores._ON_TEXT if score.version}
    assert question.question()["parameters"].get("scores", {}) == on_text


def test_later_scores_and_raised_versions_ask_another_question(question, monkeypatch):
    found: list[str] = []
    first = text_scores._ON_TEXT
    raised = [replace(first[0], version=1), *first[1:]]
    later = [[*first, LATER], [*first, replace(LATER, version=2)]]
    for on_text in (first, raised, *later):
        monkeypatch.setattr(text_scores, "_ON_TEXT", on_text)
        found.append(json.dumps(question.question(), sort_keys=True))
    assert len(set(found)) == len(found)


def test_a_registered_score_is_measured_and_the_others_stay(question, with_later, monkeypatch):
    with_it = question.run(lambda *_: None)["head_scores"]
    mine = with_it.filter(score="first_key")
    assert set(mine["data"]) == {"text", "random"}
    assert set(with_it.filter(score="first_token")["data"]) == {"text"}
    chance = mine.filter(pl.col("sequence").is_null())["chance"].to_numpy()
    np.testing.assert_allclose(chance, np.mean(1 / np.arange(1, 17)))
    monkeypatch.setattr(views, "LABELS", (*views.LABELS, LATER))
    assert views.atlas(with_it)["labels"].str.contains("first key").any()
    monkeypatch.undo()
    without = question.run(lambda *_: None)["head_scores"]
    assert with_it.filter(~pl.col("score").is_in(["first_key", "first_token"])).equals(without)
