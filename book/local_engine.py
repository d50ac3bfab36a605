"""Units computed side by side on this machine, in as many processes as there are cores.

Each has one thread: on small matrices two threads of one process wait for each other, and for
whatever else the machine does.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from analysis.errors import UserError
from analysis.memory import memory_bytes
from store import StoreError

from .children import Children, child_environment
from .planning import n_cores

if TYPE_CHECKING:
    from analysis.questions.cost import Cost
    from analysis.questions.experiment import Experiment

Function = Callable[["Experiment"], str]
"""Computes a unit wherever it is called, and returns the name of the part that it left."""

WORTH_S = 30.0
"""Of work, which pays for the start of processes: each takes some three seconds to begin."""

_RAISED = {kind.__name__: kind for kind in (UserError, StoreError)}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


def n_processes(work: Cost) -> int:
    """How many processes work is worth: one on every core, as far as memory goes.

    Args:
        work: What is to be done.

    Returns:
        1 where it is better done here.
    """
    if work.seconds < WORTH_S:
        return 1
    fit = memory_bytes() / 2**30 / 2 // work.gib
    return max(1, min(n_cores("cpu"), int(fit)))


@dataclass(frozen=True)
class LocalEngine:
    """Processes that are there until all units are computed."""

    n_workers: int

    def map_units(self, function: Function, units: Sequence[Experiment]) -> Iterator[str]:
        """Call a function on every unit.

        Args:
            function: Publishes whole parts only.
            units: In the order in which they are begun; those that share work follow the first of
                them, in its process.

        Yields:
            What the function returns, in the order in which units are finished.

        Raises:
            UserError: What the function raised, or a process was killed.
            StoreError: What the function raised.
        """
        waiting, done = deque(grouped(units)), SimpleQueue[str | Exception]()
        children, n = Children(), min(self.n_workers, len(waiting))
        with ThreadPoolExecutor(n) as threads:
            try:
                for _ in range(n):
                    threads.submit(_serve, children, function, waiting, done)
                for _ in units:
                    found = done.get()
                    if isinstance(found, Exception):
                        raise found
                    yield found
            finally:
                waiting.clear()
                children.end()


def grouped(units: Sequence[Experiment]) -> list[list[Experiment]]:
    """Units that share work side by side, all others alone."""
    found: dict[Hashable, list[Experiment]] = {}
    for i, unit in enumerate(units):
        shared = unit.together
        found.setdefault(i if shared is None else shared, []).append(unit)
    return list(found.values())


def _serve(
    children: Children,
    function: Function,
    waiting: deque[list[Experiment]],
    done: SimpleQueue[str | Exception],
) -> None:
    """Give units to one process until none waits."""
    environment = child_environment(**dict.fromkeys(_THREADS, "1"))
    try:
        with children.started("book.unit_worker", [], environment) as child:
            assert child.stdin and child.stdout
            while True:
                for unit in waiting.popleft():
                    child.stdin.write(f"{_job(function, unit)}\n")
                    child.stdin.flush()
                    done.put(_answer(child.stdout.readline()))
    except IndexError:
        return  # none waits
    except (OSError, KeyboardInterrupt):
        done.put(_ended())


def _job(function: Function, unit: Experiment) -> str:
    """What a process is told: names of the function and of the unit's class, and their values."""
    inner: Any = getattr(function, "func", function)
    arguments: tuple[Any, ...] = getattr(function, "args", ())
    asked = {one.name: getattr(unit, one.name) for one in fields(unit) if one.compare}
    names = {"function": _name(inner), "unit": _name(type(unit))}
    return json.dumps({**names, "arguments": arguments, "fields": asked}, default=os.fspath)


def _name(one: Any) -> str:
    return f"{one.__module__}:{one.__qualname__}"


def _answer(line: str) -> str | Exception:
    answer = json.loads(line or "{}")
    if "part" in answer:
        return answer["part"]
    kind, words = answer.get("raised", ("", ""))
    return _RAISED[kind](words) if kind in _RAISED else _ended()


def _ended() -> UserError:
    return UserError(
        "expected a process to survive each unit, one has ended; is there memory enough? What was "
        "finished is kept"
    )
