"""Texts, questions and result files of any bytes: read, or refused in one line."""

import io
import json
import os

import polars as pl
import pytest
from hypothesis import strategies as st

from analysis.studies.published import PublishedFile
from analysis.studies.retrieval.jsonl import fitting, read_items
from analysis.text.sources import read_source, windows
from analysis.text.tokens import Vocabulary
from store.schema import conformed
from tests.commands.hostile import (
    JSON,
    NAME,
    RAW,
    SCALARS,
    as_json,
    edited,
    hostile,
    mutated,
    refused,
    rewrite,
)
from tests.studies.published import published_files as made


@pytest.fixture(scope="module")
def vocabulary(worded):
    return Vocabulary(worded, json.loads((worded / "config.json").read_text())["vocab_size"])


def read(path, vocabulary):
    """What a run does with a text; rows, or None and the line that it was refused with."""

    def rows():
        source = read_source(str(path), 0, 100)
        found = windows(source, vocabulary, n_sequences=2, n_tokens=4, bos=True, seed=0)
        return conformed("texts", found.row())

    return refused(rows)


ENDINGS = st.sampled_from(["\n", "\r", "\0", "\x1a", "\u2028", "\ufeff", "\x85", " ", "a"])
LINES = st.builds(lambda text, end, n: (text + end) * n, st.text(), ENDINGS, st.integers(1, 9_999))


@hostile(800, text=RAW | st.binary() | LINES.map(str.encode))
def test_any_bytes_are_a_text_or_refused(place, vocabulary, text):
    found, line = read(rewrite(place.work / "text.txt", text), vocabulary)
    assert found is not None or "UTF-8" in line or "tokens in" in line or "is empty" in line
    assert place.untouched()


@hostile(300, name=NAME, folder=st.sampled_from(["", "../", "x/"]))
def test_any_name_of_a_text_is_found_or_refused(place, vocabulary, name, folder, monkeypatch):
    monkeypatch.chdir(place.work)
    if not name.startswith("hf:"):
        assert read(folder + name, vocabulary)[0] is None
    assert place.untouched()


ODD_NAMES = (b"\xff.txt", b"a*.parquet", b"[a].jsonl", b"a=1", "\u202e.txt".encode())


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_is_read_by_its_own_name_alone(place, vocabulary, name):
    """Neither a pattern, nor bytes that are not UTF-8, name other files or stop a run."""
    place.clear()
    path = place.work / os.fsdecode(name)
    words = pl.DataFrame({"text": ["a red book " * 9]})
    for each in (path, path.with_name("a1.parquet")):
        if each.suffix == ".parquet":
            each.write_bytes(parquet(words))
        else:
            each.write_text(words.write_ndjson() if each.suffix == ".jsonl" else words.item())
    found, line = read(path, vocabulary)
    assert found is not None, line
    assert len(read_source(str(path), 0, 9).documents) == 1


RECORD = {"text": "a red book", "other": 1, "input_ids": [3, 4, 5, 6, 7, 8]}
LINE = edited(RECORD) | JSON | st.just(RECORD)


@hostile(500, lines=st.lists(LINE.map(as_json) | RAW | mutated(as_json(RECORD)), max_size=4))
def test_any_lines_of_json_are_documents_or_refused(place, vocabulary, lines):
    read(rewrite(place.work / "text.jsonl", b"\n".join(lines)), vocabulary)
    assert place.untouched()


def parquet(frame: pl.DataFrame) -> bytes:
    data = io.BytesIO()
    frame.write_parquet(data)
    return data.getvalue()


COLUMNS = (
    *(["a red book "], ["a", None], [None], [1], [1.5], [True], [b"\xff"], ["\0"], []),
    *(
        [[3, 4, 5, 6]],
        [[3, None]],
        [[2**63]],
        [[-1, 3, 4]],
        [[2**40, 3, 4]],
        [[]],
        [[[1]]],
        [["a"]],
    ),
    *([{"a": 1}], [pl.Series([3, 4, 5], dtype=pl.UInt8)], [[3.5, 4.0]], [None, [3, 4, 5]]),
)
TABLES = st.builds(
    lambda name, cells: parquet(pl.DataFrame({name: cells}, strict=False)),
    st.sampled_from(["text", "input_ids", "body", ""]),
    st.sampled_from(COLUMNS),
)
TABLE = parquet(pl.DataFrame({"text": ["a red book " * 9], "input_ids": [[3, 4, 5]]}))


@hostile(300, table=TABLES | mutated(TABLE) | RAW)
def test_any_table_holds_documents_or_is_refused(place, vocabulary, table):
    read(rewrite(place.work / "text.parquet", table), vocabulary)
    assert place.untouched()


QUESTION = {
    **{"id": "a1", "context": "Mary gave a red book to John. The lamp was old."},
    **{"question": "Question: who? Answer:", "answer": "red", "answer_span": [12, 15]},
    "wrong": ["old", "lamp"],
}
ASKED = edited(QUESTION) | st.just(QUESTION) | JSON


@hostile(1000, lines=st.lists(ASKED.map(as_json) | RAW | mutated(as_json(QUESTION)), max_size=4))
def test_any_questions_are_asked_or_refused(place, vocabulary, lines):
    path = rewrite(place.work / "questions.jsonl", b"\n".join(lines))
    items, out = read_items(path)
    prompts, unfit = fitting(items, vocabulary, n_ctx=64, bos=True)
    assert len(prompts) + len(unfit) == len(items)
    for line in map(str, [*out, *unfit]):
        assert line.isprintable() and len(line) < 2_000
        assert "expected " in line
    assert place.untouched()


FORMS = (made.ablation(0), made.detection(), made.LISTED, made.PAIRS)
SAID = [as_json(form) for form in FORMS] + [made.TABLE.encode(), made.LAG.encode()]
CELLS = st.lists(st.lists(SCALARS.map(str), min_size=1, max_size=4).map(",".join), max_size=4)
HEADS = st.sampled_from(["scores,layer,head\n", "Lag,Mean Probability\n", '"', ""])
RESULTS = (
    st.sampled_from(FORMS).flatmap(edited).map(as_json)
    | st.sampled_from(SAID).flatmap(mutated)
    | st.builds(
        lambda head, rows: (head + "\n".join(rows)).encode("utf-8", "replace"), HEADS, CELLS
    )
    | RAW
)


@hostile(1000, data=RESULTS, name=NAME)
def test_any_results_are_read_or_refused(place, data, name):
    path = rewrite(place.work / "results", data)
    file, _ = refused(lambda: PublishedFile.read(path))
    if file is not None:
        for table, frame in file.run(lambda *_: None).items():
            conformed(table, frame.with_columns(run=pl.lit("r")))
    refused(lambda: PublishedFile.read(place.work / name.lstrip("/~")))
    assert place.untouched()
