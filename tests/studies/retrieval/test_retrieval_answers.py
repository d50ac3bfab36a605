"""When an answer is right, and which items of a user are asked at all."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.studies.retrieval.answering.answers import correct, normalised
from analysis.studies.retrieval.jsonl import fitting, read_items
from analysis.text.tokens import Vocabulary

WORD = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
MARK = st.text(alphabet='.,;:!?"()[] \n', max_size=3)
NUMBER = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("generated", "gold", "right"),
    [
        (" 1995.", "5", False),
        (" 5.", "5", True),
        (" 1995.", "1995", True),
        (" 1995", "199", False),
        (" 19951.", "1995", False),
        (" 1,234 people", "1234", True),
        (" 1234.", "1,234", True),
        (" 12,34", "1234", False),
        (" 12.5", "12", False),
        (" 1995-96", "1995", False),
        (" -5", "5", False),
        (" NEBRASKA!", "Nebraska", True),
        ("Nebraskan", "Nebraska", False),
        (" New", "New York", False),
        (" new york, of course", "New York", True),
        (" not Nebraska", "Nebraska", False),
        (' "Nebraska"', "Nebraska", True),
        (" \uff11\uff19\uff19\uff15", "1995", True),
        ("", "Nebraska", False),
        ("anything", "...", False),
        (" 5th", "5", False),
        (" O\u2019Brien", "O'Brien", False),
        (" $1,234,567 in all", "1234567", True),
    ],
)
def test_only_the_whole_first_phrase_counts(generated, gold, right):
    assert correct(generated, gold) == right


@given(gold=st.lists(WORD, min_size=1, max_size=3), before=MARK, after=MARK, rest=WORD)
def test_case_punctuation_and_what_follows_do_not_matter(gold, before, after, rest):
    phrase = " ".join(gold)
    assert correct(f"{before}{phrase.upper()}{after} {rest}", phrase)
    assert correct(phrase, f"{before}{phrase}{after}")
    assert not correct(f"{phrase}{rest}", phrase) or phrase == f"{phrase}{rest}"
    assert not correct(f"{rest}x {phrase}", phrase) or gold[0] == f"{rest}x"


@given(number=NUMBER, other=NUMBER)
def test_numbers_are_equal_as_whole_numbers_only(number, other):
    assert correct(f" {number:,}.", str(number))
    assert correct(f" {number}", f"{number:,}")
    assert correct(f"{number}", f"{other}") == (number == other)
    assert not correct(f"{number}{other}", f"{number}") or f"{number}{other}" == f"{number}"
    assert not correct(f"{number}{other}", f"{other}") or f"{number}{other}" == f"{other}"


@given(text=st.text(max_size=30))
def test_normalising_twice_changes_nothing(text):
    once = normalised(text)
    assert normalised(once) == once
    assert correct(text, text) == bool(once)


def item(**changes) -> dict:
    context = "Sun rose. Ada has 1,234 bees! The end."
    start = context.index("1,234")
    whole = {
        "id": "a",
        "context": context,
        "question": "Question: How many bees has Ada? Answer:",
        "answer": "1,234",
        "answer_span": [start, start + 5],
    }
    return {**whole, **changes}


def written(path: Path, *lines: dict | str) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def test_whole_items_are_kept_with_their_spans(tmp_path):
    (kept,), refused = read_items(written(tmp_path / "i.jsonl", item(question="How many?  "), ""))
    assert not refused
    assert kept.question == "How many?"
    assert kept.context[slice(*kept.answer_span)] == "1,234"
    assert kept.context[slice(*kept.sentence_span)] == "Ada has 1,234 bees!"
    assert kept.documents == (kept.sentence_span,)
    assert kept.wrong == ()
    assert 0 < kept.depth < 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "a", ', "expected JSON, got .* at column"),
        ("[1, 2]", "expected a JSON object, got list"),
        (item(answer="77"), "'77' does not"),
        (item(answer_span=[0, 5]), "expected '1,234' at .*, found 'Sun r'"),
        (item(answer_span=[30, 500]), "inside the context's 38 characters"),
        (item(answer_span=[-5, 3]), "inside the context's"),
        (item(answer_span=[5, 5]), "inside the context's"),
        (item(answer_span="18"), r"expected answer_span as \[start, end\]"),
        (item(answer_span=[True, 23]), r"expected answer_span as \[start, end\]"),
        (item(answer=7), "expected text as answer, got 7"),
        (item(context=""), "expected text as context"),
        (item(answer=". ", answer_span=[8, 10]), "expected an answer with a word"),
        (item(id=None), "expected a text or a number as id"),
        (item(wrong="none"), "expected a list of answers as wrong"),
        (item(wrong=["9", "1234"]), "wrong answers that all differ .* got '1234' twice"),
        (item(wrong=["Nine", "ten", "nine."]), "wrong answers that all differ .* got 'Nine' twice"),
        (item(question="Really \ud83d?"), "got half of a surrogate pair"),
        (item(wrong=["9", "\ud83d 8"]), "got half of a surrogate pair"),
        ({"id": "a", "context": "b"}, "found no question, answer, answer_span"),
    ],
)
def test_a_refused_item_is_named_and_the_others_are_kept(tmp_path, line, reason):
    path = written(tmp_path / "i.jsonl", item(id="first"), line, item(id="last"))
    kept, (refused,) = read_items(path)
    assert [one.id for one in kept] == ["first", "last"]
    assert refused.line == 2
    assert str(refused).startswith("line 2")
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(refused.reason)


def test_a_second_item_of_the_same_id_is_refused(tmp_path):
    kept, refused = read_items(
        written(tmp_path / "i.jsonl", item(), item(id=7), item(), item(id=7))
    )
    assert [one.id for one in kept] == ["a", "7"]
    assert [(one.line, one.id) for one in refused] == [(3, "a"), (4, "7")]
    assert all("expected an id of its own" in one.reason for one in refused)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "i.jsonl"
    path.write_bytes(b'{"id": "\xff"}\n' + json.dumps(item()).encode())
    kept, (refused,) = read_items(path)
    assert len(kept) == 1
    assert (refused.line, refused.reason) == (1, "expected UTF-8, got another byte at 8")
    with pytest.raises(UserError, match="expected a file, found none"):
        read_items(tmp_path / "none.jsonl")


def test_items_that_a_model_cannot_read_or_answer_are_refused(tmp_path):
    card = read_card("reference")
    vocabulary = Vocabulary(card.folder, card.vocab)
    number = "12345678901"
    context = f"Ada has {number} bees."
    long = {"context": context, "answer": number, "answer_span": [8, 8 + len(number)]}
    items, _ = read_items(written(tmp_path / "i.jsonl", item(id="fine"), item(id="long", **long)))
    prompts, (refused,) = fitting(items, vocabulary, n_ctx=512, bos=True)
    assert [asked.item.id for asked in prompts] == ["fine"]
    assert refused.place == "item long"
    assert "expected an answer of at most 10 tokens, got 12" in refused.reason
    n_tokens = len(prompts[0].ids)
    assert fitting(items[:1], vocabulary, n_ctx=n_tokens + 10, bos=True)[0] == prompts
    _, (short,) = fitting(items[:1], vocabulary, n_ctx=n_tokens + 9, bos=True)
    assert f"expected a prompt of at most {n_tokens - 1} tokens" in short.reason
    assert f"got {n_tokens}" in short.reason
