"""The built-in prose: what training held out, whole, of known files, a document a passage."""

import hashlib
import json
from itertools import pairwise

import pytest
from click.testing import CliRunner

from analysis.models.files.card import read_card
from analysis.text.builtin import (
    FOLDER,
    LEFT_OUT,
    LENGTH,
    MOST,
    PASSAGES,
    SOURCES,
    BuiltIn,
    built_in,
    passages,
    text_said,
)
from analysis.text.sources import read_source, text_rows
from analysis.text.tokens import Vocabulary
from analysis.training.corpus import Corpus
from book.cli import cli
from tests.conftest import beside

SAID = json.loads((FOLDER / SOURCES).read_text())
SHIPPED = [json.loads(line) for line in (FOLDER / PASSAGES).read_text().splitlines()]
assert len(SHIPPED) > 50, "found few passages; a check of nothing must not pass"


def test_the_sample_is_the_one_that_its_sources_are_of():
    data = (FOLDER / PASSAGES).read_bytes()
    assert hashlib.sha256(data).hexdigest() == SAID["sha256"]
    assert len(data) < 150_000
    counts = {name: said["passages"] for name, said in SAID["files"].items()}
    assert {name: sum(p["file"] == name for p in SHIPPED) for name in counts} == counts
    assert sum(counts.values()) == len(SHIPPED) == SAID["passages"]
    assert not counts.keys() & LEFT_OUT.keys() and max(counts.values()) <= MOST


def test_its_files_are_those_that_the_reference_model_was_trained_on():
    """So that what was held out of them was held out of the model."""
    card = (read_card("reference").folder / "README.md").read_text()
    for name, said in SAID["files"].items():
        assert f"| {name} | {said['source']} | {said['sha256']} |" in card
        assert "public domain" in said["source"]


def test_no_passage_was_trained_on():
    corpus = Corpus.read(beside("corpus"))
    read = zip(corpus.files, corpus.train, corpus.held_out, strict=True)
    parts = {name: (len(trained), rest) for name, trained, rest in read}
    assert passages(parts, seed=0) == SHIPPED, "made anew it is the same"
    trained = "\n".join(corpus.train)
    for passage in SHIPPED:
        start, held_out = parts[passage["file"]]
        place = passage["start"] - start
        assert place > 0
        assert held_out[place : place + len(passage["text"])] == passage["text"]
        for sentence in filter(lambda said: len(said) > 80, passage["text"].split("\n")):
            assert sentence not in trained


def test_passages_are_whole_sentences_that_lie_apart():
    sentences = "".join(f'"It was day {i} of the voyage," he said. ' for i in range(3000))
    found = sorted(passages({"a.txt": (7, sentences)}, 0), key=lambda p: p["start"])
    assert len(found) == MOST
    for passage in found:
        assert passage["text"].startswith('"It was') and passage["text"].endswith("he said.")
        assert LENGTH - 60 < len(passage["text"]) <= LENGTH
        assert sentences[passage["start"] - 7 :].startswith(passage["text"])
    gaps = [b["start"] - a["start"] - len(a["text"]) for a, b in pairwise(found)]
    assert min(gaps) > LENGTH - 60
    assert passages({"a.txt": (0, sentences[: 2 * LENGTH - 1])}, 0) == []
    assert passages({"a.txt": (0, "no end " * 2000)}, 0) == [], "nor half a sentence"


def test_nothing_behind_the_end_of_a_book_is_taken():
    book, licence = "The whale was white. " * 400, "You may copy it under this licence. " * 900
    found = passages({"a.txt": (0, f"{book}End of Project Gutenberg's book. {licence}")}, 0)
    assert found and not any("licence" in p["text"] or "End" in p["text"] for p in found)


@pytest.mark.parametrize("text", BuiltIn)
def test_rows_of_a_built_in_text_share_no_document(text):
    """At the sizes of the quick profile."""
    card = read_card("reference")
    vocabulary = Vocabulary(card.folder, card.vocab)
    rows = text_rows(text.value, vocabulary, (32, 128), bos=True, seed=0, room=1)
    assert rows.ids.shape == (32, 128)
    assert (rows.name, rows.notes) == (text.value, ())
    assert len(read_source(text.value, 0, 1000).documents) > 5


def test_texts_are_named_and_said(tmp_path):
    assert built_in("prose") is BuiltIn.PROSE and built_in("prose.txt") is None
    assert {text_said(text.value) for text in BuiltIn} == {
        "generated English",
        "public-domain prose",
    }
    assert text_said(str(tmp_path / "notes.txt")) == "notes.txt"
    assert text_said("hf:a/b:train") == "b:train"
    assert read_source("prose", 0, 10) == read_source("prose", 1, 10**6)
    for command in ("run", "build"):
        assert "`prose`" in CliRunner().invoke(cli, [command, "--help"]).output


def test_the_command_samples_the_held_out_part_alone(tmp_path):
    (tmp_path / "texts").mkdir()
    trained, held_out = "The sea was calm. " * 9_500, "The whale rose again. " * 500
    share = int(len(trained + held_out) * 0.95)
    (tmp_path / "texts" / "a.txt").write_text(trained + held_out)
    (tmp_path / "texts" / "SOURCES.md").write_text("| a.txt | somebody | public domain |\n")
    out = tmp_path / "out"
    asked = ["sample-prose", "--corpus", str(tmp_path / "texts"), "--out", str(out)]
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in (out / PASSAGES).read_text().splitlines()]
    assert found and all(p["start"] > share for p in found)
    said = json.loads((out / SOURCES).read_text())
    assert said["files"]["a.txt"]["source"] == "somebody; public domain"
    again = CliRunner().invoke(cli, asked)
    assert again.exit_code == 0
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    refused = CliRunner().invoke(cli, [*asked[:-1], str(tmp_path / "theirs")])
    assert refused.exit_code == 2 and "files of others" in refused.output
