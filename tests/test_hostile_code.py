"""No source of ours can unpickle or run what it reads; and so many hostile cases are there."""

import ast
import importlib
from pathlib import Path

import pytest

from tests.commands.hostile import CASES

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [
    path
    for package in ("analysis", "store", "book", "headbook", "notebooks")
    for path in sorted((ROOT / package).rglob("*.py"))
]
assert len(SOURCES) > 200, "found few sources; a check of nothing must not pass"

MODULES = frozenset(
    ("pickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "diskcache")
)
CALLS = frozenset({"eval", "exec", "compile", "__import__"})
UNSAFE_YAML = frozenset({"load", "load_all", "unsafe_load", "full_load", "unsafe_load_all"})
FLAGS = {"trust_remote_code": False, "allow_pickle": False, "shell": False, "weights_only": True}


def dangers(source: str) -> list[str]:
    """What a source could run of what it reads, by name; docstrings and comments are no code."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = {(node.module or "").partition(".")[0], *(a.name for a in node.names)}
            found += sorted(names & (MODULES | UNSAFE_YAML - {"load"}))
            if node.module in {"torch", "yaml", "numpy"}:
                found += [f"{node.module}.{a.name}" for a in node.names if a.name == "load"]
        elif isinstance(node, ast.Call):
            found += _of_call(node)
    return found


def _of_call(call: ast.Call) -> list[str]:
    name = ast.unparse(call.func)
    last = name.rpartition(".")[2]
    given = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}
    found = [
        f"{flag}={given[flag]}"
        for flag in FLAGS
        if given.get(flag, str(FLAGS[flag])) != str(FLAGS[flag])
    ]
    if name in CALLS or name in {"os.system", "os.popen"} or last == "read_pickle":
        found.append(name)
    if name == "torch.load" and given.get("weights_only") != "True":
        found.append("torch.load without weights_only=True")
    if name.startswith("yaml.") and last in UNSAFE_YAML:
        found.append(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_source_runs_nothing_that_it_reads(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        *(
            "import pickle",
            "from pickle import loads",
            "import joblib.memory",
            "def f():\n import dill",
        ),
        *("import shelve as s", "import marshal", "from concurrent import _pickle", "eval(x)"),
        *("torch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, weights_only=w)"),
        *("from torch import load", "np.load(p, allow_pickle=True)", "yaml.load(f, Loader=L)"),
        *("yaml.unsafe_load(f)", "from yaml import full_load", "run(c, shell=True)", "exec(x)"),
        *(
            "AutoModel.from_pretrained(p, trust_remote_code=True)",
            "os.system(x)",
            "compile(x, '', 'exec')",
        ),
        *("M.from_pretrained(p, trust_remote_code=flag)", "pl.read_pickle(p)", "__import__(x)"),
    ],
)
def test_a_planted_danger_is_found(planted):
    assert dangers(planted)


def test_words_alone_are_no_danger():
    text = '"""Never pickle, eval(x) or torch.load(p)."""\nre.compile("x"); model.eval()  # exec(y)'
    assert dangers(text + "\ntorch.load(p, weights_only=True); yaml.safe_load(f)") == []


def test_there_are_ten_thousand_cases():
    """Each of these tests fails by itself where it runs fewer cases than it names."""
    for path in sorted(Path(__file__).parent.rglob("test_hostile_*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        importlib.import_module(".".join(parts))
    assert sum(CASES.values()) >= 10_000, CASES
