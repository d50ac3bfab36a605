"""Another process that decomposes. It imports once, and forks for every line on stdin.

Its argument is the model. A line is `<model> <text> <out> <step> <seconds>`. The fork goes on from
the folder's checkpoint and is killed so long after it has done that step, whatever it does then; at
once for 0. It prints `gone <status>`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from analysis.components.fitting import recipe, training
from analysis.components.fitting.recipe import Recipe, Rows
from analysis.models.load import load_model
from analysis.text.tokens import Vocabulary
from tests.commands.forks import forks

RECIPE = Recipe(
    seed=3,
    n_steps=6,
    layers=r".*\.(q_proj|o_proj)",
    n_components=5,
    hidden=6,
    n_rows=4,
    n_tokens=12,
    repeats=0.25,
    warm_up=3,
    fresh_every=4,
)
"""A few steps of every kind; the adversary's sources outlive checkpoints."""
EVERY = 2
"""Steps between checkpoints."""
KEPT = 8
"""Rows that are kept for judging."""


def trainer(asked: Recipe, model: str, text: str, out: Path) -> training.Trainer:
    """A run at its first step."""
    loaded = load_model(model)
    vocabulary = Vocabulary(loaded.card.folder, loaded.card.vocab)
    return training.Trainer(asked, loaded, Rows(text, vocabulary, asked, "decompose"), out)


def work(model: str, text: str, out: str, step: str, seconds: str) -> None:
    """Train to the end, or until the kill."""
    me, wait = (os.getpid(), signal.SIGKILL), float(seconds)
    run = trainer(RECIPE, model, text, Path(out))
    run.resume()

    def report(done: int, _total: int, _what: str) -> None:
        if done == int(step):
            threading.Timer(wait, os.kill, me).start() if wait else os.kill(*me)

    run.run(report)


def main() -> None:
    """One fork a line, of a process that has read the model already."""
    training.CHECKPOINT_EVERY, recipe.N_EVALUATED = EVERY, KEPT
    torch.set_num_threads(1)
    load_model(sys.argv[1])
    forks(work)


if __name__ == "__main__":
    main()
