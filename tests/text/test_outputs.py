"""Where runs write: in what is theirs, through no link, over nothing of anybody else."""

import os
from pathlib import Path

import pytest
import torch

from analysis.errors import UserError
from analysis.models.files import checkpoint
from analysis.outputs import (
    MARK,
    check_free,
    check_own_folder,
    claim,
    remove_own_folder,
    write_text,
)
from store import Store, StoreError, check_apart
from tests.commands.test_cli import invoke, refused

OURS = ("config.json", "README.md")


@pytest.fixture
def precious(tmp_path) -> Path:
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_text("precious")
    yield path
    assert [p.name for p in path.parent.iterdir()] == ["precious"]
    assert path.read_text() == "precious"


def test_a_folder_is_claimed_once_and_found_again(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "deep", tmp_path / "empty"):
        claim(folder, ())
        assert (folder / MARK).read_bytes() == b""
        (folder / "notes").write_text("mine")
        claim(folder, ())


def test_a_folder_of_others_is_refused_and_left_alone(tmp_path, precious):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "notes").write_text("mine")
    (folder / "log.jsonl").symlink_to(precious)
    with pytest.raises(UserError, match=f"got {folder} with files of others"):
        claim(folder, ("log.jsonl",))
    assert sorted(path.name for path in folder.iterdir()) == ["log.jsonl", "notes"]
    (folder / "log.jsonl").unlink()
    claim(folder, ("log.jsonl", "notes"))
    assert (folder / MARK).is_file()


ODD = {
    "link": lambda path, precious: path.symlink_to(precious),
    "dangling link": lambda path, precious: path.symlink_to(precious.with_name("absent")),
    "fifo": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["state.safetensors", "state.tmp"])
def test_nothing_is_written_through_what_is_no_file(kind, name, tmp_path, precious):
    ODD[kind](tmp_path / name, precious)
    path = tmp_path / "state.safetensors"
    for write in (
        lambda: write_text(path, "x"),
        lambda: checkpoint.write(path, {"w": torch.ones(2)}, {}),
        lambda: check_free(path, path.with_suffix(".tmp")),
    ):
        with pytest.raises(UserError, match=f"nothing at {tmp_path / name}, got a ") as error:
            write()
        assert "\n" not in str(error.value)
    assert not (tmp_path / "state.safetensors").is_file() or kind == "link"


def test_what_a_kill_left_aside_is_replaced(tmp_path):
    path = tmp_path / "log.jsonl"
    (tmp_path / "log.tmp").write_text("half")
    write_text(path, "whole")
    write_text(path, "again")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"log.jsonl": "again"}


def test_a_folder_of_ours_is_removed_and_no_other(tmp_path, precious):
    folder = tmp_path / "model.old"
    remove_own_folder(folder, OURS)
    folder.mkdir()
    for name in OURS:
        (folder / name).write_text("ours")
    theirs = folder / "decomposition"
    theirs.mkdir()
    with pytest.raises(UserError, match=f"alone in {folder}, .*got 'decomposition'"):
        remove_own_folder(folder, OURS)
    assert sorted(p.name for p in folder.iterdir()) == [*sorted(OURS), "decomposition"]
    theirs.rmdir()
    remove_own_folder(folder, OURS)
    assert not folder.exists()
    folder.symlink_to(precious.parent)
    with pytest.raises(UserError, match=f"nothing at {folder}, got a link"):
        check_own_folder(folder, OURS)


def test_commands_refuse_folders_of_others_before_they_compute(worded, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("mine " * 999)
    lags = ("--model", worded, "--method", "zero", "--layers", "all", "--store", tmp_path / "s")
    assert "files of others" in refused("lags", theirs, *lags)
    assert "files of others" in refused("decompose", "--model", worded, "--out", theirs)
    assert "files of others" in refused("train-reference", "--corpus", theirs, "--out", theirs)
    assert [path.name for path in theirs.iterdir()] == ["notes.txt"]
    profile = tmp_path / "lags" / "probe_zero_all_01-heads.csv"
    profile.parent.mkdir()
    profile.write_text("mine")
    assert "another file; move it away" in refused("lags", profile.parent, *lags)
    assert profile.read_text() == "mine"
    os.mkfifo(tmp_path / "fifo")
    assert "got a fifo" in refused("bench", "--json", tmp_path / "fifo")
    assert "for --json, found none" in refused("bench", "--json", tmp_path / "no" / "x.json")


WRITING = {
    "export": ("export", "OUT"),
    "export published": ("export", "OUT", "--format", "published"),
    "build": ("build", "--out", "OUT"),
    "lags": ("lags", "OUT", "--method", "zero", "--layers", "all"),
    "bench": ("bench", "--json", "OUT"),
    "decompose": ("decompose", "--out", "OUT"),
    "train-reference": ("train-reference", "--corpus", "corpus", "--out", "OUT"),
    "sample-prose": ("sample-prose", "--corpus", "corpus", "--out", "OUT"),
    "measure-training": ("measure-training", "run", "--corpus", "corpus", "--out", "OUT"),
    "export-headlines": ("export-headlines", "--model", "reference", "--out", "OUT"),
}


STORELESS = {"decompose", "measure-training", "sample-prose", "train-reference"}


@pytest.mark.parametrize("place", ["", "sub", "parts/sub/deep", "../link/sub"])
@pytest.mark.parametrize("command", WRITING)
def test_nothing_is_written_into_a_store(command, place, tmp_path):
    Store.open(tmp_path / "store")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    Store.open(tmp_path / "other")
    before = sorted(tmp_path.rglob("*"))
    out = str(tmp_path / "store" / place)
    asked = [out if word == "OUT" else word for word in WRITING[command]]
    for root in ("store", "other"):  # the command's own, and another one
        own = () if command in STORELESS else ("--store", tmp_path / root)
        assert f"outside of every store, got {tmp_path / 'store'}" in refused(*asked, *own)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", ["export", "build", "lags"])
def test_no_output_is_laid_around_a_store(command, tmp_path):
    asked = [str(tmp_path / "out") if word == "OUT" else word for word in WRITING[command]]
    if command == "export":
        Store.open(tmp_path / "out" / "store")
    line = refused(*asked, "--store", tmp_path / "out" / "store")
    assert "that no store lies in" in line
    assert (tmp_path / "out").exists() == (command == "export")


def test_a_folder_is_no_store_for_a_file_of_that_name(tmp_path):
    for text in ("{}", "[]", "no JSON", '{"format": "esm"}'):
        (tmp_path / "store.json").write_text(text)
        check_apart(tmp_path / "out", tmp_path / "store")
    (tmp_path / "store.json").write_text('{"format": 9, "schema": 99}')
    with pytest.raises(StoreError, match="outside of every store"):
        check_apart(tmp_path / "out", tmp_path / "store")


ABSURD = {
    ("run", "--dry-run", "--sequences", 10**9): "of memory of this machine, got 1,000,000,000",
    ("run", "--dry-run", "--tokens", 10**9): "the context of",
    ("run", "--dry-run", "--seed", 10**30): "0<=x<=2147483647",
    ("run", "--dry-run", "--seed", -1): "0<=x<=2147483647",
    ("run", "--dry-run", "--batch-tokens", 10**12): "1<=x<=2147483647",
    ("run", "--dry-run", "--shard", "1/999999"): "n up to 999, got 1/999999",
    ("run", "--dry-run", "--wait", "nan"): "expected seconds, got nan",
    ("run", "--dry-run", "--wait", "inf"): "0<=x<=31536000",
    ("grid", "--length", 10**9): "expected lengths up to",
    ("decompose", "--out", "out", "--steps", 10**9): "1<=x<=16777215",
    ("decompose", "--out", "out", "--components", 10**9): "expected --components up to ",
    ("bench", "--model", "small", "--task", "A", "--sequences", 10**9): "--sequences up to ",
    ("bench", "--model", "small", "--task", "A", "--heads", 10**6): "expected --heads up to ",
    ("bench", "--threads", 10**6): "1<=x<=",
}


@pytest.mark.parametrize("asked", ABSURD, ids=lambda asked: " ".join(map(str, asked)))
def test_absurd_numbers_are_refused_with_the_largest_that_fits(asked, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADBOOK_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    done = invoke(*asked)
    assert done.exit_code == 2
    assert ABSURD[asked] in done.output.splitlines()[-1]
