"""Reading text: rows of the right ids, the BOS exactly once, and one clear error otherwise."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from analysis.errors import UserError
from analysis.text.sources import Source, halves_apart, read_source, windows
from analysis.text.tokens import Tokens, Vocabulary

TEXT = "Mary and John went to the shop, and Mary gave a red book to John."
DOCUMENTS = [TEXT, "The lamp was old!", TEXT]


@pytest.fixture
def vocabulary(worded) -> Vocabulary:
    config = json.loads((worded / "config.json").read_text())
    return Vocabulary(worded, config["vocab_size"])


def rows_of(source, vocabulary, **changes) -> Tokens:
    asked = {"n_sequences": 4, "n_tokens": 9, "bos": True, "seed": 0} | changes
    return windows(source, vocabulary, **asked)


def write(path, frame: pl.DataFrame) -> None:
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_ndjson(path)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("expected ")
    assert ";" in message
    return message


def test_a_text_file_is_one_document(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text(TEXT + "\nÄpfel", encoding="utf-8")
    source = read_source(str(path), 0, 100)
    assert source.documents == (TEXT + "\nÄpfel",)
    assert source.name == str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["text", "input_ids"])
def test_tables_hold_a_document_a_row(suffix, column, tmp_path):
    documents = DOCUMENTS if column == "text" else [[5, 6, 7], [8], [9, 10]]
    path = tmp_path / f"table{suffix}"
    write(path, pl.DataFrame({"other": [1, 2, 3], column: documents}))
    kept = tuple(documents) if column == "text" else ((5, 6, 7), (8,), (9, 10))
    assert read_source(str(path), 0, 100).documents == kept


def test_the_hash_is_of_the_content_alone(tmp_path):
    paths = [tmp_path / name for name in ("a.jsonl", "b.parquet", "c.jsonl", "d.jsonl")]
    changed = [DOCUMENTS[1], *DOCUMENTS[:1], DOCUMENTS[2]]
    joined = [DOCUMENTS[0] + DOCUMENTS[1], DOCUMENTS[2]]
    for path, documents in zip(paths, (DOCUMENTS, DOCUMENTS, changed, joined), strict=True):
        write(path, pl.DataFrame({"text": documents}))
    first, same, other, third = (read_source(str(path), 0, 100).sha256 for path in paths)
    assert first == same
    assert len({first, other, third}) == 3


def test_generated_text_is_decided_by_its_seed():
    first, again, other = (read_source("reference", seed, 200) for seed in (0, 0, 1))
    assert first == again
    assert first.sha256 != other.sha256
    n_characters = sum(len(document) for document in first.documents)
    assert 1200 <= n_characters < 6000


@pytest.mark.parametrize("name", ["missing.txt", "missing.parquet", "folder", "nonsense"])
def test_a_missing_file_is_an_error(name, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="found no file") as error:
        read_source(str(tmp_path / name), 0, 10)
    assert name in one_line(error)


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl", "none.jsonl"])
def test_an_empty_file_is_an_error(name, tmp_path):
    path = tmp_path / name
    path.write_text('{"text": ""}\n' if name == "none.jsonl" else "")
    with pytest.raises(UserError) as error:
        read_source(str(path), 0, 10)
    one_line(error)


@pytest.mark.parametrize("name", ["latin.txt", "latin.jsonl"])
def test_text_that_is_not_utf_8_is_an_error(name, tmp_path):
    path = tmp_path / name
    path.write_bytes('{"text": "Äpfel"}\n'.encode("latin-1"))
    with pytest.raises(UserError, match=r"UTF-8|reading .* failed") as error:
        read_source(str(path), 0, 10)
    one_line(error)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_table_without_the_column_is_an_error(suffix, tmp_path):
    path = tmp_path / f"table{suffix}"
    write(path, pl.DataFrame({"words": DOCUMENTS, "id": [1, 2, 3]}))
    with pytest.raises(UserError, match="column text or input_ids") as error:
        read_source(str(path), 0, 10)
    assert "words, id" in one_line(error)


@pytest.mark.parametrize(
    ("column", "values"),
    [("text", [1, 2]), ("input_ids", ["a", "b"]), ("input_ids", [1, 2]), ("input_ids", [[0.5]])],
)
def test_a_column_of_another_type_is_an_error(column, values, tmp_path, vocabulary):
    path = tmp_path / "table.parquet"
    write(path, pl.DataFrame({column: values}))
    with pytest.raises(UserError) as error:
        rows_of(read_source(str(path), 0, 10), vocabulary, n_tokens=3, n_sequences=1)
    assert column in one_line(error)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_damaged_table_is_an_error(suffix, tmp_path):
    path = tmp_path / f"table{suffix}"
    path.write_text("{not a table")
    with pytest.raises(UserError, match=r"reading .* failed") as error:
        read_source(str(path), 0, 10)
    one_line(error)


def test_a_data_set_that_cannot_be_reached_is_an_error():
    with pytest.raises(UserError, match="hf:no/such") as error:
        read_source("hf:no/such:train:text", 0, 10)
    one_line(error)


def plain(vocabulary, text: str) -> list[int]:
    return vocabulary.require().encode(text, add_special_tokens=False).ids


def test_rows_are_the_stream_cut_in_the_order_of_halves_apart(vocabulary):
    source = Source("x.txt", "0", (TEXT, TEXT))
    stream = plain(vocabulary, TEXT) * 2
    for bos in (True, False):
        found = rows_of(source, vocabulary, bos=bos, n_sequences=100)
        body = 8 if bos else 9
        rows = [stream[i : i + body] for i in range(0, len(stream) - body + 1, body)]
        assert found.ids[:, int(bos) :].tolist() == [
            rows[i] for i in halves_apart(range(len(rows)))
        ]
        assert found.ids.dtype == np.int32
        assert found.bos == bos


def test_fewer_rows_are_chosen_at_random_by_the_seed(vocabulary):
    source = Source("x.txt", "0", (TEXT,) * 30)
    everything = {tuple(row) for row in rows_of(source, vocabulary, n_sequences=1000).ids.tolist()}
    first, again, other = (
        rows_of(source, vocabulary, n_sequences=7, seed=seed).ids for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()
    assert {tuple(row) for row in first.tolist()} <= everything


@pytest.mark.parametrize("own", [False, True], ids=["plain", "tokenizer adds a BOS"])
@pytest.mark.parametrize("bos", [True, False])
def test_the_bos_is_there_once_or_not_at_all(own, bos, vocabulary, worded, tmp_path):
    """Even if the tokenizer adds one of its own, and if the ids hold some already."""
    tokenizer = Tokenizer.from_file(str(worded / "tokenizer.json"))
    if own:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 0)]
        )
        assert tokenizer.encode("a shop").ids[0] == 0
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text((worded / "config.json").read_text())
    here = Vocabulary(tmp_path, vocabulary.vocab)
    ids = tuple(plain(vocabulary, TEXT))
    for documents in ((TEXT, TEXT), ("<bos>" + TEXT, TEXT), ((0, *ids), (0, 0, *ids))):
        found = rows_of(Source("x", "0", documents), here, bos=bos).ids
        assert ((found == 0).sum(1) == int(bos)).all()
        assert ((found[:, 0] == 0) == bos).all()


def test_a_bos_is_not_asked_of_a_tokenizer_without_one(vocabulary, worded, tmp_path):
    config = json.loads((worded / "config.json").read_text()) | {"bos_token_id": None}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text((worded / "tokenizer.json").read_text())
    here = Vocabulary(tmp_path, vocabulary.vocab)
    assert here.bos == ()
    source = Source("x", "0", (TEXT,))
    with pytest.raises(UserError, match="expected a BOS token") as error:
        rows_of(source, here)
    one_line(error)
    assert rows_of(source, here, bos=False).ids.shape[1] == 9


@pytest.mark.parametrize(
    ("files", "bos", "taken"),
    [
        ({}, (0,), (0,)),
        ({"tokenizer_config.json": {"model_max_length": 64}}, (0,), (0,)),
        ({"tokenizer_config.json": {"bos_token": None, "eos_token": "<unk>"}}, (), (0,)),
        ({"tokenizer_config.json": {"eos_token": "<unk>", "add_bos_token": True}}, (), (0,)),
        ({"tokenizer_config.json": {"bos_token": "<unk>"}}, (1,), (1,)),
        ({"tokenizer_config.json": {"bos_token": {"content": "<unk>"}}}, (1,), (1,)),
        ({"special_tokens_map.json": {"bos_token": "<unk>"}}, (1,), (1,)),
        ({"tokenizer_config.json": {"bos_token": "unheard of"}}, (), (0,)),
    ],
)
def test_the_bos_is_the_tokenizers(files, bos, taken, vocabulary, worded, tmp_path):
    """The configuration names id 0: it counts where nothing says which, or if it is asked for."""
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text((worded / name).read_text())
    for name, named in files.items():
        (tmp_path / name).write_text(json.dumps(named))
    here = Vocabulary(tmp_path, vocabulary.vocab)
    assert here.bos == bos
    assert Vocabulary(tmp_path, vocabulary.vocab, configured=True).bos == taken
    assert ("config.json names id 0 ('<bos>')" in here.bos_note) == (bos != (0,))
    assert ("--bos" in here.bos_note) == (not bos)
    assert (bos or (0,)) == taken


@pytest.mark.parametrize("told", [None, -1, 10**5, "no id"])
def test_a_bos_that_is_asked_for_and_nowhere_is_an_error(told, vocabulary, worded, tmp_path):
    shutil.copytree(worded, tmp_path / "model")
    for name, changes in (
        ("tokenizer_config.json", {"eos_token": "<unk>"}),
        ("config.json", {**json.loads((worded / "config.json").read_text()), "bos_token_id": told}),
    ):
        (tmp_path / "model" / name).write_text(json.dumps(changes))
    here = Vocabulary(tmp_path / "model", vocabulary.vocab)
    assert here.bos == ()
    with pytest.raises(UserError, match="expected a BOS for --bos") as error:
        _ = replace(here, configured=True).bos
    assert repr(told) in one_line(error)


def test_a_text_shorter_than_one_row_is_an_error(vocabulary):
    with pytest.raises(UserError, match=r"at least 40 tokens in short\.txt, found") as error:
        rows_of(Source("short.txt", "0", (TEXT,)), vocabulary, n_tokens=41)
    one_line(error)


@pytest.mark.parametrize("wrong", [10**6, -1, 2**40])
def test_ids_outside_the_vocabulary_are_an_error(wrong, vocabulary):
    source = Source("ids.jsonl", "0", ((5, 6, 7, wrong, 8, 9, 10, 11, 12),))
    with pytest.raises(UserError, match="token ids below") as error:
        rows_of(source, vocabulary)
    assert str(wrong) in one_line(error)


def test_text_that_the_model_has_no_ids_for_is_an_error(vocabulary):
    smaller = replace(vocabulary, vocab=max(vocabulary.encode(TEXT)))
    with pytest.raises(UserError, match=f"token ids below {smaller.vocab}") as error:
        rows_of(Source("x.txt", "0", (TEXT,)), smaller)
    one_line(error)


def test_a_word_that_the_model_has_no_id_for_is_none(vocabulary):
    known = vocabulary.single(["house", "garden", "river"])
    (*_, largest) = sorted(known.values())
    smaller = replace(vocabulary, vocab=largest)
    assert smaller.single(list(known)) == {w: i for w, i in known.items() if i < largest}


def test_the_identity_of_rows_is_their_ids_and_shape(vocabulary):
    found = rows_of(Source("x.txt", "0", (TEXT, TEXT)), vocabulary)
    again = replace(found, name="other", source="elsewhere")
    assert again.text == found.text
    others = [
        replace(found, ids=found.ids[:, ::-1].copy()),
        replace(found, ids=found.ids.reshape(-1, 3)),
        replace(found, ids=found.ids[1:]),
        replace(found, targets=(1, 2)),
    ]
    assert len({found.text, *(o.text for o in others)}) == 5
    row = found.row().row(0, named=True)
    assert row["n_sequences"] * 9 == row["n_tokens"] == found.ids.size
    assert row["text"] == found.sha256[:16]


def test_random_tokens_are_drawn_from_ordinary_ones_only(vocabulary):
    assert 0 not in vocabulary.ordinary
    assert set(vocabulary.ordinary) == set(range(1, vocabulary.vocab)) - {
        i for i, t in vocabulary.require().get_added_tokens_decoder().items() if t.special
    }
    assert Counter(vocabulary.ordinary).most_common(1)[0][1] == 1


def test_single_tokens_are_those_of_a_word_in_mid_sentence(vocabulary):
    found = vocabulary.single(["Mary", "shop", "Zanzibarbarian", "two words"])
    assert {"Mary", "shop"} <= found.keys()
    assert "two words" not in found
    for word in ("Mary", "shop"):
        assert vocabulary.display(found[word]) == f" {word}"


def test_words_that_a_tokenizer_does_not_know_or_tell_apart_are_no_single_tokens(tmp_path):
    known = {"<unk>": 0, "a": 1, "mary": 2, "shop": 3}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    here = Vocabulary(tmp_path, 4)
    assert here.single(["John", "Mary", "MARY", "Lucy", "shop"]) == {"Mary": 2, "shop": 3}
    assert here.says([2, 3], "Mary shop")
    assert not here.says([2, 0], "Mary John")


def test_without_a_tokenizer_ids_are_shown_by_number(saved):
    bare = Vocabulary(saved("llama"), 100)
    assert bare.tokenizer is None
    assert bare.hash == ""
    assert bare.single(["Mary"]) == {}
    assert bare.display(7) == "#7"
    with pytest.raises(UserError, match=r"tokenizer\.json") as error:
        bare.require()
    one_line(error)


def test_a_damaged_tokenizer_is_an_error(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="is damaged") as error:
        _ = Vocabulary(tmp_path, 10).tokenizer
    one_line(error)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 61])
def test_halves_of_rows_share_no_more_than_the_documents_at_their_borders(n, vocabulary):
    """Documents of 5 ids are told by them; in the order of the text neighbours share them."""
    documents = tuple((7 + i,) * 5 for i in range(2 * n))
    source = Source("ids", "0", documents)
    rows = rows_of(source, vocabulary, n_sequences=n, n_tokens=9)
    ids = rows.ids[:, 1:]
    assert len(ids) == n == len(set(map(tuple, ids)))
    assert sorted(halves_apart(range(n))) == list(range(n))

    def shared(first: np.ndarray, second: np.ndarray) -> int:
        return len({*first.flat} & {*second.flat})

    measured = ids[::2]
    assert shared(ids[::2], ids[1::2]) <= 1
    assert shared(measured[::2], measured[1::2]) <= 1
    in_order = np.array(sorted(ids.tolist()))
    assert n < 7 or shared(in_order[::2], in_order[1::2]) > n // 2


def test_rows_share_no_document_where_there_are_enough(vocabulary):
    """Documents of 5 ids are told by them; a row of 8 has tokens of two or three."""
    documents = tuple((7 + i,) * 5 for i in range(120))
    rows = rows_of(Source("ids", "0", documents), vocabulary, n_sequences=20, n_tokens=9)
    held = [set(row[1:]) for row in rows.ids.tolist()]
    assert len(held) == 20 and rows.notes == ()
    assert sum(map(len, held)) == len(set.union(*held))


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_too_few_documents_are_filled_up_and_it_is_said(seed, vocabulary):
    documents = tuple((7 + i,) * 80 for i in range(3))
    source = Source("ids", "0", documents)
    rows = rows_of(source, vocabulary, n_sequences=20, n_tokens=9, seed=seed)
    assert len(rows.ids) == 20
    (note,) = rows.notes
    assert note.startswith("ids has 3 rows of 9 tokens that share no document, 20 are used: ")
