"""A training of the reference model killed at any moment ends as an undisturbed one."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch

from analysis.models.files import checkpoint
from analysis.models.load import load_model
from analysis.training.kept import kept_models
from tests.store.test_store_processes import heard, process, tell

from .test_training import corpus_folder
from .train_worker import EVERY, KEEP_AT, N_STEPS

__all__ = ["corpus_folder"]
N_RUNS, N_CHANGES = 4, 14
"""Runs, and how many changes of its folder the last, shortest of their processes makes."""


@pytest.fixture(scope="module")
def worker() -> Iterator[subprocess.Popen[str]]:
    with process("training/train_worker.py") as started:
        assert heard(started) == "ready"
        yield started


def status(worker: subprocess.Popen[str], *asked: object) -> str:
    tell(worker, *asked)
    return heard(worker).removeprefix("gone ")


def logged(out: Path) -> list[dict[str, float]]:
    path = out / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def seen(out: Path) -> int:
    """The step of the last checkpoint; what a killed run left is whole, or not there."""
    assert all(row["step"] % EVERY == 0 for row in logged(out))
    assert set(kept_models(out)) <= set(KEEP_AT)
    for folder in kept_models(out).values():
        load_model(str(folder))
    if (out / "model").exists():
        load_model(str(out / "model"))
        assert (out / "model" / "README.md").read_text() == "a card"
    if not (out / "checkpoint.safetensors").exists():
        return 0
    return int(checkpoint.read(out / "checkpoint.safetensors", "cpu")[1]["step"])


def files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*")}


def test_a_killed_training_goes_on_and_ends_where_an_undisturbed_one_does(
    worker, corpus_folder, tmp_path
):
    whole, rng, kills = tmp_path / "whole", Random(0), 0
    assert status(worker, corpus_folder, whole, 0, 0) == "0"
    weights, _ = checkpoint.read(whole / "checkpoint.safetensors", "cpu")
    for run in range(N_RUNS):
        out, step = tmp_path / str(run), 0
        moments = [(rng.randrange(1, N_CHANGES), 0) for _ in range(9)]
        moments[2:2] = [(0, rng.uniform(0.02, 0.2)) for _ in range(2)]
        for change, seconds in moments:
            gone = status(worker, corpus_folder, out, change, seconds)
            assert gone in {"-9", "0"}
            kills += gone == "-9"
            assert seen(out) >= step, "a checkpoint was lost"
            step = seen(out)
        assert status(worker, corpus_folder, out, 0, 0) == "0"
        ended, metadata = checkpoint.read(out / "checkpoint.safetensors", "cpu")
        assert metadata["step"] == str(N_STEPS)
        assert ended.keys() == weights.keys()
        for name, tensor in ended.items():
            torch.testing.assert_close(tensor, weights[name])
        assert files(out) == files(whole)
        for at in KEEP_AT:
            ours, theirs = (
                (one / "kept" / str(at) / "model.safetensors").read_bytes() for one in (out, whole)
            )
            assert ours == theirs
        assert [row["step"] for row in logged(out)] == list(range(EVERY, N_STEPS + 1, EVERY))
    assert kills >= 35
