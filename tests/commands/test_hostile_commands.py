"""Any arguments of any command: an answer or one line, and nothing written but where it says."""

import json
import os
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from hypothesis import strategies as st

import analysis.components.fitting.training
import analysis.models.load
import analysis.studies.speed
import analysis.training.evaluation
import analysis.training.trainer
import book.ray_engine
import book.site
from analysis.batches import limit_tokens
from analysis.errors import UserError
from book.cli import cli
from book.serve import Server
from store import Store
from tests.studies.published import published_files as made

from .hostile import NAME, Place, hostile


def stopped(*_args, **_named):
    """Where heavy work begins."""
    raise UserError("expected heavy work, got a test; it ends here")


@pytest.fixture(scope="module")
def place(tmp_path_factory, worded):
    root = tmp_path_factory.mktemp("commands")
    store = tmp_path_factory.mktemp("elsewhere") / "store"
    Store.open(store)
    (root / "model").symlink_to(worded)
    (root / "results.json").write_text(json.dumps(made.ablation(0)))
    with pytest.MonkeyPatch.context() as patch:
        place = Place(root)
        patch.setenv("HEADBOOK_STORE", str(store))
        patch.setenv("HOME", str(root / "home"))
        patch.chdir(place.work)
        patch.setattr(Store, "recall", stopped)
        patch.setattr(Store, "missing", stopped)
        patch.setattr(analysis.training.trainer, "train", stopped)
        patch.setattr(analysis.components.fitting.training, "train", stopped)
        patch.setattr(analysis.training.evaluation, "evaluate", stopped)
        patch.setattr(analysis.models.load, "load_model", stopped)
        patch.setattr(book.ray_engine, "ray_engine", stopped)
        patch.setattr(book.site, "build", lambda *_args, prepare, **_named: prepare())
        patch.setattr(torch, "set_num_threads", int)
        patch.setattr(Server, "serve_forever", lambda _server, _announce: None)
        yield place
    limit_tokens(None)


NUMBERS = st.integers(-3, 70) | st.sampled_from(
    [2**31, 2**32, 2**63, 2**64, 10**30, -(2**63), "1e3", "nan", "½", "", "0x10", "1_0", 99_999]
)
PATHS = (
    "../x",
    "../../out",
    "out",
    "sub/dir/out",
    "../results.json",
    "../../secret.txt",
    "new.json",
)
MODELS = ("../../../model", "reference", "../../../model,reference", "nobody/x")


def plain(text: str) -> str:
    """What an argument can hold, without leading out of the place."""
    kept = text.replace("\0", "").lstrip("/~")
    return kept if kept.count("..") < 3 else "x"


def value_of(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """Good, odd and wrong values of an option."""
    odd = NAME.map(plain)
    if isinstance(parameter.type, click.Choice):
        return st.sampled_from(list(map(str, parameter.type.choices))) | odd
    if isinstance(parameter.type, click.Path):
        return st.sampled_from(PATHS) | odd
    if isinstance(parameter.type, (click.types.IntParamType, click.types.FloatParamType)):
        return NUMBERS.map(str) | odd
    if parameter.name in {"model", "models"}:
        return st.sampled_from(MODELS) | odd
    return (
        st.sampled_from(["L0H0", "L9H9,L1H1", "q", "(", "(a+)+$", "cuda:99", "meta", "cpu"]) | odd
    )


@st.composite
def commands(draw):
    """A command line, and the paths that it names."""
    command = cli.commands[draw(st.sampled_from(sorted(cli.commands)))]
    arguments, paths = [command.name], []
    chosen = draw(st.lists(st.sampled_from(command.params), max_size=4))
    needed = [
        p for p in command.params if p.required and p not in chosen and draw(st.integers(0, 9))
    ]
    for parameter in (*chosen, *needed):
        if isinstance(parameter, click.Option) and (parameter.is_flag or parameter.count):
            arguments.append(draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts])))
            continue
        value = draw(value_of(parameter))
        if isinstance(parameter.type, click.Path):
            paths.append(value)
        option = isinstance(parameter, click.Option)
        arguments.append(f"{parameter.opts[0]}={value}" if option else value)
    return arguments, paths


def named(place: Place, paths: list[str]) -> list[Path]:
    """Where a command may write: what it names, and the work folder beside a book."""
    found = [Path("~/x").expanduser().parent]
    for path in paths:
        whole = (place.work / path).resolve()
        found += [whole, whole.with_name(f"{whole.name}.work"), place.work / path]
    return [path for path in found if path != place.root and place.root not in (path.parent,)]


@hostile(150, asked=commands())
def test_any_arguments_end_in_an_answer_or_one_line(place, asked):
    arguments, paths = asked
    place.clear()
    done = CliRunner().invoke(cli, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), arguments
    assert done.exit_code in {0, 2}, done.output
    assert "Traceback" not in done.output
    assert place.untouched(*named(place, paths))


def test_work_begins_where_the_stubs_stand(place):
    """Without this, every case above might have been refused before."""
    for arguments in (
        ["run", "--model", "../../../model"],
        ["build", "--model", "../../../model"],
        ["lags", "out", "--model", "../../../model", "--method", "zero", "--layers", "all"],
        ["grid", "--model", "../../../model"],
        ["bench"],
        ["bench", "--growth"],
        ["run", "--engine", "ray"],
        ["run", "--shard", "1/2"],
        ["run", "--dry-run"],
        ["import", "../../../results.json"],
    ):
        done = CliRunner().invoke(cli, arguments)
        assert "expected heavy work" in done.output, done.output


WRONG = {
    "nobody's home": "~nobody-of-that-name/x",
    "a long name": "n" * 256,
    "a long path": "d/" * 3000 + "x",
    "other bytes": os.fsdecode(b"x\xff\xfe"),
    "a loop": "../../../loop",
    "below a loop": "../../../loop/x",
    "below a file": "../../../results.json/x",
    "a line": "../../../results.json/a\nb",
    "no path": "",
}
NAMED = {"model", "text"}
"""Options that name a file, a folder, or something elsewhere."""

OTHERS = {
    "export-headlines": ("--model", "reference"),
    "lags": ("--method", "zero", "--layers", "all"),
    "sql": ("SELECT 1",),
    "store": ("show",),
    "train-reference": ("--steps", "1"),
}


def paths() -> list[tuple[str, str]]:
    """Every parameter that is a path, of every command."""
    return [
        (name, str(parameter.name))
        for name, command in cli.commands.items()
        for parameter in command.params
        if isinstance(parameter.type, click.Path) or parameter.name in NAMED
    ]


assert len(paths()) > 25, "found few paths; a check of nothing must not pass"


def asked(name: str, wrong: str, path: str) -> list[str]:
    """A command line with one path, and good values of what else it needs."""
    words = [name, *OTHERS.get(name, ())]
    for parameter in cli.commands[name].params:
        option = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
        if parameter.name == wrong:
            words += [f"{option[0]}={path}"] if option else ["--", path]
        elif isinstance(parameter.type, click.Path) and parameter.required and option:
            words += [f"{option[0]}=out"]
    needed = [p for p in cli.commands[name].params if isinstance(p, click.Argument)]
    if any(p.required and p.name != wrong and name not in OTHERS for p in needed):
        words.append("out")
    arguments = {"lags": "folder", "measure-training": "runs"}
    return words + ["out"] * (arguments.get(name, wrong) != wrong)


@pytest.mark.parametrize(("name", "wrong"), paths())
def test_a_path_that_cannot_be_is_refused_in_one_line(name, wrong, place):
    loop = place.root / "loop"
    if not loop.is_symlink():
        loop.symlink_to(loop)
    for kind, path in WRONG.items():
        done = CliRunner().invoke(cli, asked(name, wrong, path))
        assert done.exit_code == 2, (kind, done.output, done.exception)
        (line,) = done.output.splitlines()
        assert line.startswith("headbook: expected "), (kind, line)
        assert ";" in line, (kind, line)
        assert len(line) < 600 or wrong in NAMED, (kind, line)
