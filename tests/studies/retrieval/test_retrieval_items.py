"""Retrieval items: exact lengths, exact spans, and detection apart from testing."""

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.studies.retrieval.answering.items import MAX_NEW, Item, record_items
from analysis.studies.retrieval.answering.prompts import NULL, null_prompt, prompt
from analysis.text import records, words
from analysis.text.english import Split
from analysis.text.tokens import Vocabulary

N_ITEMS = 8


def of_model(model: str) -> Vocabulary:
    card = read_card(model)
    return Vocabulary(card.folder, card.vocab)


def drawn(vocabulary: Vocabulary, **options) -> list[Item]:
    asked = {
        "split": Split.TEST,
        "fact": "employees",
        "n_tokens": 128,
        "n_records": 4,
        "n_items": N_ITEMS,
        "seed": 0,
        "bos": True,
    }
    return record_items(vocabulary, **{**asked, **options})


@pytest.fixture(scope="module", params=["reference", "stories260k"])
def vocabulary(request) -> Vocabulary:
    if request.param == "reference":
        return of_model("reference")
    return of_model(str(request.getfixturevalue("stories260k")))


@pytest.fixture(scope="module")
def n_tokens(vocabulary) -> int:
    """Enough for four records in tokens of about a word, or of two letters."""
    return 128 if vocabulary.folder == of_model("reference").folder else 300


@pytest.mark.parametrize("fact", records.FACTS)
@pytest.mark.parametrize("split", Split)
def test_prompts_have_exactly_the_tokens_asked_for(vocabulary, n_tokens, split, fact):
    for bos in (True, False):
        asked = {"split": split, "fact": fact, "n_tokens": n_tokens, "n_items": 4}
        for item in drawn(vocabulary, bos=bos, **asked):
            found = prompt(item, vocabulary, bos=bos)
            assert len(found.ids) == n_tokens
            assert len(found.answer) <= MAX_NEW
            assert (found.ids[:1] == vocabulary.bos) == bos
            assert item.question.startswith("Question: ")
            assert item.question.endswith(" Answer:")


@pytest.mark.parametrize("fact", records.FACTS)
def test_spans_are_those_of_the_construction(vocabulary, n_tokens, fact):
    """Offsets say what counting the tokens of each part says, where no token crosses a part."""
    for item in drawn(vocabulary, fact=fact, n_tokens=n_tokens):
        found = prompt(item, vocabulary, bos=True)
        start, end = item.answer_span
        assert item.context[start:end] == item.answer
        before = len(vocabulary.encode(item.context[: start - 1]))
        behind = len(vocabulary.encode(item.context[:end]))
        counted = range(1 + before, 1 + behind)
        pieces = [vocabulary.require().id_to_token(found.ids[i]) for i in counted]
        spaces = [not piece.strip("\u2581\u0120") for piece in pieces]
        assert list(found.needle) == [*counted][sum(spaces) :]
        assert not any(spaces[1:])
        decoded = vocabulary.require().decode([found.ids[i] for i in found.needle])
        assert decoded.strip() == item.answer
        assert set(found.needle) <= set(found.sentence)
        assert found.documents[found.gold] == found.sentence
        flat = [place for document in found.documents for place in document]
        assert len(flat) == len(set(flat))
        assert max(flat) < min(found.query)
        assert found.query[-1] == len(found.ids) - 1
        whole = [*vocabulary.bos, *vocabulary.encode(f"{item.text} {item.answer}")]
        assert [*found.ids, *found.answer] == whole


@pytest.mark.parametrize("fact", records.FACTS)
def test_every_record_states_the_fact_once_and_whole(fact):
    vocabulary = of_model("reference")
    for n_tokens in (128, 300):
        for item in drawn(vocabulary, fact=fact, n_tokens=n_tokens):
            assert len(item.documents) == 4
            assert len({item.answer, *item.wrong}) == 4
            assert item.sentence_span in item.documents
            patterns = [
                re.escape(t).replace(r"\{firm\}", "(.+)").replace(r"\{value\}", "(.+)")
                for t in records.STATEMENTS[fact]
            ]
            stated = [item.context[start:end] for start, end in item.documents]
            assert all(any(re.fullmatch(p, s) for p in patterns) for s in stated)
            said = [value for s in stated for value in (item.answer, *item.wrong) if value in s]
            assert sorted(said) == sorted((item.answer, *item.wrong))
            assert item.context.count(item.answer) == 1
            firm = next(s for s in stated if item.answer in s)
            names = [name for name in words.HELD_OUT_FIRMS if name in firm]
            assert any(name in item.question for name in names)


def test_depths_are_even_and_unrelated_to_the_order():
    items = drawn(of_model("reference"), n_tokens=256, n_items=20)
    depths = sorted(item.depth for item in items)
    assert depths[0] < 0.15
    assert depths[-1] > 0.9
    assert max(b - a for a, b in pairwise(depths)) < 0.15
    even, odd = ([item.depth for item in items[i::2]] for i in (0, 1))
    assert abs(np.mean(even) - np.mean(odd)) < 0.25


def test_more_facts_are_stated_where_there_is_room():
    vocabulary = of_model("reference")

    def n_stated(n_tokens: int) -> float:
        starts = tuple(s.split("{")[0] for pair in records.STATEMENTS.values() for s in pair if s)
        named = [start for start in starts if start.strip()]
        items = drawn(vocabulary, n_tokens=n_tokens)
        return np.mean([sum(item.context.count(s) for s in named) for item in items])

    assert n_stated(128) < n_stated(256)


def test_detection_and_test_share_no_name_value_or_template():
    vocabulary = of_model("reference")
    for fact in records.FACTS:
        train, test = (
            drawn(vocabulary, split=split, fact=fact, n_items=12, n_tokens=200) for split in Split
        )
        values = [
            {v for item in items for v in (item.answer, *item.wrong)} for items in (train, test)
        ]
        assert not values[0] & values[1]
        firms = [
            {name for name in pool for item in items if re.search(rf"\b{name}\b", item.text)}
            for items, pool in ((train, words.HELD_OUT_FIRMS), (test, words.FIRMS))
        ]
        assert not firms[0]
        assert not firms[1]
        asked = [{template(item) for item in items} for items in (train, test)]
        assert not asked[0] & asked[1]
        assert not {item.context for item in train} & {item.context for item in test}


def template(item: Item) -> str:
    """The question without the firm's name."""
    name = re.compile("|".join(rf"\b{n}\b" for n in (*words.FIRMS, *words.HELD_OUT_FIRMS)))
    trade = re.compile("|".join(words.TRADES))
    return trade.sub("", name.sub("", item.question))


def test_items_are_the_same_for_the_same_question_and_others_for_another_seed():
    vocabulary = of_model("reference")
    first, again, other = (drawn(vocabulary, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert not {item.context for item in first} & {item.context for item in other}
    assert len({item.id for item in first}) == N_ITEMS


def test_answers_have_several_tokens_where_the_tokenizer_splits_enough_of_them(
    vocabulary, n_tokens
):
    for fact in records.FACTS:
        items = drawn(vocabulary, fact=fact, n_tokens=n_tokens, split=Split.TRAIN)
        single = vocabulary.single(words.STATES)
        allowed = fact in {"employees", "year of incorporation"} or len(single) < 20
        n_tokens_of = [len(prompt(item, vocabulary, bos=True).answer) for item in items]
        assert (min(n_tokens_of) >= 2) == allowed


def test_the_null_prompt_changes_nothing_but_the_question(vocabulary, n_tokens):
    for item in drawn(vocabulary, n_tokens=n_tokens)[:3]:
        found = prompt(item, vocabulary, bos=True)
        null = null_prompt(found, vocabulary, bos=True)
        assert null.item.question == f"Question: {NULL} Answer:"
        assert null.query[0] == found.query[0]
        assert null.ids[: null.query[0]] == found.ids[: found.query[0]]
        assert (null.needle, null.documents) == (found.needle, found.documents)
    plain = replace(item, question="And then?")
    bare = null_prompt(prompt(plain, vocabulary, bos=True), vocabulary, bos=True)
    assert bare.item.question == NULL


def test_what_cannot_be_asked_is_said():
    vocabulary = of_model("reference")
    with pytest.raises(UserError, match="expected prompts long enough for 4 records"):
        drawn(vocabulary, n_tokens=50)
    with pytest.raises(UserError, match="expected from 1 to 7 records, got 8"):
        drawn(vocabulary, fact="headquarters", n_records=8, n_tokens=400)
    with pytest.raises(UserError, match="expected from 1"):
        drawn(vocabulary, n_records=0)
    with pytest.raises(UserError, match="expected one of state of incorporation"):
        drawn(vocabulary, fact="auditor")
    bare = replace(vocabulary, vocab=0)
    with pytest.raises(UserError, match="expected a BOS token"):
        prompt(drawn(vocabulary, n_items=1)[0], bare, bos=True)
