"""Another process that changes a store. It imports once, and forks for every line on stdin.

A line is `<what> <store> <seed> <change>`: the fork opens the store, recalls the scores of the
seed, compacts, prunes or takes a snapshot, and is killed just before that change of the folder.
It prints `done` at the end, and when it is gone `gone <status>`.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from store import Store, compact, prune, snapshot
from tests.commands.forks import forks, say
from tests.commands.touches import die_at_change
from tests.store.store_fakes import Scores


def work(what: str, root: str, seed: str, change: str) -> None:
    die_at_change(Path(root), int(change))
    store = Store.open(root)
    if what == "recall":
        store.recall(Scores(seed=int(seed)))
    elif what == "compact":
        compact(store)
    elif what == "prune":
        prune(store, grace_s=-1)
    else:
        snapshot(store)
    say("done")


if __name__ == "__main__":
    forks(work)
