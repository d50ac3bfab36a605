"""Of a file no more is read than a question needs, and what fits is read as it always was."""

import os

import polars as pl
import pytest

from analysis.errors import UserError
from analysis.text import documents
from analysis.text.sources import read_source

from .test_text_sources import one_line, rows_of, vocabulary, write

__all__ = ["vocabulary"]
LONG = "Mäßig rote Bücher 本 liegen im Laden. Mary saw a dog.\r\n"


@pytest.fixture
def small_bound(monkeypatch) -> int:
    monkeypatch.setattr(documents, "LEAST", 1000)
    monkeypatch.setattr(documents, "PER_TOKEN", 0)
    return 1000


@pytest.mark.parametrize("shift", range(4))
def test_of_a_long_text_only_the_beginning_is_read(shift, small_bound, tmp_path, vocabulary):
    path = tmp_path / "long.txt"
    data = ("x" * shift + LONG * 99).encode()
    path.write_bytes(data)
    source = read_source(str(path), 0, 1)
    whole = path.read_text(encoding="utf-8")
    (text,) = source.documents
    assert whole.startswith(text) and small_bound - 60 < len(text.encode()) <= small_bound
    assert source.part == f"the first 1,000 of {len(data):,} bytes"
    found = rows_of(source, vocabulary, n_sequences=1)
    assert f"long.txt (the first 1,000 of {len(data):,} bytes) sha256:" in found.source
    assert found.notes == (f"long.txt is read in part, {source.part}: what is asked takes no more",)
    assert "of them are used" in rows_of(source, vocabulary, n_sequences=10**6).notes[1]


def test_a_text_within_the_bound_is_read_whole(small_bound, tmp_path, vocabulary):
    path = tmp_path / "text.txt"
    path.write_bytes(b"red book " * 111 + b"a")
    assert path.stat().st_size == small_bound
    source = read_source(str(path), 0, 1)
    assert source.documents == (path.read_text(),)
    assert source.part == ""
    found = rows_of(source, vocabulary, n_sequences=1)
    assert found.source == f"text.txt sha256:{source.sha256}" and found.notes == ()


def test_what_is_read_grows_with_what_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(documents, "LEAST", 100)
    path = tmp_path / "text.txt"
    path.write_text("a" * 10_000)
    read = [len(read_source(str(path), 0, n).documents[0]) for n in (1, 100, 10_000)]
    assert read == [100, 1600, 10_000]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_of_a_long_table_only_whole_first_rows_are_read(suffix, small_bound, tmp_path):
    path = tmp_path / f"table{suffix}"
    written = [f"{i} {LONG}" for i in range(5000)]
    write(path, pl.DataFrame({"text": written}))
    source = read_source(str(path), 0, 1)
    n = len(source.documents)
    assert source.documents == tuple(written[:n])
    assert 5 <= n < 20 and source.part.startswith("the first ")
    ids = [[i, i + 1, i + 2] for i in range(5000)]
    write(path, pl.DataFrame({"input_ids": ids}))
    source = read_source(str(path), 0, 1)
    assert source.documents == tuple(map(tuple, ids[: len(source.documents)]))
    assert 20 < len(source.documents) < 100


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_first_row_longer_than_the_bound_is_cut(suffix, small_bound, tmp_path):
    path = tmp_path / f"table{suffix}"
    write(path, pl.DataFrame({"text": ["é" * 9999, "b"]}))
    source = read_source(str(path), 0, 1)
    assert source.documents == ("é" * 1000,)
    assert source.part.startswith("the beginning of the first ")


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".parquet"])
def test_a_fifo_is_named_and_nobody_waits(suffix, tmp_path):
    os.mkfifo(tmp_path / f"text{suffix}")
    with pytest.raises(UserError, match="but a fifo; check the path") as error:
        read_source(str(tmp_path / f"text{suffix}"), 0, 10)
    one_line(error)


def test_a_long_text_that_is_not_utf_8_is_refused_where_it_is_read(small_bound, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * 500 + b"\xff" + b"a" * 2000)
    with pytest.raises(UserError, match="has another byte at 500"):
        read_source(str(path), 0, 1)
    path.write_bytes(b"a" * 1500 + b"\xff")
    assert read_source(str(path), 0, 1).documents == ("a" * 1000,)
