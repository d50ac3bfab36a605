"""Another process, without privileges, that forks for every line on stdin and runs a command.

A line is the path of a JSON file: the words of a command, the folder to run it in, and a file for
what it prints. The fork answers as the command line does; `recall`, `accept` and `build-sample` are
what no command does without a model. It prints `gone <status>` when the fork is gone.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import click
import pyarrow.dataset  # noqa: F401 - before the fork, which then need not load it

from book.cli import cli
from book.site import build, find_notebooks
from store import Store, accept
from tests.book.book_sample import NOTEBOOKS, OPTIONS
from tests.commands.forks import forks
from tests.store.store_fakes import Sweep

HANGS_S = 20
"""Seconds after which a command is taken to hang."""

_VERSION = 0x20080522


def give_up_privileges() -> None:
    """From now on permissions hold for this process as for anybody, even if root has started it."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    if os.geteuid() == 0 and libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "no capability could be given up")


def recall(store: str) -> None:
    """Compute what is missing of a few answers."""
    Store.open(store).recall(Sweep(seeds=(0, 1, 2)))


def taken_over(store: str) -> None:
    """Take over what workers delivered."""
    accept(Store.open(store))


def build_sample(store: str, out: str) -> None:
    """Build a small book."""
    build(Path(store), find_notebooks(NOTEBOOKS[0].parent), Path(out), check=False, options=OPTIONS)


OTHERS = {"recall": recall, "accept": taken_over, "build-sample": build_sample}


def work(job: str) -> None:
    """Run one command; its exit code is the fork's."""
    asked = json.loads(Path(job).read_text(encoding="utf-8"))
    signal.alarm(HANGS_S)
    printed = os.open(asked["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.chdir(asked["folder"])
    name, *arguments = asked["words"]
    other = OTHERS.get(name)
    if other is not None:
        cli.commands["other"] = click.command()(lambda: other(*arguments))
        asked["words"] = ["other"]
    try:
        cli.main(asked["words"], prog_name="headbook")
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(int(end.code or 0))


if __name__ == "__main__":
    give_up_privileges()
    forks(work)
