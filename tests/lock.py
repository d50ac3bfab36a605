"""`python -m tests.lock [NAME ...]`: write the version lock; NAMEs are vouched for.

Raise the version of an experiment when the same question gets other numbers. Vouch for one only
when its code changed and no number can have.
"""

import sys
from pathlib import Path

from analysis import experiments
from analysis.experiments import Experiment
from store import StoreError, write_lock

LOCK = Path(__file__).resolve().parent.parent / "analysis" / "versions.lock.json"
PACKAGES = ("analysis",)


def all_experiments() -> list[type[Experiment]]:
    """Every experiment that the package offers."""
    offered = (getattr(experiments, name) for name in experiments.__all__)
    return [
        found
        for found in offered
        if isinstance(found, type) and issubclass(found, Experiment) and found is not Experiment
    ]


if __name__ == "__main__":
    try:
        write_lock(LOCK, all_experiments(), PACKAGES, vouched=sys.argv[1:])
    except StoreError as error:
        sys.exit(f"lock: {error}")
