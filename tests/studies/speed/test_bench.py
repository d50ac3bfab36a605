"""The timed tasks: everybody computes the same, and the engine saves the work that it claims."""

import json
import sys
from dataclasses import replace

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from analysis import scores
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.studies import speed as bench
from analysis.studies.speed import records, report
from analysis.studies.speed.contenders import models, peers, race, tasks, timing, variants
from analysis.studies.speed.contenders.models import Size, random_model
from analysis.studies.speed.contenders.tasks import Task, Work, sampled_heads
from book.bench_command import TASKS
from book.bench_command import bench as command
from tests.interventions.sweep_cases import silent

TINY = Size(2, 2, 16, 50)
SHAPE = (2, 8)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Small is tiny here, and so are the products whose rate is measured."""
    monkeypatch.setitem(models.SIZES, "small", TINY)
    monkeypatch.setitem(timing.MATMUL, "cpu", (8, 8))


@pytest.fixture(autouse=True)
def own_store(monkeypatch, tmp_path):
    """No test adds to the store of the checkout."""
    monkeypatch.setenv("HEADBOOK_STORE", str(tmp_path / "store"))


@pytest.fixture(scope="module")
def model():
    return random_model(TINY, "cpu")


def work(model, task: Task, heads=None) -> Work:
    chosen = sampled_heads(model.card, heads)
    n_all = model.card.n_layers * model.card.n_heads
    ids = tasks.tokens(task, model.card, SHAPE)
    return Work(ids=ids, heads=chosen, scale=n_all / len(chosen), batch=1)


def shown(task: Task, asked: Work, found: race.Race, flops: int | None) -> str:
    """What the terminal says of a race."""
    counted = None if flops is None else (flops, flops)
    named = ("tiny", str(TINY))
    return bench.text(report.table(records.recorded(task, named, asked, found, counted)))


def everybody(model, task: Task, compiler=None, heads=None):
    asked = work(model, task, heads)
    who = race.contenders(task, model, compiler)
    found = race.raced(who, asked, model.device, 1, silent)
    return asked, {entry.contender.name: entry for entry in found.entries}, found


def forwarded(module: torch.nn.Module) -> None:
    """Stands in for a compiler: marks the module, and leaves what it computes."""
    module.register_buffer("compiled", torch.ones(1))


@pytest.fixture(scope="module", params=Task)
def entries(request, model):
    """Everybody's answers, our compiled variants included."""
    return request.param, everybody(model, request.param, forwarded)[1]


def test_everybody_takes_part(entries):
    task, found = entries
    expected = {race.EXACT, *peers.PEERS}
    if task is Task.A:
        more = {"ours, float32, compiled", "ours, bfloat16", "ours, bfloat16, compiled"}
        expected |= more | {"ours, 256 drawn tokens"}
    assert {name for name, entry in found.items() if entry.run} == expected
    assert all(len(entry.laps) == 1 for entry in found.values())


def test_all_float32_contenders_agree(entries):
    task, found = entries
    ours = found[race.EXACT].answer
    for name, entry in found.items():
        wanted = ours.keys() - {"top1_changed"} if "drawn" in name else ours.keys()
        assert entry.answer.keys() >= wanted
        if not entry.contender.preview:
            assert entry.answer.keys() == wanted
            assert race.errors(task, entry, ours).largest <= task.tolerance, name
    if task is Task.A:
        assert ours["kl_base_ablated"].min() > 1e-3, "no effect, so that agreeing means nothing"
        for name, entry in found.items():
            if not entry.contender.preview:
                for metric, values in entry.answer.items():
                    np.testing.assert_allclose(values, ours[metric], atol=1e-4, err_msg=name)


def test_scores_are_those_of_the_patterns(model):
    """Against patterns that eager attention returns, averaged by hand."""
    asked = work(model, Task.S)
    net = models.stock(model, "eager")
    with torch.no_grad():
        found = net(torch.from_numpy(asked.ids), output_attentions=True).attentions
    expected = torch.stack([scores.bos_score(p).mean(0) for p in found]).numpy()
    ours = tasks.our_scores(model)(asked)
    np.testing.assert_allclose(ours["bos"], expected, atol=1e-6)
    assert set(ours) == {"previous_token", "bos", "duplicate_token", "induction"}


def test_a_wrong_contender_is_marked(model):
    """The negative control: one that ablates the neighbour's head differs, and says so."""

    def wrong():
        run = tasks.our_sweep(model)
        return lambda asked: run(replace(asked, heads=tuple(Head(0, 0) for _ in asked.heads)))

    asked = work(model, Task.A)
    who = [race.contenders(Task.A, model, None)[0], race.Contender("wrong", wrong)]
    found = race.raced(who, asked, model.device, 1, silent)
    assert "DIFFERS by more than 0.0001" in shown(Task.A, asked, found, 1)


def test_a_preview_is_near_and_shows_its_error(model):
    exact = tasks.our_sweep(model)(work(model, Task.A))["kl_base_ablated"]
    narrow = variants.in_bfloat16(model)
    assert {p.dtype for layer in narrow.layers for p in layer.parameters()} == {torch.bfloat16}
    assert narrow.unembedding.weight is model.unembedding.weight
    found = tasks.our_sweep(narrow)(work(model, Task.A))["kl_base_ablated"]
    largest, middle = variants.relative_errors(found, exact)
    assert 0 < middle <= largest < 0.2
    assert (exact > 0).all()
    assert {p.dtype for p in model.net.parameters()} == {torch.float32}


def test_a_preview_of_tied_embeddings_keeps_a_wide_unembedding(saved):
    from analysis.models.load import load_model  # noqa: PLC0415

    tied = load_model(str(saved("llama_simple_mlp")))
    narrow = variants.in_bfloat16(tied)
    assert narrow.net.get_input_embeddings().weight.dtype == torch.bfloat16
    assert narrow.unembedding.weight.dtype == torch.float32
    asked = work(tied, Task.A)
    assert np.isfinite(tasks.our_sweep(narrow)(asked)["kl_base_ablated"]).all()


def test_compiled_are_norms_and_mlps_of_a_copy(model):
    seen: list[torch.nn.Module] = []
    copied = variants.compiled(model, seen.append)
    assert len(seen) == 3 * TINY.n_layers + 1
    assert not set(seen) & set(model.net.modules())
    assert not set(seen) & set(copied.attentions)
    assert copied.unembedding.weight is model.unembedding.weight


def test_a_compiler_that_fails_ends_its_own_row_only(model):
    def broken(_module) -> None:
        raise RuntimeError("no C++ compiler")

    _, found, _ = everybody(model, Task.A, broken)
    assert found["ours, float32, compiled"].reason == "failed: RuntimeError: no C++ compiler"
    assert found["plain hooks"].laps


@pytest.mark.parametrize("package", ["nnsight", "transformer_lens"])
def test_an_absent_library_is_a_row(model, package, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    asked, found, result = everybody(model, Task.S)
    told = shown(Task.S, asked, result, None)
    assert 'not installed: pip install "headbook[bench]"' in told
    absent = {name for name, entry in found.items() if entry.run is None}
    assert absent == {"nnsight" if package == "nnsight" else "TransformerLens"}


def test_an_architecture_that_a_library_does_not_know_is_a_row(saved):
    from analysis.models.load import load_model  # noqa: PLC0415

    _, found, _ = everybody(load_model(str(saved("llama_simple_mlp"))), Task.A)
    assert found["TransformerLens"].reason.startswith("not supported: ")
    assert found["plain hooks"].laps
    assert found["nnsight"].laps


@pytest.mark.parametrize("at_least", [1, 4, 5, 12, 100])
def test_sampled_heads_have_the_layers_of_all(model, at_least):
    card = replace(model.card, n_layers=4, n_heads=3, heads_by_layer=(3, 3, 3, 3))
    chosen = sampled_heads(card, at_least)
    assert len(set(chosen)) == len(chosen) >= min(at_least, 12)
    each = np.bincount([head.layer for head in chosen], minlength=4)
    assert len(set(each)) == 1
    assert len(chosen) - at_least < 4 or len(chosen) == 4
    assert sampled_heads(card, None) == tuple(Head(i, h) for i in range(4) for h in range(3))


def test_seconds_are_scaled_by_what_heads_add():
    entry = race.Entry(race.Contender("x", lambda: None))
    entry.laps, entry.idle = [timing.Lap(5.0, None)], [timing.Lap(2.0, None)]
    assert race.seconds(entry, 4.0) == [14.0]
    assert race.seconds(entry, 1.0) == [5.0]


def test_a_round_starts_with_another_contender_each_time(model):
    order: list[str] = []

    def logged(name):
        def prepare():
            return lambda _asked: order.append(name) or {"kl_base_ablated": np.ones(4)}

        return race.Contender(name, prepare)

    who = [logged(name) for name in (race.EXACT, "b", "c")]
    race.raced(who, work(model, Task.A), model.device, 3, silent)
    exact = race.EXACT
    assert order[3:] == [exact, "b", "c", "b", "c", exact, "c", exact, "b"]


def test_repeats_of_a_block_are_what_induction_is_asked_on(model):
    for n_pos in (8, 9):
        ids = tasks.tokens(Task.S, model.card, (3, n_pos))
        half = n_pos // 2
        assert (ids[:, -half:] == ids[:, -2 * half : -half]).all()


def test_tokens_that_do_not_fit(model):
    with pytest.raises(UserError, match="from 5 to 2048 tokens"):
        tasks.tokens(Task.A, model.card, (1, 4096))


def invoke(*arguments: object):
    small = ("--sequences", 2, "--tokens", 8, "--repeats", 1, "--threads", 1)
    return CliRunner().invoke(command, [str(a) for a in (*arguments, *small)])


def test_the_command_prints_tables_and_writes_json(tmp_path):
    path = tmp_path / "bench.json"
    done = invoke("--model", "small", "--heads", 2, "--json", path)
    assert done.exit_code == 0, done.output
    for word in ("times ours", "plain hooks", "TransformerLens", "nnsight", "threads 1", "GFLOP"):
        assert word in done.stdout
    assert "2 of 4 heads were ablated, as many in every layer" in done.stdout
    assert "scaled to all 4" in done.stdout
    assert "preview: KL off by" in done.stdout
    assert "DIFFERS" not in done.stdout
    record = json.loads(path.read_text())
    assert {table["task"] for table in record["tables"]} == set(TASKS)
    rows = record["tables"][0]["rows"]
    assert rows[0]["ratio"] == 1
    assert all(row["ratio"] > 0 for row in rows if row["seconds"])
    assert set(record["versions"]) == set(bench.PACKAGES)


def test_an_unknown_task_is_refused():
    done = invoke("--task", "B")
    assert done.exit_code == 2
    assert "'B' is not one of" in done.output
    assert set(TASKS) == {task.name for task in Task}


def test_a_folder_is_timed_as_a_named_model_is(saved, tmp_path):
    """Its question is that of its weights, wherever the folder lies."""
    told = {"n_sequences": 2, "n_tokens": 8, "heads": 2, "repeats": 1, "batch": 2, "task": "A"}
    here = bench.here("cpu")
    asked = bench.Timings(model=str(saved("llama")), compiled=False, **told, **here)
    assert asked.question()["model"] == asked.card.identity
    assert asked.subjects()["models"]["model"].to_list() == asked.card.row()["model"].to_list()
    model = models.bench_model(str(saved("llama")), "cpu")
    assert model.card.identity == asked.card.identity
    with pytest.raises(UserError, match="expected `reference`, a folder or"):
        models.bench_model(str(tmp_path / "nowhere"), "cpu")


def test_an_unusable_device_is_refused():
    with pytest.raises(UserError, match="expected cpu or cuda"):
        bench.usable_device("tpu9")


def test_help_shows_an_example():
    told = CliRunner().invoke(command, ["--help"]).output
    assert "headbook bench --model small" in told.split("Example:")[1]
    assert isinstance(command, click.Command)
