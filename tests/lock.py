"""`python -m tests.lock [NAME ...]`: write the version lock; NAMEs are vouched for.

Raise the version of an experiment when the same question gets other numbers. Vouch for one only
when its code changed and no number can have.
"""

import sys
from inspect import isabstract
from pathlib import Path

import analysis.bench  # noqa: F401 - its experiments lie beside it
from analysis.experiments import Question
from store import StoreError, write_lock

LOCK = Path(__file__).resolve().parent.parent / "analysis" / "versions.lock.json"
PACKAGES = ("analysis",)


def all_experiments() -> list[type[Question]]:
    """Every experiment that can be asked, found by its place under `Question`."""
    found: dict[str, type[Question]] = {}
    waiting = list(Question.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        ours = kind.__module__.split(".")[0] in PACKAGES
        if ours and not isabstract(kind) and "version" in vars(kind):
            found[f"{kind.__module__}.{kind.__name__}"] = kind  # reached through every base
    return sorted(found.values(), key=lambda kind: kind.__name__)


if __name__ == "__main__":
    try:
        write_lock(LOCK, all_experiments(), PACKAGES, vouched=sys.argv[1:])
    except StoreError as error:
        sys.exit(f"lock: {error}")
