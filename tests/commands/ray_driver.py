"""What workers call in the tests, and a driver of Ray's that can be killed.

As a script: `<store> <number of units>`; prints `done` for every part that it takes over.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[2]))

from analysis.errors import UserError
from book.ray_engine import ray_engine
from store import Store, accept, deliver
from tests.store.store_fakes import Scores

N_WORKERS = 2


def counted(root: Path | str, unit: Scores) -> str:
    """Compute a unit, and leave a mark of it."""
    (Path(root) / f"computed-{unit.seed}-{uuid4().hex}").touch()
    return deliver(Path(root), unit)


def fatal(root: Path, kills: int, unit: Scores) -> str:
    """Die by SIGKILL at the first so many units, once at each, before or after delivery."""
    died = root / f"died-{unit.seed}"
    if unit.seed < kills and not died.exists():
        died.touch()
        if unit.seed % 2:
            counted(root, unit)
        os.kill(os.getpid(), signal.SIGKILL)
    return counted(root, unit)


def poisonous(unit: Scores) -> str:
    """Kill every worker that meets it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return str(unit)


def refused(unit: Scores) -> str:
    """Raise what a user's mistake raises."""
    raise ValueError(f"expected no seed {unit.seed}")


def unaskable(unit: Scores) -> str:
    """Raise what says that a model cannot be asked."""
    raise UserError(f"expected another seed, got {unit.seed}; ask another")


def take_over(store: Store, function: Callable[[Scores], str], seeds: range) -> list[str]:
    """Parts of the units with these seeds, computed by workers."""
    taken: list[str] = []
    units = [Scores(seed=seed) for seed in seeds if store.missing(Scores(seed=seed))]
    with ray_engine(None, N_WORKERS, gpus=False) as engine:
        for name in engine.map_units(function, units):
            taken += accept(store, [name])
            os.write(1, b"done\n")
    return taken


if __name__ == "__main__":
    opened = Store.open(sys.argv[1])
    accept(opened)
    take_over(opened, partial(counted, opened.root), range(int(sys.argv[2])))
