"""What was timed is stored lap by lap, asked anew elsewhere, and arranged for a reader."""

import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analysis.studies import speed as bench
from analysis.studies.speed import views as speed_views
from analysis.studies.speed.contenders import models, peers, race
from analysis.studies.speed.contenders.tasks import Task
from store import Store, run_key
from store.schema import conformed
from tests.interventions.sweep_cases import silent

from .test_bench import TINY, forwarded, invoke, model, own_store, tiny

__all__ = ["model", "own_store", "tiny"]


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "kept")


def asked_timings(task: Task, **changed) -> bench.Timings:
    sizes = {"n_sequences": 2, "n_tokens": 8, "heads": None, "repeats": 2, "batch": 1}
    machine = bench.here("cpu")
    return bench.Timings(
        **{**machine, **sizes, "model": "small", "task": task.name, "compiled": False, **changed}
    )


@pytest.mark.parametrize("task", Task)
def test_a_race_is_stored_lap_by_lap(store, task):
    answer = store.recall(asked_timings(task))
    speed = {row["contender"]: row for row in store.sql("FROM speed").to_dicts()}
    assert tuple(sorted(speed)) == tuple(sorted(race.contender_names(task, with_compiled=False)))
    laps = answer["timings"]
    ours = laps.filter(contender=race.EXACT)["seconds"].to_numpy()
    for name, rows in laps.group_by("contender"):
        own, took = speed[name[0]], rows.sort("lap")["seconds"].to_numpy()
        assert own["laps"] == 2
        assert own["ratio"] == pytest.approx(np.median(took) / np.median(ours))
        assert own["ratio_lower"] == pytest.approx((took / ours).min())
        assert own["ratio_upper"] == pytest.approx((took / ours).max())
        assert own["ratio_lower"] <= own["ratio"] <= own["ratio_upper"]
        if task is Task.A and not own["preview"]:
            rate = answer["races"]["rate_float32"][0]
            assert own["share"] == pytest.approx(np.median(own["flops"] / took) / rate)
    assert [name for name, own in speed.items() if own["agrees"] is False] == []
    assert speed[race.PLAIN]["agrees"] is None
    assert speed[race.EXACT]["agrees"] is True
    assert speed[race.EXACT]["difference"] <= task.tolerance


@pytest.mark.parametrize("task", Task)
def test_what_is_kept_says_all_that_the_terminal_shows(task):
    measured = asked_timings(task).run(silent)
    kept = {
        name: conformed(name, rows.with_columns(run=pl.lit("r"))) for name, rows in measured.items()
    }
    assert bench.table(kept) == bench.table(measured)


@pytest.mark.parametrize(
    ("field", "value"),
    [("threads", "64"), ("processor", "another"), ("cores", "512"), ("Python", "3.99")],
)
def test_another_machine_is_asked_anew(field, value):
    here = asked_timings(Task.A)
    there = replace(here, machine={**here.machine, field: value})
    assert run_key(there) != run_key(here) == run_key(asked_timings(Task.A))


@pytest.mark.parametrize("package", bench.PACKAGES)
def test_another_version_is_asked_anew(package):
    here = asked_timings(Task.A)
    newer = replace(here, packages={**here.packages, package: "99"})
    assert run_key(newer) != run_key(here)


def test_other_sizes_and_contenders_are_asked_anew(monkeypatch):
    one = asked_timings(Task.A)
    changes = {"task": "S", "n_tokens": 9, "heads": 2, "repeats": 3, "compiled": True}
    keys = {run_key(replace(one, **{name: value})) for name, value in changes.items()}
    keys.add(run_key(one))
    assert len(keys) == len(changes) + 1
    monkeypatch.setitem(models.SIZES, "small", replace(TINY, n_layers=3))
    assert run_key(asked_timings(Task.A)) not in keys


@pytest.mark.parametrize("compiler", [None, forwarded])
def test_names_are_those_of_the_contenders(model, compiler):
    for task in Task:
        names = [one.name for one in race.contenders(task, model, compiler)]
        assert tuple(names) == race.contender_names(task, compiler is not None)


def test_a_second_command_measures_nothing(tmp_path):
    asked = ("--model", "small", "--task", "A", "--store", tmp_path / "kept")
    first, again = invoke(*asked), invoke(*asked)
    assert "measured before" not in first.stderr
    assert "measured before" in again.stderr
    assert again.stdout == first.stdout
    assert "measured before" not in invoke(*asked[:-1], tmp_path / "other").stderr


def test_growth_is_kept(store):
    sizes = {"n_sequences": 1, "n_tokens": 8, "repeats": 1}
    question = bench.CostGrowth(axis="layers", **sizes, **bench.here("cpu"))
    kept = bench.Growth.of(store.recall(question)["cost_growth"])
    assert kept.sizes == (2, 4, 8)
    assert 1 < kept.exponents[1] < 2, "as the square of the layers, but for the unembedding"
    assert not store.missing(question)
    shown = speed_views.growth_table(store.sql("FROM cost_growth"))
    assert shown["exponent of GFLOP"][0] == round(kept.exponents[1], 2)


# for a reader


def test_the_largest_measurement_leads(store):
    for n_tokens in (8, 12, 10):
        store.recall(asked_timings(Task.A, n_tokens=n_tokens, repeats=1))
    rows = speed_views.measured(store.sql("FROM speed"))
    assert rows["measurement"].unique(maintain_order=True).to_list() == [
        f"A: small, 2 x {n_tokens} tokens" for n_tokens in (12, 10, 8)
    ]
    lead = speed_views.largest(rows, Task.A)
    assert set(lead["n_tokens"]) == {12}
    told = speed_views.told(lead)
    for name in peers.PEERS:
        ratio = lead.row(by_predicate=pl.col("contender") == name, named=True)["ratio"]
        assert f"{name} **{ratio:.2f} times** as long" in told
    assert speed_views.race_table(rows).height == 3


def test_measurements_of_one_size_have_different_names(store):
    for threads in ("1", "2"):
        question = asked_timings(Task.S, repeats=1)
        store.recall(replace(question, machine={**question.machine, "threads": threads}))
    rows = speed_views.measured(store.sql("FROM speed"))
    assert rows.group_by("run").agg(pl.col("measurement").n_unique())["measurement"].max() == 1
    assert rows["measurement"].n_unique() == rows["run"].n_unique() == 2


def test_our_share_of_the_operations_is_of_whole_passes(store):
    """One without an ablation, and one for each of four heads; half of the heads change nothing."""
    store.recall(asked_timings(Task.A, repeats=1))
    store.recall(asked_timings(Task.A, repeats=1, heads=2))
    rows = speed_views.measured(store.sql("FROM speed"))
    d, n_pos = TINY.d_model, 8
    layer = 2 * 4 * d * d + 4 * d * n_pos + 6 * 4 * d * d
    whole = 5 * 2 * n_pos * (TINY.n_layers * layer + 2 * d * TINY.d_vocab)
    assert set(rows.filter(~pl.col("contender").str.starts_with("ours"))["flops"]) == {whole}
    for _, one in rows.group_by("run"):
        ours = one.filter(contender=race.EXACT)["flops"][0]
        assert speed_views.saved(one) == ours / whole < 1


def test_an_absent_library_is_shown_with_its_reason(store, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "nnsight"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "nnsight", None)
    store.recall(asked_timings(Task.A, repeats=1))
    rows = speed_views.measured(store.sql("FROM speed"))
    shown = speed_views.contender_table(rows).row(
        by_predicate=pl.col("contender") == "nnsight", named=True
    )
    assert shown["answer"] == 'none: not installed: pip install "headbook[bench]"'
    assert shown["seconds"] is None
    assert "nnsight took no part" in speed_views.told(rows)
    assert "nnsight" not in speed_views.nearest(rows)
