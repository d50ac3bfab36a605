"""What random tokens are drawn from: known ids first, and never fewer than are needed unsaid."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import UserError
from analysis.models.files.card import read_card
from analysis.text.pool import LEAST, N_READ, Pool, ceiling, token_pool
from analysis.text.repeats import random_block, repeated_tokens
from analysis.text.sources import read_source
from analysis.text.tokens import Vocabulary

TEXT = "Mary gave a red book to John. Mary and John were at the shop. "
RULES = ("text", "frequent:5", "frequent:150", "all")


@pytest.fixture(scope="module")
def vocabulary(worded) -> Vocabulary:
    card = read_card(str(worded))
    return Vocabulary(card.folder, card.vocab)


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("short") / "short.txt"
    path.write_text(TEXT)
    return str(path)


def counts(text: str, vocabulary: Vocabulary) -> Counter[int]:
    """How often ordinary ids occur, counted one by one."""
    documents = read_source(text, 0, N_READ).documents
    ids = [i for document in documents for i in vocabulary.encode(document)][:N_READ]
    return Counter(i for i in ids if i in vocabulary.ordinary)


def test_the_default_pool_is_the_ids_that_occur_in_the_text(vocabulary):
    pool = token_pool("text", "reference", vocabulary, 0)
    assert set(pool.ids) == set(counts("reference", vocabulary))
    assert pool.ids == tuple(sorted(pool.ids))
    assert f"{pool.size:,} ids that occur in the text 'reference'" in pool.said


def test_the_most_frequent_ids_come_first(vocabulary):
    found = counts("reference", vocabulary)
    pool = token_pool("frequent:20", "reference", vocabulary, 0)
    assert len(pool.ids) == 20
    rest = set(found) - set(pool.ids)
    assert min(found[i] for i in pool.ids) >= max(found[i] for i in rest)
    assert "20 ids that are most frequent" in pool.said


def test_a_small_pool_is_widened_by_the_built_in_text_and_says_so(vocabulary, short):
    own, built_in = counts(short, vocabulary), counts("reference", vocabulary)
    pool = token_pool("text", short, vocabulary, 0)
    assert pool.size == LEAST > len(own)
    assert set(own) < set(pool.ids)
    added, left = set(pool.ids) - set(own), set(built_in) - set(pool.ids)
    assert min(built_in[i] for i in added) >= max(built_in[i] for i in left)
    assert f"{LEAST - len(own)} others to fill up" in pool.said


@pytest.mark.parametrize("rule", RULES)
def test_no_pool_has_special_ids_or_one_twice(vocabulary, short, rule):
    pool = token_pool(rule, short, vocabulary, 0)
    assert sorted(pool.ranked) == list(vocabulary.ordinary)
    assert len(set(pool.ids)) == pool.size > 1
    assert not {*vocabulary.own_bos} & set(pool.ids)


def test_the_most_that_can_be_asked_is_all(vocabulary, short):
    pool = token_pool("frequent:999999", short, vocabulary, 0)
    assert pool.ids == token_pool("all", short, vocabulary, 0).ids == vocabulary.ordinary


def test_without_a_tokenizer_the_pool_is_all_and_says_why(saved):
    card = read_card(str(saved("llama")))
    bare = Vocabulary(card.folder, card.vocab)
    pool = token_pool("text", "reference", bare, 0)
    assert pool.ids == bare.ordinary
    assert "without a tokenizer" in pool.said


@pytest.mark.parametrize("rule", ["", "most", "frequent", "frequent:", "frequent:1", "frequent:-4"])
def test_another_rule_is_refused(vocabulary, rule):
    with pytest.raises(UserError, match="expected --token-pool text, all, or frequent:N"):
        token_pool(rule, "reference", vocabulary, 0)


@pytest.mark.parametrize(("name", "content"), [("a.txt", ""), ("a.jsonl", ""), ("b.jsonl", "\n")])
def test_a_text_without_documents_is_stated(vocabulary, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="expected "):
        token_pool("text", str(tmp_path / name), vocabulary, 0)


@given(n_ids=st.integers(2, 40), length=st.integers(1, 40), seed=st.integers(0, 99))
def test_blocks_have_no_token_twice_where_there_are_enough(n_ids, length, seed):
    ids = range(100, 100 + n_ids)
    block = random_block(Random(seed), ids, length)
    assert len(block) == length
    assert set(block) <= set(ids)
    assert len(set(block)) == length or n_ids < length


def test_a_smaller_pool_is_noted_and_a_large_enough_one_is_not():
    pool = Pool("all", "all 12 ids", tuple(range(12)), 12)
    rows = [repeated_tokens(Random(0), pool.ids, (), 20, shuffled=False)]
    (note,) = pool.tokens(rows, "rows", 0, bos=False, block_len=20).notes
    assert note.startswith("blocks of 20 tokens are drawn with replacement from all 12 ids")
    assert not pool.tokens(rows, "rows", 0, bos=False, block_len=12).notes


@pytest.mark.parametrize(("n_ids", "length"), [(128, 50), (12, 20)])
def test_the_ceiling_is_the_share_of_tokens_without_another_copy(n_ids, length):
    """Of blocks drawn with replacement; by simulation."""
    rng = Random(0)
    blocks = [rng.choices(range(n_ids), k=length) for _ in range(4_000)]
    alone = sum(Counter(block)[i] == 1 for block in blocks for i in block) / (4_000 * length)
    assert (1 - 1 / n_ids) ** (length - 1) == pytest.approx(alone, abs=0.01)
    assert ceiling(n_ids, length) == (1 if n_ids >= length else (1 - 1 / n_ids) ** (length - 1))
