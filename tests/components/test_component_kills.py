"""A decomposition killed at any moment ends as an undisturbed one."""

import signal
from pathlib import Path
from random import Random

from analysis.models.files import checkpoint
from tests.store.test_store_processes import heard, process, tell

from .decompose_worker import EVERY, RECIPE, trainer
from .test_component_training import quick, same, whole

__all__ = ["quick", "whole"]


def test_a_killed_run_goes_on_and_ends_where_an_undisturbed_one_does(whole, worded, tmp_path):
    """Killed in every step, and at random moments of the writing of checkpoints after it."""
    rng, kills = Random(0), 0
    with process("components/decompose_worker.py", str(worded)) as started:
        assert heard(started) == "ready"
        for run in range(3):
            out, step = tmp_path / str(run), 0
            for last in (1, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 0):
                seconds = rng.choice((0, rng.uniform(0, 0.02))) if last % EVERY == 0 else 0
                tell(started, worded, "reference", out, last, seconds)
                gone, status = heard(started).split()
                assert gone == "gone"
                kills += int(status) == -signal.SIGKILL
                reached = step_of(out)
                assert reached >= step, "a checkpoint was lost"
                step = reached
            assert status == "0"
            ended = trainer(RECIPE, str(worded), "reference", out)
            ended.resume()
            assert ended.step == RECIPE.warm_up + RECIPE.n_steps
            same(ended, whole)
    assert kills >= 20, "the training is too short for kills"


def step_of(out: Path) -> int:
    path = out / "checkpoint.safetensors"
    return int(checkpoint.read(path, "cpu")[1]["step"]) if path.exists() else 0
