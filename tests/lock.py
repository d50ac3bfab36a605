"""`python -m tests.lock [NAME ...]`: write the version lock; NAMEs are vouched for.

Raise the version of an experiment when the same question gets other numbers. Where code moved and
the answers to tiny questions did not, the lock is renewed by itself; vouch only for what is not
asked there, or where you know why these few numbers moved.
"""

import json
import sys
from collections.abc import Collection
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pathlib import Path
from pkgutil import walk_packages
from types import SimpleNamespace
from typing import Any

import analysis
from analysis.scores.registry import registered
from store import StoreError, lock_problems, write_lock

from . import canary

LOCK = Path(__file__).resolve().parent.parent / "analysis" / "versions.lock.json"
PACKAGES = ("analysis",)


def all_experiments() -> list[type[Any]]:
    """Everything that can be asked: classes of ours with a version, readers of files too."""
    names = [one.name for one in walk_packages(analysis.__path__, "analysis.")]
    found = {
        kind
        for name in names
        for _, kind in getmembers(import_module(name), isclass)
        if kind.__module__ == name and "version" in vars(kind) and not isabstract(kind)
    }
    return sorted(found, key=lambda kind: kind.__name__)


def all_scores() -> list[Any]:
    """Scores that are found by the registry, where no source names them: each has a version."""
    return [
        SimpleNamespace(
            __name__=score.function.__name__,
            __module__=score.function.__module__,
            version=score.version,
        )
        for score in registered()
        if score.data == "text"
    ]


def renew(vouched: Collection[str] = ()) -> None:
    """Write the lock and the answers that it renews itself by.

    Args:
        vouched: Experiments whose code moved and whose numbers did not, on the caller's word.

    Raises:
        StoreError: An answer moved, or may have, and the version was not raised.
    """
    experiments = [*all_experiments(), *all_scores()]
    problems = lock_problems(LOCK, experiments, PACKAGES)
    if not problems:
        return
    before, now = canary.kept(), canary.answers()
    same = {name for name in problems if canary.alike(before.get(name), now.get(name))}
    if canary.alike(before.get("TextScores"), now.get("TextScores")):
        same |= {score.__name__ for score in all_scores()}
    write_lock(LOCK, experiments, PACKAGES, vouched={*vouched, *same})
    lines = (f"  {json.dumps(name)}: {json.dumps(told)}" for name, told in now.items())
    canary.PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        renew(sys.argv[1:])
    except StoreError as error:
        sys.exit(f"lock: {error}")
