"""What the command line says of damaged files, refusing disks and wrong clocks: one line."""

import gc
import os
import shutil
import time
from pathlib import Path
from random import Random

import duckdb
import pytest
import torch
from polars.testing import assert_frame_equal

from analysis.errors import UserError
from analysis.models.files import checkpoint
from analysis.models.files.card import read_card
from analysis.models.load import load_model
from analysis.training import mixture, trainer
from book import computing
from store import Store, StoreError, compact, damages, parts, prune, snapshot
from store.beneath import Folder
from tests.book.test_book_kills import write
from tests.commands.test_cli import invoke, refused, set_aside
from tests.store.store_fakes import Scores, Sweep
from tests.store.test_store_folder import needs_mount, remount, small_disk
from tests.store.test_store_processes import heard, tell, worker
from tests.training.test_training import corpus_folder
from tests.training.train_worker import small

__all__ = ["corpus_folder", "small_disk"]
ASKED = "SELECT count(*), count(DISTINCT run), max(value) FROM head_scores"
YEARS = 10 * 365 * 24 * 3600.0


@pytest.fixture
def quick(monkeypatch):
    """Trainings are small, and a build computes nothing beforehand."""
    names = "CHECKPOINT_EVERY LlamaSimpleMLPConfig train_tokenizer abilities evaluate card"
    for name in names.split():
        monkeypatch.setattr(trainer, name, getattr(trainer, name))
    monkeypatch.setattr(mixture, "PHASES", mixture.PHASES)
    small()
    monkeypatch.setattr(computing, "compute", lambda *_: None)


@pytest.fixture
def store(tmp_path):
    store = Store.open(tmp_path / "store")
    store.recall(Sweep(seeds=(1, 2, 3)))
    return store


def answer(*words: object) -> str:
    """What a command that succeeds prints."""
    done = invoke(*words)
    assert done.exit_code == 0, done.output
    return done.stdout


def part_of_a_run(store: Store) -> Path:
    return max(part.folder for part in store.parts.current() if part.keys)


def put(path: Path, data: bytes) -> None:
    """Replace a read-only file."""
    path.unlink()
    path.write_bytes(data)


def flipped(data: bytes, rng: Random, end: int | None = None) -> bytes:
    """With one random bit changed before `end`."""
    changed = bytearray(data)
    changed[rng.randrange(end or len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


# damaged files


def answered(store: Store) -> str:
    return answer("sql", ASKED, "--csv", "--store", store.root)


@pytest.mark.parametrize("name", ["head_scores.parquet", "part.json"])
def test_a_part_cut_short_is_refused_named_and_pruned(store, name):
    sound, folder = answered(store), part_of_a_run(store)
    data = (folder / name).read_bytes()
    for kept in (0, len(data) - 1):
        put(folder / name, data[:kept])
        assert "headbook store prune" in set_aside("sql", ASKED, "--store", store.root)
    (line,) = invoke("store", "verify", "--store", store.root).stderr.splitlines()
    assert folder.name in line
    assert answer("store", "prune", "--store", store.root) == "1 parts dropped\n"
    assert answered(store) != sound
    Store.open(store.root).recall(Sweep(seeds=(1, 2, 3)))
    assert answered(store) == sound


def test_a_flipped_bit_of_a_part_is_refused_or_without_effect(store):
    sound, folder, rng, refusals = store.sql(ASKED), part_of_a_run(store), Random(0), 0
    for path in sorted(folder.iterdir()) * 6:
        data = path.read_bytes()
        put(path, flipped(data, rng))
        opened = Store.open(store.root)
        opened.pins()
        for error in opened.parts.unfit.values():
            assert folder.name in str(error)
            assert "\n" not in str(error)
            refusals += 1
        assert opened.parts.unfit or opened.sql(ASKED).equals(sound)
        put(path, data)
    assert refusals >= 24, "six flips in each of four tables, and in the manifest"
    assert_frame_equal(Store.open(store.root).sql(ASKED), sound)


@pytest.mark.parametrize("name", ["catalog.duckdb", "catalog.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "gone", "scribbled"])
def test_a_spoiled_catalog_is_written_anew(store, name, how):
    path = store.root / name
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        put(path, {"cut": data[:-9], "empty": b"", "scribbled": flipped(data, Random(0))}[how])
    compact(Store.open(store.root))
    with duckdb.connect(str(store.root / "catalog.duckdb"), read_only=True) as catalog:
        assert catalog.execute(ASKED).fetchall() == [store.sql(ASKED).row(0)]


def test_a_spoiled_snapshot_shows_no_wrong_number_and_spoils_no_other(store, tmp_path):
    made, rng, refused = snapshot(store), Random(0), 0
    right, data = [store.sql(ASKED).row(0)], made.read_bytes()
    for i in range(30):
        spoiled = tmp_path / f"{i}.duckdb"
        spoiled.write_bytes(data[: rng.randrange(len(data))] if i % 3 == 0 else flipped(data, rng))
        try:
            with duckdb.connect(str(spoiled), read_only=True) as connection:
                assert connection.execute(ASKED).fetchall() == right
        except duckdb.Error:
            refused += 1
    assert refused >= 5
    put(made, data[:5000])
    another = Path(answer("store", "snapshot", "--store", store.root).strip())
    with duckdb.connect(str(another), read_only=True) as connection:
        assert connection.execute(ASKED).fetchall() == right


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    path, rng = tmp_path / "checkpoint.safetensors", Random(0)
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16)}
    checkpoint.write(path, tensors, {"step": "7"})
    data, read, noticed = path.read_bytes(), checkpoint.read(path, "cpu"), 0
    for i in range(len(data)):
        for spoiled in (
            data[:i],
            data[:i] + bytes([data[i] ^ 1 << rng.randrange(8)]) + data[i + 1 :],
        ):
            path.write_bytes(spoiled)
            try:
                found, metadata = checkpoint.read(path, "cpu")
            except UserError as error:
                assert "\n" not in str(error)
                assert "is damaged" in str(error)
                noticed += 1
                continue
            assert metadata.items() >= read[1].items()
            assert found.keys() == tensors.keys()
            assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert noticed > 1.9 * len(data)


def test_every_flipped_bit_of_a_model_is_noticed(saved, tmp_path):
    """Weights are named by their bytes, so that others never pass for these."""
    folder, rng, noticed = Path(shutil.copytree(saved("llama"), tmp_path / "m")), Random(0), 0
    path, sound = folder / "model.safetensors", read_card(str(folder)).weights
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for i in range(120):
        path.write_bytes(flipped(data, rng, header if i % 4 else None))
        try:
            noticed += load_model(str(folder)).card.weights != sound
        except UserError as error:
            assert "\n" not in str(error)
            noticed += 1
    assert noticed > 110
    for kept in (0, 7, header - 1, header, len(data) - 1):
        path.write_bytes(data[:kept])
        said = refused("run", "--model", folder, "--store", tmp_path / "store")
        assert f"{path} is damaged; copy it again" in said


# disks that refuse


@needs_mount
def test_a_read_only_store_answers_and_says_that_it_cannot_be_written(small_disk):
    root = small_disk / "store"
    Store.open(root).recall(Sweep(seeds=(1, 2)))
    remount(small_disk, "ro")
    assert answer("sql", ASKED, "--store", root)
    assert "0 of them damaged" in answer("store", "verify", "--store", root)
    for action in ("snapshot", "compact", "prune"):
        assert "read-only disk" in refused("store", action, "--store", root)
    for out in (
        ("export", small_disk / "out", "--store", root),
        (*("train-reference", "--corpus", small_disk, "--out", small_disk / "run"),),
    ):
        assert refused(*out)


@needs_mount
def test_a_training_on_a_full_disk_goes_on_once_there_is_room(
    quick, corpus_folder, small_disk, tmp_path
):
    def asked(out: Path, *more: str) -> tuple[object, ...]:
        steps = ("--steps", 6, *more)
        return ("train-reference", "--corpus", corpus_folder, "--out", out, *steps)

    out = small_disk / "run"
    assert "free some space, then go on with --resume" in refused(*asked(out))
    assert checkpoint.read(out / "checkpoint.safetensors", "cpu")[1]["step"] == "2"
    remount(small_disk, "size=50m")
    assert answer(*asked(out, "--resume"))
    assert answer(*asked(tmp_path / "whole"))
    shutil.copy(out / "checkpoint.safetensors", tmp_path)
    gc.collect()  # what maps files of the disk, which is to be unmounted
    ended, whole = (
        checkpoint.read(folder / "checkpoint.safetensors", "cpu")[0]
        for folder in (tmp_path, tmp_path / "whole")
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(ended[name], tensor)


@needs_mount
def test_a_build_on_a_full_disk_ends_once_there_is_room(quick, small_disk, tmp_path):
    write(tmp_path, "large")
    places = ("--out", small_disk / "html", "--store", tmp_path / "store")
    asked = ("build", "--notebooks", tmp_path / "notebooks", *places)
    full = invoke(*asked)
    assert full.exit_code == 2
    assert "Traceback" not in full.stderr
    assert "No space left" in full.stderr.splitlines()[-1]
    assert "see to the disk" in full.stderr
    remount(small_disk, "size=50m")
    assert "written" in answer(*asked)


# clocks


def test_a_process_whose_clock_is_years_ahead_sweeps_nothing_that_is_being_written(
    store, monkeypatch
):
    with worker() as writer:
        tell(writer, "each", store.root, 2000, 10, 18)
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + YEARS)
        said = "start"
        while said.startswith(("start", "done")):
            prune(store)
            said = heard(writer)
        assert said == "gone 0"
    assert store.sql("SELECT count(*) FROM runs").item() == 11
    assert damages(store) == {}


def test_a_clock_that_leaps_while_a_part_is_written_costs_that_run_only(store, monkeypatch):
    write = Folder.write

    def leap(folder: Folder, name: str, data: bytes) -> None:
        """Before the manifest, what has been written is suddenly old, and another run sweeps."""
        if name == parts.MANIFEST:
            monkeypatch.undo()
            os.utime(folder.path, (0, 0))
            Store.open(store.root).recall(Scores(seed=8))
        write(folder, name, data)

    monkeypatch.setattr(Folder, "write", leap)
    with pytest.raises(StoreError, match=r"expected .*removed meanwhile; .*run again") as refusal:
        store.recall(Scores(seed=9))
    assert "\n" not in str(refusal.value)
    assert store.sql("SELECT DISTINCT n FROM head_scores ORDER BY n")["n"].to_list() == [1, 2, 3, 8]
    assert store.recall(Scores(seed=9))["head_scores"].height == 32


def test_a_store_from_the_future_is_read_written_and_kept(store):
    """A clock set back: all that is there was written years ahead."""
    before = store.recall(Sweep(seeds=(1, 2, 3)))["head_scores"]
    compact(store)
    ahead = time.time() + YEARS
    for path in [store.root, *store.root.rglob("*")]:
        os.utime(path, (ahead, ahead))
    again, asked = Store.open(store.root), Sweep(seeds=(1, 2, 3, 4))
    assert_frame_equal(again.recall(asked)["head_scores"].head(before.height), before)
    assert asked.runs == [4]
    assert prune(again) == []
    with duckdb.connect(str(store.root / "catalog.duckdb"), read_only=True) as catalog:
        assert catalog.execute("SELECT count(*) FROM head_scores").fetchall() == [(4 * 32,)]
    assert damages(again) == {}
