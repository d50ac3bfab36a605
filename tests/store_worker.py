"""Another process that runs experiments. It imports once, and forks for every task.

A line on stdin is a task: `<store> <rows> <first seed> <end seed>`. The fork prints `start <pid>`,
then `done <seed>` once a unit's answer has been returned; when it is gone, `gone <status>`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from store import Store
from tests.store_fakes import Scores


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def work(root: str, rows: int, seeds: range) -> None:
    say("start", os.getpid())
    store = Store.open(root)
    for seed in seeds:
        store.recall(Scores(seed=seed, rows=rows))
        say("done", seed)


def main() -> None:
    assert "torch" not in sys.modules
    say("ready")
    for line in sys.stdin:
        root, rows, first, end = line.split()
        child = os.fork()
        if not child:
            work(root, int(rows), range(int(first), int(end)))
            os._exit(0)
        say("gone", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
