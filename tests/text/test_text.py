"""Generated text: seeded, exact about where answers are, and apart between the splits."""

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.text import english, records, words
from analysis.text.english import GIFT_TEMPLATES, LIST_TEMPLATES, Split
from analysis.text.repeats import log_uniform, repeated_tokens, shown_again

SEEDS = st.integers(0, 2**32 - 1)
BLOCK = list(range(10, 18))
GENERATORS = {
    "gift": lambda rng: english.gift(rng, Split.TEST),
    "varied_gift": lambda rng: english.varied_gift(rng, words.INVENTED),
    "varied_list": lambda rng: english.varied_list(rng, "months", 6),
    "story": lambda rng: english.story(rng, 5),
    "ordered_list": lambda rng: english.ordered_list(rng, Split.TRAIN, "months", 6),
    "snippet": english.snippet,
    "paragraph": english.paragraph,
    "questions": lambda rng: records.questions(rng, Split.TEST, 3, 5),
    "document": lambda rng: records.document(rng, 2, 4, 3),
    "filler": records.filler,
    "value": lambda rng: records.value(rng, Split.TRAIN, "employees"),
    "shown_again": lambda rng: shown_again(rng, BLOCK, 40),
    "repeated_tokens": lambda rng: repeated_tokens(rng, BLOCK, [0], 20, shuffled=True),
    "log_uniform": lambda rng: [log_uniform(rng, 2, 500) for _ in range(5)],
}


@pytest.mark.parametrize("name", GENERATORS)
def test_the_seed_alone_decides_the_text(name):
    first, again = ([GENERATORS[name](Random(seed)) for seed in range(20)] for _ in range(2))
    assert first == again
    assert any(other != first[0] for other in first[1:])


@pytest.mark.parametrize("split", Split)
@given(seed=SEEDS)
def test_a_gift_goes_from_the_giver_to_the_receiver(split, seed):
    gift = english.gift(Random(seed), split)
    pool = (*words.NAMES, *words.FIRMS) if split is Split.TRAIN else words.HELD_OUT_NAMES
    assert {gift.io, gift.s} <= set(pool)
    named = [w for w in re.findall(r"\w+", gift.text) if w in {gift.io, gift.s}]
    expected = {"ABBA": [gift.io, gift.s], "BABA": [gift.s, gift.io]}[gift.order]
    assert named == [*expected, gift.s, gift.io]
    assert gift.text == f"{gift.prompt} {gift.io}"
    assert gift.prompt.endswith(" to")
    stem = GIFT_TEMPLATES[split][gift.template].split("{")[0]
    assert gift.text.startswith(stem)


def test_gifts_come_in_both_orders_and_every_template():
    found = [english.gift(Random(seed), Split.TEST) for seed in range(200)]
    orders = Counter(gift.order for gift in found)
    assert 60 < orders["ABBA"] < 140
    assert {gift.template for gift in found} == set(range(len(GIFT_TEMPLATES[Split.TEST])))


@pytest.mark.parametrize("split", Split)
@given(seed=SEEDS, n_records=st.integers(1, 5), n_filler=st.integers(0, 8))
def test_an_answer_is_where_its_span_says_in_the_filing_that_is_asked(
    split, seed, n_records, n_filler
):
    found = records.questions(Random(seed), split, n_records, n_filler)
    assert len(found) == 4 * n_records
    for item in found:
        start, end = item.answer_span
        assert item.context[start:end] == item.answer
        (firm,) = (
            f for f in firms_of(split) if f"{f} " in item.question or f"{f}?" in item.question
        )
        sentence_start = item.context.rfind(". ", 0, start) + 1
        assert firm in item.context[sentence_start : item.context.find(".", end) + 1]
        assert item.question.startswith("Question: ")
        assert item.question.endswith(" Answer:")
        assert len(item.wrong) == n_records - 1
        assert item.fact in records.FACTS
    assert len({item.context for item in found}) == 1
    assert {Counter(item.fact for item in found)[fact] for fact in records.FACTS} == {n_records}


def firms_of(split: Split) -> tuple[str, ...]:
    return words.FIRMS if split is Split.TRAIN else words.HELD_OUT_FIRMS


@given(seed=SEEDS)
def test_a_question_of_one_fact_is_answered_by_its_own_statement(seed):
    """The words around the answer state the fact that is asked, not another one."""
    marks = {
        "state of incorporation": r"[Ss]tate of",
        "year of incorporation": r"[Yy]ear",
        "employees": r"[Ee]mployees",
        "headquarters": r"[Hh]eadquarters",
    }
    for item in records.questions(Random(seed), Split.TRAIN, 3, 6):
        start, end = item.answer_span
        sentence = item.context[item.context.rfind(". ", 0, start) + 1 : end]
        assert re.search(marks[item.fact], sentence)


def test_the_splits_share_no_names_firms_values_or_templates():
    assert not set(words.NAMES) & set(words.HELD_OUT_NAMES)
    assert not set(words.FIRMS) & set(words.HELD_OUT_FIRMS)
    assert not set(words.STATES) & set(words.HELD_OUT_STATES)
    train, test = Split.TRAIN, Split.TEST
    assert not set(GIFT_TEMPLATES[train]) & set(GIFT_TEMPLATES[test])
    assert not set(LIST_TEMPLATES[train]) & set(LIST_TEMPLATES[test])
    for fact in records.FACTS:
        asked = (set(records.QUESTIONS[split][fact]) for split in (train, test))
        assert not set.intersection(*asked)
        drawn = (
            {records.value(Random(seed), split, fact) for seed in range(400)}
            for split in (train, test)
        )
        assert not set.intersection(*drawn)


VARIETIES = {
    "plain": records.PLAIN,
    "invented": records.INVENTED,
    "varied": records.VARIED,
    "alike": replace(records.VARIED, alike=1.0),
    "worded": replace(records.VARIED, wording=(*words.OBJECTS, "Which", "has", "state")),
}


@pytest.mark.parametrize("variety", VARIETIES)
def test_training_text_never_asks_what_evaluation_asks(variety):
    """No held-out receiver, firm or question, in anything that training is drawn from."""
    rng = Random(0)
    for _ in range(300):
        paragraph = english.paragraph(rng)
        pieces = records.document(rng, 2, 3, 4, VARIETIES[variety])
        document = "".join(text for text, _ in pieces)
        for firm in words.HELD_OUT_FIRMS:
            assert firm not in paragraph + document
        for fact in records.FACTS:
            for template in records.QUESTIONS[Split.TEST][fact]:
                assert template.split("{")[0] not in document
        for state in words.HELD_OUT_STATES:
            assert f"in {state}." not in document
            assert f"Answer: {state}" not in document
        for name in words.HELD_OUT_NAMES:
            given = r"(gave|handed|passed|offered|sent|showed|returned) [^.]* to " + name
            assert not re.search(given, paragraph)


def test_firms_that_are_alike_begin_alike_and_have_two_trades():
    for seed in range(100):
        pieces = records.document(Random(seed), 3, 0, 50, VARIETIES["alike"])
        context = pieces[0][0]
        firms = {
            f"{name} {trade}"
            for name in words.FIRMS
            for trade in words.TRADES
            if f"{name} {trade}" in context
        }
        assert len({firm[:2] for firm in firms}) == 1
        assert len({firm.split()[1] for firm in firms}) <= 2


def test_questions_of_any_words_still_name_their_fact_and_firm():
    for seed in range(100):
        asked = records.questions(
            Random(seed), Split.TRAIN, 2, 0, records.FACTS, VARIETIES["worded"]
        )
        for item in asked:
            called = {"employees": "number of employees", "headquarters": "headquarters state"}
            assert called.get(item.fact, item.fact) in item.question
            start = item.context.rfind(". ", 0, item.answer_span[0]) + 1
            sentence = item.context[start : item.context.find(".", item.answer_span[0])]
            (firm,) = (
                f"{name} {trade}"
                for name in words.FIRMS
                for trade in words.TRADES
                if re.search(rf"\b{name} {trade}\b", item.question)
            )
            assert firm in sentence


def test_only_answers_of_a_training_document_are_marked():
    pieces = records.document(Random(1), 2, 3, 4)
    for (before, _), (piece, is_answer) in pairwise(pieces):
        assert is_answer == before.endswith(" Answer:")
        assert not is_answer or piece.removesuffix(".").strip() in pieces[0][0]


def test_what_is_invented_is_never_what_evaluations_ask_about():
    held_out = (words.HELD_OUT_NAMES, words.HELD_OUT_STATES, words.HELD_OUT_FIRMS)
    assert not set(words.INVENTED) & {name for names in held_out for name in names}


def test_a_gift_put_together_is_none_of_the_test_templates():
    """Each test template's words around the two people never occur in one."""
    openings = [template.split("{place}")[0] for template in GIFT_TEMPLATES[Split.TEST]]
    patterns = [
        re.compile(re.escape(opening).replace(r"\{a\}", r"\w+").replace(r"\{b\}", r"\w+"))
        for opening in openings
    ]
    tested = [english.gift(Random(seed), Split.TEST).text for seed in range(100)]
    assert all(any(p.match(text) for p in patterns) for text in tested), "patterns find them"
    for seed in range(3000):
        gift = english.varied_gift(Random(seed), words.INVENTED)
        assert gift.text.endswith(f" to {gift.io}")
        assert gift.text.count(gift.s) == 2
        assert gift.text.count(gift.io) == 2
        assert not any(pattern.match(gift.text) for pattern in patterns)


def test_a_list_put_together_is_introduced_otherwise_than_in_tests():
    stems = [template.format(items="") for template in LIST_TEMPLATES[Split.TEST]]
    for seed in range(500):
        text = english.varied_list(Random(seed), "weekdays", 4)
        assert not any(text.startswith(stem) for stem in stems)


@pytest.mark.parametrize("kind", words.SEQUENCES)
@given(seed=SEEDS, length=st.integers(1, 20))
def test_ordered_lists_are_in_order_and_wrap(kind, seed, length):
    text = english.ordered_list(Random(seed), Split.TEST, kind, length)
    (stem,) = (t.format(items="") for t in LIST_TEMPLATES[Split.TEST] if text.startswith(t[:7]))
    items = text.removeprefix(stem).split(", ")
    assert len(items) == length
    sequence = words.SEQUENCES[kind]
    first = sequence.index(items[0])
    assert items == [sequence[(first + k) % len(sequence)] for k in range(length)]


@given(seed=SEEDS, length=st.integers(8, 60))
def test_a_block_shown_again_holds_nothing_else(seed, length):
    row = shown_again(Random(seed), BLOCK, length)
    assert len(row) == length
    assert row[: len(BLOCK)] == BLOCK
    assert set(row) == set(BLOCK)


def test_repeats_have_no_constant_period():
    """Whole repeats, other offsets and gaps all occur, so that no one distance copies."""
    follows: Counter[bool] = Counter()
    distances: set[int] = set()
    in_order = 0
    for seed in range(300):
        row = shown_again(Random(seed), BLOCK, 32)
        again = row[8:]
        follows[again[:8] == BLOCK] += 1
        distances |= {8 + i - BLOCK.index(token) for i, token in enumerate(again[:8])}
        in_order += sum(b == a + 1 for a, b in pairwise(again))
    assert in_order > 0.6 * 300 * 23, "too little of the block's order is kept"
    assert 90 < follows[True] < 210
    assert len(distances) > 5


@given(seed=SEEDS, block_len=st.integers(2, 40), bos=st.sampled_from([(), (0,)]))
def test_a_repeated_block_and_its_shuffled_control(seed, block_len, bos):
    n_bos = len(bos)
    twice, control = (
        repeated_tokens(Random(seed), BLOCK, bos, block_len, shuffled=shuffled)
        for shuffled in (False, True)
    )
    for row in (twice, control):
        assert len(row) == n_bos + 2 * block_len
        assert tuple(row[:n_bos]) == bos
        assert set(row[n_bos:]) <= set(BLOCK)
    first, second = twice[n_bos : n_bos + block_len], twice[n_bos + block_len :]
    assert first == second
    block, again = control[n_bos : n_bos + block_len], control[n_bos + block_len :]
    assert block == first
    assert Counter(again) == Counter(block)


def test_a_shuffled_copy_is_in_another_order():
    rows = [repeated_tokens(Random(s), BLOCK, (), 20, shuffled=True) for s in range(50)]
    assert sum(row[:20] == row[20:] for row in rows) == 0
    places = Counter(row[20:].index(row[0]) for row in rows)
    assert len(places) > 5


@given(seed=SEEDS, low=st.integers(1, 50), span=st.integers(0, 500))
def test_log_uniform_stays_in_its_range(seed, low, span):
    rng = Random(seed)
    assert all(low <= log_uniform(rng, low, low + span) <= low + span for _ in range(20))


def test_log_uniform_gives_every_octave_its_share():
    rng = Random(0)
    octaves = Counter(log_uniform(rng, 8, 127).bit_length() for _ in range(4000))
    assert all(abs(octaves[bits] / 4000 - 0.25) < 0.04 for bits in (4, 5, 6, 7))
