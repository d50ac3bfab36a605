"""A sweep killed at any moment goes on where it stopped, and ends as an undisturbed one."""

import os
import random
import signal
import threading

from polars.testing import assert_frame_equal

from analysis.questions.verdicts import head_sets
from store import Store, damages, run_key
from tests.questions.test_experiments import prose_file
from tests.store.test_store_processes import heard, process, tell

from .sweep_worker import question

__all__ = ["prose_file"]
N_KILLS = 12


def test_kills_at_random_moments_lose_no_finished_condition(
    worded, prose_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(head_sets, "UNIT", 1)
    asked = question(str(worded), str(prose_file))
    by_name = {unit.sets[0][0]: run_key(unit) for unit in asked.units()}
    rng, kills, finished = random.Random(0), 0, set[str]()
    with process("interventions/sweep_worker.py") as started:
        assert heard(started) == "ready"
        while len(finished) < len(by_name):
            tell(started, tmp_path / "store", worded, prose_file)
            pid = int(heard(started).split()[1])
            kill = threading.Timer(rng.uniform(0.01, 0.4), os.kill, (pid, signal.SIGKILL))
            if kills < N_KILLS:
                kill.start()
            while (line := heard(started).split())[0] == "done":
                finished.add(line[1])
            kill.cancel()
            kills += line[1] != "0"
            store = Store.open(tmp_path / "store")
            assert {by_name[name] for name in finished} <= set(store.runs())
    assert kills >= 3, "the sweep is too short for kills"
    assert damages(store) == {}
    assert not store.missing(asked)
    undisturbed = Store.open(tmp_path / "undisturbed").recall(asked)
    for table in ("ablations", "ablation_effects", "ablation_means"):
        assert_frame_equal(store.recall(asked)[table], undisturbed[table])
