"""Another process that trains. It imports once, and forks for every line on stdin.

A line is `<corpus> <out> <change> <seconds>`. The fork goes on from the folder's checkpoint to the
end, and is killed just before that change of the folder, or so many seconds after it began; 0 is
never. It prints `gone <status>`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from tokenizers import Tokenizer

from analysis.models.files.card import REFERENCE
from analysis.training import kept, mixture, trainer
from analysis.training.corpus import Corpus
from tests.commands.forks import forks
from tests.commands.touches import die_at_change

N_STEPS, EVERY = 12, 2
"""Steps of a run, and steps between its checkpoints."""
KEEP_AT = (0, 5)
"""Steps whose weights are kept."""
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def silent(*_: object) -> None:
    """Report nothing."""


def work(corpus: str, out: str, change: str, seconds: str) -> None:
    """Train to the end, or until the kill."""
    if float(seconds):
        threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGKILL)).start()
    die_at_change(Path(out), int(change))
    recipe = trainer.Recipe(seed=0, n_steps=N_STEPS)
    run = trainer.Trainer(recipe, Corpus.read(Path(corpus)), Path(out), "cpu")
    trainer.train(run, resume=True, report=silent)


def small() -> None:
    """A small model, few rows, the shipped tokenizer, two kept steps, and nothing measured."""
    shipped = Tokenizer.from_file(str(REFERENCE / "tokenizer.json"))
    trainer.CHECKPOINT_EVERY = EVERY
    trainer.KEEP_AT = kept.KEEP_AT = KEEP_AT
    trainer.LlamaSimpleMLPConfig = partial(trainer.LlamaSimpleMLPConfig, **SIZES)
    trainer.train_tokenizer = lambda *_: shipped
    trainer.abilities = lambda *_, **__: {}
    trainer.evaluate = lambda *_: {}
    trainer.card = lambda *_: "a card"
    mixture.PHASES = tuple(replace(phase, n_rows=2) for phase in mixture.PHASES)


if __name__ == "__main__":
    small()
    torch.set_num_threads(1)
    forks(work)
