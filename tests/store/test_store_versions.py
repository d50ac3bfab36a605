import json
import sys
from textwrap import dedent
from typing import Any

import pytest

from store import StoreError, lock_entries, lock_problems, write_lock

FILES = {
    "__init__.py": "",
    "questions.py": '''
        """Experiments."""
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import ClassVar
        import labpkg.numbers as numbers
        from .scores import mean_score, total
        from . import shapes

        @dataclass(frozen=True)
        class Asked:
            """A question."""
            version: ClassVar[int] = 1
            def run(self):
                """Answer it."""
                # first the mean
                number = mean_score([1, 2]) + total([]) + numbers.constant()
                return number + self.side(shapes.Square(2))
            def side(self, square):
                return square.side

        class Other:
            version: ClassVar[int] = 1
            def run(self):
                return 5
    ''',
    "scores/__init__.py": "from .means import mean_score\nfrom .means import unused\n"
    "from .total import total\n",
    "scores/total.py": "def total(values):\n    return sum(values)\n",
    "scores/means.py": """
        from ..limits import LIMIT
        def mean_score(values):
            from labpkg.late import shift
            return shift(min(_total(values) / len(values), LIMIT))
        def _total(values):
            return sum(values)
        def unused(x):
            return x
    """,
    "limits.py": "LIMIT: float = 0.5\n",
    "late.py": "def shift(x):\n    return x + 1\n",
    "numbers.py": "def constant():\n    return 7\n\nregistry = {}\nregistry.update(seven=7)\n",
    "shapes.py": """
        class Shape:
            side = 0
        class Square(Shape):
            def __init__(self, side):
                self.side = side
    """,
}


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A package of ours, whose files a test can change."""
    folder = tmp_path / "labpkg"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(dedent(text))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "labpkg", raising=False)
    return folder


def experiment(name: str, version: int = 1) -> Any:
    return type(name, (), {"version": version, "__module__": "labpkg.questions"})


def hash_of(name: str) -> str:
    return lock_entries([experiment(name)], ["labpkg"])[name].hash


CHANGES = {
    "a function it calls": ("scores/means.py", "sum(values)", "sum(values) + 0.1"),
    "through a re-export": ("scores/means.py", "len(values)", "(len(values) - 1)"),
    "a function named like its module": ("scores/total.py", "sum(values)", "sum(values) + 1"),
    "a constant": ("limits.py", "0.5", "0.6"),
    "an import inside a function": ("late.py", "x + 1", "x + 2"),
    "a function of an imported module": ("numbers.py", "return 7", "return 8"),
    "what importing that module does": ("numbers.py", "seven=7", "seven=8"),
    "a class it makes": ("shapes.py", "self.side = side", "self.side = side + 1"),
    "the base of that class": ("shapes.py", "side = 0", "side = 1"),
    "its own method": ("questions.py", "square.side", "-square.side"),
    "its decorator": ("questions.py", "frozen=True", "frozen=False"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_lock_moves_with_everything_an_experiment_reaches(lab, change):
    file, old, new = CHANGES[change]
    before, other = hash_of("Asked"), hash_of("Other")
    text = (lab / file).read_text()
    assert old in text
    (lab / file).write_text(text.replace(old, new))
    assert hash_of("Asked") != before
    assert hash_of("Other") == other


NO_CHANGES = {
    "a comment": ("scores/means.py", "return sum", "# the plain sum\n    return sum"),
    "a docstring": ("questions.py", "Answer it.", "Answer it well."),
    "the docstring of a class": ("questions.py", "A question.", "One question."),
    "a new docstring": ("late.py", "    return", '    """Shift."""\n    return'),
    "layout": ("scores/means.py", "_total(values) / len(values)", "(_total( values )/len(values))"),
    "a function it does not reach": ("scores/means.py", "return x", "return 2 * x"),
}


@pytest.mark.parametrize("change", NO_CHANGES)
def test_the_lock_does_not_move_with_words(lab, change):
    file, old, new = NO_CHANGES[change]
    before = hash_of("Asked")
    text = (lab / file).read_text()
    assert old in text
    (lab / file).write_text(text.replace(old, new))
    assert hash_of("Asked") == before


MOVES: dict[str, dict[str, str]] = {
    "a module renamed": {
        "late.py": "",
        "later.py": "def shift(x):\n    return x + 1\n",
        "scores/means.py": FILES["scores/means.py"].replace("labpkg.late", "labpkg.later"),
    },
    "a constant moved to where it is used": {
        "scores/means.py": FILES["scores/means.py"].replace(
            "from ..limits import LIMIT", "LIMIT: float = 0.5"
        ),
    },
    "an import moved to the top of its module": {
        "scores/means.py": FILES["scores/means.py"]
        .replace("    from labpkg.late import shift\n", "")
        .replace("from ..limits", "from ..late import shift\n        from ..limits"),
    },
    "a class named through its module no more": {
        "questions.py": FILES["questions.py"]
        .replace("from . import shapes", "from .shapes import Square")
        .replace("shapes.Square(2)", "Square(2)"),
    },
    "a name imported as another": {
        "questions.py": FILES["questions.py"]
        .replace("import mean_score, total", "import mean_score as mean, total")
        .replace("mean_score([1, 2])", "mean([1, 2])"),
    },
    "an experiment moved to another module": {
        "questions.py": "from .asked import Asked, Other\n",
        "asked.py": FILES["questions.py"],
    },
}


@pytest.mark.parametrize("move", MOVES)
def test_the_lock_does_not_move_where_code_only_lies_elsewhere(lab, move):
    before = hash_of("Asked"), hash_of("Other")
    for name, text in MOVES[move].items():
        assert dedent(text) != dedent(FILES.get(name, "")), "nothing moved"
        (lab / name).write_text(dedent(text))
    assert (hash_of("Asked"), hash_of("Other")) == before


def test_two_definitions_of_one_name_are_told_apart_by_who_uses_them(lab):
    text = FILES["questions.py"].replace("+ total([])", "+ total([]) + mean_score([], 1)")
    (lab / "questions.py").write_text(dedent(text))
    files = {"scores/means.py": "1", "scores/total.py": "2"}
    sources = {
        "scores/means.py": "def mean_score(x, y=0):\n    return _inner(x)\n"
        "def _inner(x):\n    return {}\n",
        "scores/total.py": "def total(x):\n    return _inner(x)\ndef _inner(x):\n    return {}\n",
    }

    def hashed(values: dict[str, str]) -> str:
        for name, value in values.items():
            (lab / name).write_text(sources[name].format(value))
        return hash_of("Asked")

    swapped = dict(zip(files, reversed(files.values()), strict=True))
    assert hashed(files) != hashed(swapped)


def test_nothing_is_imported_to_be_hashed(lab):
    (lab / "late.py").write_text("def shift(x):\n    return x\n\nraise RuntimeError('imported')\n")
    assert len(hash_of("Asked")) == 32


def test_the_lock_asks_for_a_higher_version_when_code_moves(lab, tmp_path):
    path, asked = tmp_path / "versions.lock.json", [experiment("Asked"), experiment("Other")]
    assert "make lock" in lock_problems(path, asked, ["labpkg"])["Asked"]
    write_lock(path, asked, ["labpkg"])
    assert lock_problems(path, asked, ["labpkg"]) == {}
    assert json.loads(path.read_text())["Asked"] == {"version": 1, "hash": hash_of("Asked")}

    (lab / "limits.py").write_text("LIMIT: float = 0.7\n")
    problems = lock_problems(path, asked, ["labpkg"])
    assert list(problems) == ["Asked"]
    assert "raise its version and run `make lock`" in problems["Asked"]
    with pytest.raises(StoreError, match=r"higher version of \['Asked'\].*raise it, or vouch"):
        write_lock(path, asked, ["labpkg"])

    raised = [experiment("Asked", version=2), experiment("Other")]
    assert "make lock" in lock_problems(path, raised, ["labpkg"])["Asked"]
    write_lock(path, raised, ["labpkg"])
    assert lock_problems(path, raised, ["labpkg"]) == {}


def test_a_rewrite_that_moves_no_number_can_be_vouched_for(lab, tmp_path):
    path, asked = tmp_path / "versions.lock.json", [experiment("Asked")]
    write_lock(path, asked, ["labpkg"])
    (lab / "late.py").write_text("def shift(x):\n    return 1 + x\n")
    write_lock(path, asked, ["labpkg"], vouched=["Asked"])
    assert lock_problems(path, asked, ["labpkg"]) == {}


def test_an_experiment_that_is_gone_is_a_problem_of_the_lock(lab, tmp_path):
    path = tmp_path / "versions.lock.json"
    write_lock(path, [experiment("Asked"), experiment("Other")], ["labpkg"])
    assert list(lock_problems(path, [experiment("Asked")], ["labpkg"])) == ["Other"]


def test_what_cannot_be_locked_is_refused(lab):
    with pytest.raises(StoreError, match=r"expected one experiment `Asked` .*got another"):
        lock_entries([experiment("Asked"), experiment("Asked", version=2)], ["labpkg"])
    with pytest.raises(StoreError, match="expected one experiment `Nowhere`"):
        lock_entries([experiment("Nowhere")], ["labpkg"])
    with pytest.raises(StoreError, match="expected an importable package, got `nopkg`"):
        lock_entries([], ["nopkg"])
