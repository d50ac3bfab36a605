"""Another process that sweeps. It imports once, and forks for every line on stdin.

A line is `<store> <model> <text>`. The fork prints `start <pid>` and `done <set>` whenever a set of
heads has been measured and stored; when it is gone, `gone <status>`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from analysis.studies.kinds.ablation_sweep import AblationSweep
from store import Store
from tests.commands.forks import forks, say


def question(model: str, text: str) -> AblationSweep:
    """Every head alone, stored one by one."""
    return AblationSweep(
        model=model,
        text=text,
        bos=True,
        n_sequences=4,
        n_tokens=16,
        seed=3,
        method="resample",
        pooling="pooled",
        positions=None,
        family="single",
        sets=tuple((f"L{layer}H{head}",) for layer in range(2) for head in range(4)),
        first_draw=None,
    )


def work(root: str, model: str, text: str) -> None:
    """Measure what is missing, set by set."""
    say("start", os.getpid())
    store, whole = Store.open(root), question(model, text)
    for unit in whole.units():
        store.recall(unit)
        say("done", *unit.sets[0])


def main() -> None:
    """One fork a line."""
    from analysis.questions.verdicts import head_sets  # noqa: PLC0415 - to set what a unit holds

    head_sets.UNIT = 1
    torch.set_num_threads(1)
    forks(work)


if __name__ == "__main__":
    main()
