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

sys.path.insert(0, str(Path(__file__).parents[1]))

from store import Report, Store
from tests.store_fakes import Scores, Sweep


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


@contextmanager
def announced(title: str) -> Iterator[Report]:
    yield lambda done, total, what: say(what.replace("seed", "begin") or title)


def work(how: str, root: str, rows: int, seeds: range) -> None:
    say("start", os.getpid())
    store = Store.open(root)
    if how == "sweep":
        store.recall(Sweep(seeds=tuple(seeds), rows=rows), announced)
    else:
        for seed in seeds:
            store.recall(Scores(seed=seed, rows=rows))
            say("done", seed)


def main() -> None:
    assert "torch" not in sys.modules
    say("ready")
    for line in sys.stdin:
        how, root, rows, first, end = line.split()
        child = os.fork()
        if not child:
            try:
                work(how, root, int(rows), range(int(first), int(end)))
                os._exit(0)
            finally:
                os._exit(1)
        say("gone", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
