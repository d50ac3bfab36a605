"""Another process that builds a book. It imports once, and forks for every line on stdin.

A line is `<folder> <change> <seconds>`: the fork builds the notebooks in `folder/notebooks`, and is
killed just before that change of `folder/html`, or so many seconds after it began; 0 is never. It
prints `gone <status>`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from book.site import find_notebooks
from tests.book.book_sample import build_sample
from tests.commands.forks import forks
from tests.commands.touches import die_at_change


def work(root: str, change: str, seconds: str) -> None:
    """Build, or be killed."""
    if float(seconds):
        threading.Timer(float(seconds), os.kill, (os.getpid(), signal.SIGKILL)).start()
    folder = Path(root)
    die_at_change(folder / "html", int(change))  # and of `html.work`, whose name starts so
    build_sample(folder, find_notebooks(folder / "notebooks"))


if __name__ == "__main__":
    forks(work)
