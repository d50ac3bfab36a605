"""Shuffled lists shown again: which words, in which orders, and where they are probed."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.text.lists import (
    Design,
    ListQuestion,
    Shown,
    list_words,
    max_words,
    probe_slots,
    shown_lists,
)
from analysis.text.pool import Pool, token_pool
from analysis.text.tokens import Vocabulary
from analysis.text.words import MONTHS, NUMBER_WORDS, WEEKDAYS

ASKED = ListQuestion(design=Design.PROBE, shown=Shown.ITEMS, n_words=9, n_permutations=16, seed=3)


@pytest.fixture(scope="module")
def vocabulary(worded) -> Vocabulary:
    card = read_card(str(worded))
    return Vocabulary(card.folder, card.vocab)


def everything(vocabulary: Vocabulary) -> Pool:
    return token_pool("all", "reference", vocabulary, 0)


@pytest.fixture(scope="module")
def shown(vocabulary):
    def show(**changes):
        return shown_lists(vocabulary, everything(vocabulary), 64, replace(ASKED, **changes))

    return show


def test_a_probe_is_an_item_and_its_slot_is_where_it_was(shown):
    lists = shown()
    ids = lists.tokens.ids
    assert ids.shape == (16, 1 + 9 + 1)
    assert lists.tokens.targets == (10,)
    assert (ids[:, 0] == 0).all()
    np.testing.assert_array_equal(ids[:, 1:10], lists.items)
    for row, (slot,) in zip(ids, lists.slots, strict=True):
        assert row[10] == row[1 + slot]


def test_a_list_shown_twice_is_the_same_list_and_every_item_is_read(shown):
    lists = shown(design=Design.SERIAL)
    ids = lists.tokens.ids
    assert ids.shape == (16, 1 + 9 + 9)
    np.testing.assert_array_equal(ids[:, 1:10], ids[:, 10:])
    assert lists.tokens.targets == tuple(range(10, 18))
    np.testing.assert_array_equal(lists.slots, [range(8)] * 16)


def test_the_last_item_is_not_read_from_since_the_list_follows_it_again(shown):
    for design in Design:
        assert shown(design=design).slots.max() == 7


def test_every_sequence_is_a_permutation_of_the_same_different_words(shown):
    items = shown().items
    assert len(set(items[0])) == 9
    assert (np.sort(items) == np.sort(items[0])).all()
    assert len({tuple(row) for row in items}) > 1


def test_probes_lie_in_every_slot_equally_often_so_that_lags_say_nothing_of_the_place(shown):
    slots = shown().slots[:, 0]
    np.testing.assert_array_equal(np.bincount(slots, minlength=8), 2)


@pytest.mark.parametrize("n_words", [4, 9, 50, 100])
def test_probes_are_spread_over_the_list_from_the_first_on(n_words):
    """A round holds every slot once; the first half of it is every second slot."""
    order = probe_slots(n_words, 2 * (n_words - 1))
    assert order[: n_words - 1] == order[n_words - 1 :]
    assert sorted(order[: n_words - 1]) == list(range(n_words - 1))
    assert sorted(order[: n_words // 2]) == list(range(0, n_words - 1, 2))


def test_conditions_are_paired(shown):
    """Both designs, items and other words, and fewer permutations go over the same orders."""
    items = shown().items
    for other in ({"design": Design.SERIAL}, {"shown": Shown.OTHERS}):
        np.testing.assert_array_equal(shown(**other).items, items)
    np.testing.assert_array_equal(shown(n_permutations=5).items, items[:5])
    np.testing.assert_array_equal(shown(n_permutations=5).slots, shown().slots[:5])
    assert (shown(seed=4).items != items).any()


def test_other_words_are_in_no_list(shown):
    for design in Design:
        lists = shown(design=design, shown=Shown.OTHERS)
        again = lists.tokens.ids[:, list(lists.tokens.targets)]
        assert not np.isin(again, lists.items).any()
        assert all(len(set(row)) == len(row) for row in again)
        np.testing.assert_array_equal(lists.slots, shown(design=design).slots)


def test_words_are_single_tokens_without_an_order_of_their_own(vocabulary):
    words = list_words(vocabulary)
    texts = [vocabulary.display(token) for token in words]
    assert len(texts) > 100
    for token, text in zip(words, texts, strict=True):
        assert vocabulary.encode(f"a{text}")[-1] == token
        assert text[0] == " "
        assert len(text) > 3
    lowered = [text.strip().lower() for text in texts]
    assert len(set(lowered)) == len(lowered)
    ordered = {word.lower() for word in (*WEEKDAYS, *MONTHS, *NUMBER_WORDS)}
    assert ordered.isdisjoint(lowered)


@pytest.mark.parametrize("n_words", [4, 25])
def test_words_are_those_of_the_pool_and_then_those_that_come_next(vocabulary, n_words):
    """A longer list than the pool has words for takes the next in its order."""
    pool, known = token_pool("frequent:40", "reference", vocabulary, 0), list_words(vocabulary)
    inside = set(known) & set(pool.ids)
    assert 8 <= len(inside) < 50
    ranked = [token for token in pool.ranked if token in set(known)]
    asked = replace(ASKED, n_words=n_words)
    lists = [
        shown_lists(vocabulary, pool, 64, replace(asked, shown=shown, seed=seed))
        for shown in Shown
        for seed in range(5)
    ]
    used = {int(i) for one in lists for i in one.tokens.ids[:, 1:].flat}
    assert used <= set(ranked[: max(len(inside), 2 * n_words)])
    assert (used <= inside) == (2 * n_words <= len(inside))
    assert "words among the 40 ids that are most frequent" in lists[0].tokens.source


def test_lists_as_long_as_the_context(vocabulary, shown):
    for design, longest in ((Design.PROBE, 62), (Design.SERIAL, 31)):
        assert max_words(vocabulary, design, 64) == longest
        assert shown(design=design, n_words=longest).tokens.ids.shape[1] in (63, 64)
        expected = f"expected lists of 4 to {longest} words.*got {longest + 1}"
        with pytest.raises(UserError, match=expected):
            shown(design=design, n_words=longest + 1)


def test_too_few_words_are_one_clear_message(vocabulary):
    n = len(list_words(vocabulary)) // 2
    shown_lists(
        vocabulary, everything(vocabulary), 10_000, replace(ASKED, n_words=n, n_permutations=2)
    )
    with pytest.raises(UserError, match=f"words of one token each.*lists of at most {n} words"):
        shown_lists(
            vocabulary,
            everything(vocabulary),
            10_000,
            replace(ASKED, n_words=n + 1, n_permutations=2),
        )
    assert max_words(vocabulary, Design.PROBE, 10_000) == n


def test_lists_that_cannot_be_measured(vocabulary, shown, tmp_path):
    with pytest.raises(UserError, match="expected lists of 4 to"):
        shown(n_words=3)
    with pytest.raises(UserError, match="at least 2 permutations"):
        shown(n_permutations=1)
    with pytest.raises(UserError, match=r"expected tokenizer\.json"):
        bare = Vocabulary(tmp_path, 100)
        shown_lists(bare, everything(bare), 64, ASKED)
