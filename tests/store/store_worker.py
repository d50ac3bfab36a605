"""Another process that runs experiments. It imports once, and forks for every task.

A line on stdin is a task: `<how> <store> <rows> <first seed> <end seed>`. The fork prints
`start <pid>`; then, asked for `each` seed, `done <seed>` whenever an answer has been returned, or,
asked for one `sweep`, `begin <seed>` when it comes to a seed, so that those before are finished;
and when the fork is gone, `gone <status>`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from store import Report, Store
from tests.commands.forks import forks, say
from tests.store.store_fakes import Scores, Sweep


@contextmanager
def announced(title: str) -> Iterator[Report]:
    yield lambda done, total, what: say(what.replace("seed", "begin") or title)


def work(how: str, root: str, rows: str, first: str, end: str) -> None:
    say("start", os.getpid())
    store, seeds = Store.open(root), range(int(first), int(end))
    if how == "sweep":
        store.recall(Sweep(seeds=tuple(seeds), rows=int(rows)), announced)
    else:
        for seed in seeds:
            store.recall(Scores(seed=seed, rows=int(rows)))
            say("done", seed)


def main() -> None:
    assert "torch" not in sys.modules
    forks(work)


if __name__ == "__main__":
    main()
