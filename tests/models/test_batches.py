"""A limit on what is computed at a time bounds memory, and changes no result."""

import json
import subprocess
import sys

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from analysis.batches import alike, limit_tokens, rows_at_once
from analysis.interventions import Pooling
from analysis.studies.atlas.text_scores import TextScores
from analysis.studies.kinds.ablation_sweep import AblationSweep
from store import Store

MEMORY = """
import json, sys
import numpy as np, torch
from analysis import memory
from analysis.batches import limit_tokens
from analysis.studies.speed.contenders.models import Size, random_model
from analysis.studies.speed.contenders.tasks import Work, our_sweep, sampled_heads, our_scores
from analysis.questions import text_sweep

def peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

torch.set_num_threads(1)
text_sweep._TOKENS_AT_ONCE["cpu"] = 16_384
model = random_model(Size(2, 8, 512, 64), "cpu")
ids = np.random.default_rng(0).integers(1, 64, (64, 256))
work = Work(ids=ids, heads=sampled_heads(model.card, 2), scale=1.0, batch=64)
warm = Work(ids=ids[:1], heads=work.heads, scale=1.0, batch=1)
memory._set(memory._MMAP_THRESHOLD, 2**20)  # so that peaks are of memory in use
limit_tokens(1)
our_sweep(model)(warm)
peaks, answers = [peak_mb()], []
for limit in (1_024, None):
    limit_tokens(limit)
    answers.append({name: list(found) for name, found in our_sweep(model)(work).items()})
    peaks.append(peak_mb())
json.dump([peaks, answers], sys.stdout)
"""


@pytest.fixture(autouse=True)
def unlimited():
    yield
    limit_tokens(None)


def test_a_limit_bounds_memory():
    command = [sys.executable, "-c", MEMORY]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (bare, limited, free), (few, many) = json.loads(said)
    assert free - bare > 100, "the sweep is too small to measure"
    assert limited - bare < 0.25 * (free - bare)
    for name, values in few.items():
        np.testing.assert_allclose(values, many[name], rtol=1e-4, atol=1e-6)


def test_one_row_is_computed_whatever_the_limit():
    limit_tokens(7)
    assert [rows_at_once(100, n) for n in (1, 3, 7, 8, 1000)] == [7, 2, 1, 1, 1]
    limit_tokens(None)
    assert rows_at_once(100, 3) == 33


def test_rows_are_computed_with_those_as_long_as_they_are():
    assert alike([5, 3, 5, 4, 3]) == [[0, 2], [1, 4], [3]]
    assert alike([]) == []


@pytest.mark.parametrize("limit", [1, 40])
def test_no_result_changes(worded, tmp_path, limit):
    path = tmp_path / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 40)
    shared = {"model": str(worded), "text": str(path), "bos": True, "seed": 0}
    shared |= {"n_sequences": 4, "n_tokens": 12}
    asked = (
        TextScores(**shared, n_offsets=4, n_pictured=4, pictured=("L0H0",)),
        AblationSweep(
            **shared,
            method="mean",
            pooling=Pooling.PER_POSITION.value,
            positions=None,
            family="single",
            sets=(("L0H1",), ("L1H0",)),
            first_draw=None,
        ),
    )
    free = [Store.open(tmp_path / "free").recall(one) for one in asked]
    limit_tokens(limit)
    for one, expected in zip(asked, free, strict=True):
        found = Store.open(tmp_path / "limited").recall(one)
        for table, rows in expected.items():
            if table != "runs":
                assert_frame_equal(found[table], rows, rel_tol=1e-4, abs_tol=1e-6)
