"""One question, many processes: the same rows, nothing lost, nothing doubled."""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from psutil import Process

from analysis.errors import UserError
from analysis.overview.findings import findings
from analysis.questions.cost import Cost
from analysis.questions.work import Work
from book.computing import Plan, compute_by, compute_share, longest_first
from book.local_engine import WORTH_S, LocalEngine, grouped, n_processes
from book.ray_engine import RETRIES, ray_engine
from store import Store, StoreError, accept, damages, deliver, merge, run_key
from store.schema import schema
from tests.book.real_book import HEADBOOK
from tests.questions.test_experiments import prose_file
from tests.store.store_fakes import Scores

from . import ray_driver
from .test_cli import invoke, refused

ROOT = Path(__file__).resolve().parents[2]
__all__ = ["prose_file"]
OPTIONS = ("--profile", "tiny", "--chapters", "03,09")


def assert_same(store: Store, other: Store) -> None:
    """All tables are equal, but for when and where runs were computed."""
    for table in schema().tables:
        rows = "(SELECT run, experiment, parameters FROM runs)" if table == "runs" else table
        query = f"FROM {rows} ORDER BY ALL"
        assert_frame_equal(store.sql(query), other.sql(query))
    assert store.runs()


def marks(root: Path) -> Counter[int]:
    """How often each seed was computed."""
    return Counter(int(mark.name.split("-")[1]) for mark in root.glob("computed-*"))


@pytest.fixture(scope="module")
def asked(worded, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 60)
    return {"model": str(worded), "text": str(path), "profile": "tiny", "chapters": "03,09"}


@pytest.fixture(scope="module")
def local(asked, tmp_path_factory) -> Store:
    """Everything asked, computed in this process in the order of `findings`."""
    return in_turn(asked, tmp_path_factory.mktemp("local"))


def in_turn(asked, folder: Path) -> Store:
    plan = Plan.of(folder, asked)
    findings(plan.asked, plan.store.recall)
    return plan.store


class Here:
    """An engine of this process, which says how large its waves are."""

    def __init__(self) -> None:
        self.waves: list[int] = []

    def map_units(self, function, units):
        self.waves.append(len(units))
        yield from map(function, units)


def test_waves_reach_what_asking_in_turn_does(asked, tmp_path):
    asked = {**asked, "chapters": ""}
    plan, engine = Plan.of(tmp_path / "waves", asked), Here()
    compute_by(engine, plan)
    assert 1 < len(engine.waves) < 10 < max(engine.waves), "units of a wave are side by side"
    before = set(plan.store.runs())
    findings(plan.asked, plan.store.recall)
    judged = set(plan.store.runs()) - before
    names = plan.store.run_rows(judged)["experiment"]
    assert set(names) and all(name.endswith("Claims") or name == "RetrievalCell" for name in names)
    assert_same(plan.store, in_turn(asked, tmp_path / "in_turn"))


def test_shards_share_the_work_and_find_the_same(asked, local, tmp_path, monkeypatch):
    computed = Counter[str]()
    monkeypatch.setattr(
        Store,
        "_publish",
        lambda self, run, *rest, publish=Store._publish: (
            computed.update([run]),
            publish(self, run, *rest),
        ),
    )
    plans = [Plan.of(tmp_path, asked) for _ in range(3)]
    left = [1]
    while any(left):
        left = [compute_share(plan, (at + 1, 3), 0.0) for at, plan in enumerate(plans)]
        assert sum(computed.values()) == len(computed), "a unit was computed twice"
    findings(plans[0].asked, plans[0].store.recall)
    assert_same(plans[0].store, local)


def test_two_processes_at_once_wait_for_each_other_and_end_alike(asked, local, tmp_path):
    options = ("--model", asked["model"], "--text", asked["text"], *OPTIONS)
    command = [*HEADBOOK, "run", *options, "--store", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    shards = [
        subprocess.Popen([*command, "--shard", f"{number}/2", "--wait", "120"], **pipes)
        for number in (1, 2)
    ]
    said = [shard.communicate(timeout=300) for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], said
    assert said[0][0] == said[1][0] != "", "both say all claims"
    assert_same(Store.open(tmp_path), local)


UNASKABLE = """
import sys
from analysis.errors import UserError
from analysis.studies.lags.question import LagProfiles
from headbook import main
answer = LagProfiles.run
def run(self, report):
    if (self.design, self.shown, self.family) == ("probe", "items", "base"):
        raise UserError("expected another question, got this one; ask another")
    return answer(self, report)
LagProfiles.run = run
main()
"""
"""The command line with a model that cannot be asked one unit."""


def test_nobody_waits_for_what_a_model_cannot_be_asked(asked, tmp_path):
    """One process finds out, the other one is told: both end, at once and again."""
    options = ("--model", asked["model"], "--text", asked["text"], *OPTIONS)
    command = [sys.executable, "-c", UNASKABLE, "run", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    for patience in ("120", "0"):
        shards = [
            subprocess.Popen(
                [*command, "--store", str(tmp_path), "--shard", f"{n}/2", "--wait", patience],
                **pipes,
                cwd=ROOT,
            )
            for n in (1, 2)
        ]
        said = [shard.communicate(timeout=300) for shard in shards]
        assert [shard.returncode for shard in shards] == [0, 0], said
        assert said[0][0] == said[1][0] != ""
    notes = {note: note.read_text() for note in (tmp_path / "tmp").glob("*.refused")}
    note, *_ = [note for note, said in notes.items() if "got this one; ask another" in said]
    store = Store.open(tmp_path)
    assert store.refused([note.stem, "0" * 32]) == {note.stem}
    assert note.stem not in store.runs()


def test_a_note_of_refusal_is_of_a_run_and_lasts_a_day(tmp_path):
    store = Store.open(tmp_path / "store")
    run, other = run_key(Scores(seed=1)), run_key(Scores(seed=2))
    assert store.refused([run]) == set()
    store.refuse(run, "expected words, got none; \ud800")
    store.refuse(run, "once more")
    assert Store.open(store.root).refused([run, other]) == {run}
    assert [path.name for path in store.parts.tmp.iterdir()] == [f"{run}.refused"]
    with pytest.raises(ValueError, match="expected a run id"):
        store.refuse("../outside", "no")
    os.utime(store.parts.tmp / f"{run}.refused", (0, 0))
    store.recall(Scores(seed=2))
    assert store.refused([run, other]) == set()


def test_stores_of_shards_are_merged(tmp_path):
    whole = Store.open(tmp_path / "whole")
    parts = [Store.open(tmp_path / name) for name in "ab"]
    for store, seeds in ((whole, range(6)), (parts[0], range(4)), (parts[1], range(2, 6))):
        for seed in seeds:
            store.recall(Scores(seed=seed))
    merged = Store.open(tmp_path / "merged")
    assert [merge(merged, part.root) for part in (*parts, parts[0])] == [(4, []), (2, []), (0, [])]
    assert_same(merged, whole)
    assert damages(merged) == {}
    with pytest.raises(StoreError, match="expected another store"):
        merge(merged, merged.root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=r"without store\.json"):
        merge(merged, tmp_path / "empty")


def test_a_damaged_part_is_never_taken_over(tmp_path):
    store = Store.open(tmp_path / "store")
    name = deliver(store.root, Scores(seed=1))
    assert store.missing(Scores(seed=1)), "delivered is not yet taken over"
    table = store.root / "incoming" / "parts" / name / "head_scores.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    assert accept(store) == []
    assert store.missing(Scores(seed=1))
    assert accept(store, [deliver(store.root, Scores(seed=1))]) == [name]
    assert store.present([run_key(Scores(seed=1))])
    assert accept(store) == accept(store, [name]) == []
    other = Store.open(tmp_path / "other")
    other.recall(Scores(seed=2))
    (part,) = [part for part in other.parts.current() if part.keys]
    Path(part.path("head_scores")).write_bytes(b"x")
    other.recall(Scores(seed=3))
    fresh, (error,) = merge(store, other.root)
    assert fresh == 1 and "as it was published" in str(error) and part.name in str(error)
    assert store.missing(Scores(seed=2)) and not store.missing(Scores(seed=3))


def test_a_part_that_never_arrives_is_a_mistake(asked, tmp_path):
    class Elsewhere:
        def map_units(self, function, units):
            for unit in units:
                yield function(unit).replace("a", "b")

    with pytest.raises(UserError, match="do all machines share that folder"):
        compute_by(Elsewhere(), Plan.of(tmp_path, asked))


def test_ray_finds_the_same_though_workers_are_killed(tmp_path):
    n_units, kills = 40, 12
    store, undisturbed = Store.open(tmp_path / "ray"), Store.open(tmp_path / "local")
    function = partial(ray_driver.fatal, store.root, kills)
    assert len(ray_driver.take_over(store, function, range(n_units))) == n_units
    assert len(list(store.root.glob("died-*"))) == kills
    assert marks(store.root) == {seed: 1 + (seed < kills and seed % 2) for seed in range(n_units)}
    for seed in range(n_units):
        undisturbed.recall(Scores(seed=seed))
    assert_same(store, undisturbed)
    assert damages(store) == {}


def test_a_killed_driver_repeats_nothing_that_was_taken_over(tmp_path):
    command = [sys.executable, ray_driver.__file__, str(tmp_path), "400"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        for _ in range(30):
            assert driver.stdout.readline() == "done\n"
        os.kill(driver.pid, signal.SIGKILL)
    assert driver.returncode == -signal.SIGKILL
    finished = {int(n) for n in Store.open(tmp_path).sql("SELECT DISTINCT n FROM head_scores")["n"]}
    assert 30 <= len(finished) < 400
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    counts = marks(tmp_path)
    assert {counts[seed] for seed in finished} == {1}
    assert counts.keys() == set(range(400))
    store = Store.open(tmp_path)
    assert store.sql("SELECT count(*) AS n, count(DISTINCT run) AS runs FROM head_scores").row(
        0
    ) == (400 * 32, 400)


def test_the_cores_of_this_machine_find_the_same(tmp_path):
    store, undisturbed = Store.open(tmp_path / "cores"), Store.open(tmp_path / "here")
    units = [Scores(seed=seed) for seed in range(12)]
    for name in LocalEngine(2).map_units(partial(ray_driver.counted, store.root), units):
        assert accept(store, [name]) == [name]
    for unit in units:
        undisturbed.recall(unit)
    assert_same(store, undisturbed)
    assert marks(store.root) == dict.fromkeys(range(12), 1)


def test_units_that_share_work_follow_each_other_in_one_process():
    @dataclass(frozen=True, kw_only=True)
    class Sharing(Scores):
        together: str | None = None

    units = [Sharing(seed=s, together="a" if s in {1, 3} else None) for s in range(5)]
    groups = [[unit.seed for unit in group] for group in grouped(units)]
    assert groups == [[0], [1, 3], [2], [4]]


def test_what_goes_together_is_begun_by_all_of_its_tokens():
    @dataclass(frozen=True, kw_only=True)
    class Sharing(Scores):
        together: str | None = None

        def work(self) -> Work:
            return Work(layers=self.seed)

    units = [Sharing(seed=n, together="a" if n < 6 else None) for n in (4, 8, 5, 6)]
    assert [unit.seed for unit in longest_first(units)] == [4, 5, 8, 6]
    alone = [Sharing(seed=n) for n in (4, 8, 5, 6)]
    assert [unit.seed for unit in longest_first(alone)] == [8, 6, 5, 4]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (ray_driver.unaskable, "expected another seed, got 0"),
        (ray_driver.poisonous, "expected a process to survive each unit"),
        (ray_driver.refused, "expected a process to survive each unit"),
    ],
)
def test_what_ends_a_unit_on_a_core_is_one_line_and_nobody_is_left(function, said):
    engine, before = LocalEngine(2), set(Process().children())
    with pytest.raises(UserError, match=f"^{said}"):
        list(engine.map_units(function, [Scores(seed=0)] * 4))
    assert set(Process().children()) <= before


def test_only_much_work_is_worth_processes_and_no_more_than_memory_holds():
    def work(seconds: float, gib: float) -> Cost:
        return Cost(n_units=1, n_tokens=1.0, seconds=seconds, gib=gib)

    assert n_processes(work(WORTH_S / 2, 0.1)) == 1
    assert n_processes(work(WORTH_S * 2, 0.1)) == len(os.sched_getaffinity(0))
    assert n_processes(work(WORTH_S * 2, 1e4)) == 1


def test_mistakes_of_units_and_workers_are_told_apart():
    with ray_engine(None, 1, gpus=False) as engine:
        with pytest.raises(ValueError, match=r"^expected no seed 3$"):
            list(engine.map_units(ray_driver.refused, [Scores(seed=3)]))
        with pytest.raises(UserError, match=f"one killed {RETRIES + 1} of them"):
            list(engine.map_units(ray_driver.poisonous, [Scores(seed=0)]))
    with (
        pytest.raises(UserError, match="expected a GPU in the cluster"),
        ray_engine(None, 1, gpus=True),
    ):
        pass
    with (
        pytest.raises(UserError, match="expected a Ray cluster at"),
        ray_engine("127.0.0.1:1", 1, gpus=False),
    ):
        pass


def test_the_command_plans_and_shares(asked, tmp_path):
    options = ("--model", asked["model"], "--text", asked["text"], *OPTIONS)
    places = ("run", *options, "--store", tmp_path / "store")
    planned = invoke(*places, "--dry-run")
    assert planned.exit_code == 0 and "tokens through all layers" in planned.output
    assert Store.open(tmp_path / "store").runs() == ()
    assert invoke(*places, "--shard", "1/2").exit_code == 3
    waves = 0
    while (ended := invoke(*places, "--shard", f"{1 + waves % 2}/2")).exit_code:
        assert ended.exit_code == 3 and "units of other shards" in ended.output
        waves += 1
        assert waves < 20
    assert "no-op" in ended.output
    assert "nothing to compute" in invoke(*places, "--dry-run").output
    merged = invoke("merge", tmp_path / "store", "--store", tmp_path / "merged")
    assert merged.stdout.endswith("new runs\n")
    assert "nothing to compute" in invoke(*places[:-1], tmp_path / "merged", "--dry-run").output
    assert "choose one way to compute" in refused(*places, "--workers", 2)
    for wrong in ("0/2", "3/2", "1", "1/x"):
        assert "expected i/n" in invoke(*places, "--shard", wrong).output
