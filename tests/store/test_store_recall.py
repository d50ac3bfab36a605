import json
import os
import platform
import signal
import time
from contextlib import contextmanager
from typing import Any, ClassVar

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from store import Store, StoreError, run_key
from store.experiment import PATIENCE_S, terminal_bar

from .store_fakes import MODEL, TEXT, Scores, Sweep, Told, head_scores


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "store")


def test_a_question_is_computed_once_and_then_read(store, tmp_path):
    question = Scores(seed=3)
    fresh = store.recall(question)
    assert_frame_equal(store.recall(question)["head_scores"], fresh["head_scores"])
    again = Store.open(tmp_path / "store").recall(question)
    assert_frame_equal(again["head_scores"], fresh["head_scores"])
    assert question.runs == [3]


def test_the_answer_is_what_was_computed_with_the_run_in_front(store):
    answer = store.recall(Scores(seed=3))
    rows = answer["head_scores"]
    assert answer.runs == (run_key(Scores(seed=3)),)
    assert answer.experiment == "Scores"
    assert rows.columns[0] == "run"
    assert set(rows["run"]) == set(answer.runs)
    assert_frame_equal(rows.drop("run"), head_scores(3, 32), check_dtypes=False)


def test_a_sweep_computes_only_what_is_missing_and_answers_in_its_own_order(store):
    store.recall(Sweep(seeds=(5, 1)))
    wider = Sweep(seeds=(4, 1, 5, 2))
    assert [unit.seed for unit in store.missing(wider)] == [4, 2]
    answer = store.recall(wider)
    assert wider.runs == [4, 2]
    assert answer["head_scores"]["n"].unique(maintain_order=True).to_list() == [4, 1, 5, 2]
    assert store.missing(wider) == []


def test_another_version_is_another_question(store):
    class Revised(Scores):
        version: ClassVar[int] = 2

    Revised.__name__ = "Scores"
    revised = Revised(seed=1)
    assert store.recall(Scores(seed=1)).runs != store.recall(revised).runs
    assert revised.runs == [1]


def test_a_table_without_rows_is_part_of_the_answer(store):
    frames = {
        "head_scores": head_scores(1, 0),
        "absences": pl.DataFrame(
            schema={"model": pl.String, "score": pl.String, "data": pl.String, "reason": pl.String}
        ),
    }
    for _ in range(2):
        answer = store.recall(Told(answer=frames))
        assert {table: rows.height for table, rows in answer.items()} == {
            "absences": 0,
            "head_scores": 0,
        }


def test_a_failed_unit_publishes_nothing_and_the_finished_ones_stay(store):
    class Fragile(Scores):
        def run(self, report: Any) -> dict[str, pl.DataFrame]:
            if self.seed == 2:
                raise RuntimeError("out of memory")
            return super().run(report)

    class Run(Sweep):
        def units(self) -> list[Fragile]:
            return [Fragile(seed=seed) for seed in self.seeds]

    with pytest.raises(RuntimeError, match="out of memory"):
        store.recall(Run(seeds=(0, 1, 2, 3)))
    assert store.sql("SELECT list(DISTINCT n ORDER BY n) FROM head_scores").item().to_list() == [
        0,
        1,
    ]
    assert list(store.parts.tmp.iterdir()) == []


@pytest.mark.parametrize("stage", ["computing", "publishing"])
def test_an_interrupt_leaves_nothing_half_done(store, monkeypatch, stage):
    store.recall(Scores(seed=0))

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    told = Told(answer={"head_scores": head_scores(1, 2)})
    if stage == "computing":
        told = Told(answer={}, failure=KeyboardInterrupt())
    else:
        monkeypatch.setattr("store.beneath.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.recall(told)
    monkeypatch.undo()
    assert len(store.runs()) == 1
    assert list(store.parts.tmp.iterdir()) == []
    assert store.catalog.is_current()


def test_a_twin_that_publishes_first_wins_quietly(store, tmp_path):
    class Overtaken(Scores):
        def run(self, report: Any) -> dict[str, pl.DataFrame]:
            Store.open(tmp_path / "store").recall(Twin(seed=self.seed))
            return {"head_scores": head_scores(99, 32)}

    class Twin(Scores):
        pass

    Overtaken.__name__ = Twin.__name__ = "Scores"
    answer = store.recall(Overtaken(seed=1))
    assert set(answer["head_scores"]["n"]) == {1}
    assert store.sql("FROM runs").height == 1


def test_the_log_says_what_a_page_depends_on(store):
    store.recall(Sweep(seeds=(1,)))
    store.recall(Sweep(seeds=(1, 2)))
    store.sql("FROM runs")
    first, second, query = store.log
    runs = tuple(run_key(Scores(seed=seed)) for seed in (1, 2))
    assert (first.experiment, first.runs, first.computed) == ("Sweep", runs[:1], runs[:1])
    assert second.question == {"seeds": (1, 2), "rows": 32}
    assert (second.runs, second.computed) == (runs, runs[1:])
    assert (query.experiment, query.runs) == ("sql", tuple(sorted(runs)))


def test_a_run_says_where_its_numbers_come_from(store, monkeypatch):
    before = store.sql("SELECT now()::TIMESTAMP - INTERVAL 1 DAY").item()
    runs = store.recall(Sweep(seeds=(7, 3))).runs
    rows = store.run_rows(runs)
    assert tuple(rows["run"]) == runs
    row = rows.row(0, named=True)
    assert (row["experiment"], row["version"], row["status"]) == ("Scores", 1, "done")
    assert (row["model"], row["model_name"]) == (MODEL["model"], "tiny")
    assert (row["text"], row["text_name"]) == (TEXT["text"], "two novels")
    assert row["parameters"] == f'{{"model":{{"weights":"{"w" * 64}"}},"rows":32,"seed":7}}'
    assert row["seconds"] >= 0
    assert row["started"] > before
    assert '"duckdb"' in row["packages"]
    assert '"host"' in row["packages"]


def test_circumstances_are_recorded_but_never_asked_about(store):
    class OnGpu(Scores):
        device = "cuda:0"

    OnGpu.__name__ = "Scores"
    answer = store.recall(OnGpu(seed=1))
    assert store.run_rows(answer.runs)["device"].item().startswith("cuda:0")
    assert store.recall(Scores(seed=1)).runs == answer.runs
    assert len(store.runs()) == 1


def test_present_and_run_rows_know_what_is_stored(store):
    (run,) = store.recall(Scores(seed=1)).runs
    assert store.present([run, "0" * 32]) == {run}
    assert store.run_rows([]).height == 0
    with pytest.raises(StoreError, match=r"expected runs of the store .*got \['0{32}'\]"):
        store.run_rows([run, "0" * 32])


def test_progress_is_common_to_all_units(store):
    seen: list[tuple[int, int, str]] = []

    @contextmanager
    def progress(title: str):
        assert title == "Sweep"
        yield lambda done, total, what: seen.append((done, total, what))

    store.recall(Sweep(seeds=(1, 2)), progress)
    assert seen == [(1, 2, "seed 1"), (2, 2, "seed 2"), (2, 2, "")]
    store.recall(Sweep(seeds=(1, 2)), progress)
    assert len(seen) == 3


def test_quick_work_shows_no_bar_and_long_work_one_on_stderr(store, capsys, monkeypatch):
    store.recall(Scores(seed=1))
    assert capsys.readouterr() == ("", "")
    assert PATIENCE_S == 2.0
    monkeypatch.setattr("store.experiment.PATIENCE_S", 0.01)
    with terminal_bar("Scores") as report:
        for done in range(4):
            time.sleep(0.11)
            report(done + 1, 4, "layers")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Scores: layers" in err
    assert "4/4" in err


def test_ten_thousand_stored_rows_arrive_at_once(store):
    store.recall(Scores(seed=1, rows=10_000))
    started = time.perf_counter()
    assert store.recall(Scores(seed=1, rows=10_000))["head_scores"].height == 10_000
    assert time.perf_counter() - started < 0.5


def test_a_run_says_what_machine_it_was_computed_on(store):
    (run,) = store.recall(Scores(seed=11)).runs
    machine = json.loads(store.run_rows([run])["packages"][0])
    assert machine["cores"] == os.cpu_count() and machine["system"].startswith(platform.system())
    assert isinstance(machine["processor"], str)
