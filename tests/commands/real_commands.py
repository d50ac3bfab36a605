"""Commands as real processes, from the checkout or from an unpacked wheel, in any folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_ENTRY = """import sys
sys.argv[0] = "headbook"
sys.path.insert(0, {root!r})
from headbook import main
{before}
main()
"""
NOTHING_TO_PREPARE = """
import os
sys.path[:] = [{packages!r}, *(path for path in sys.path if path != os.getcwd())]
import book.computing, analysis.studies.speed.views
book.computing.compute = lambda *_: None
analysis.studies.speed.views.questions = lambda _: []
"""
"""A build of notebooks of a test computes nothing beforehand."""


@dataclass(frozen=True)
class Commands:
    """Where `headbook` is installed."""

    root: Path = ROOT
    """Holds the package `headbook`."""

    packages: Path = ROOT
    """Holds `analysis`, `store` and `book`."""

    environment: dict[str, str] = field(default_factory=dict[str, str])

    def start(
        self,
        folder: Path,
        *words: object,
        before: str = "",
        through: Sequence[str] = (),
        **streams: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a command in a folder, through a shell or the like."""
        before = before.format(packages=str(self.packages))
        code = _ENTRY.format(root=str(self.root), before=before)
        command = [*through, sys.executable, "-P", "-c", code, *map(str, words)]
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(command, cwd=folder, env=environment, **streams)

    def run(self, folder: Path, *words: object, before: str = "") -> tuple[int, str, str]:
        """Run a command to its end: exit code, what it printed, and what it said."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1}
        with self.start(folder, *words, before=before, **pipes) as process:
            out, err = process.communicate()
        return process.returncode, out.decode(), err.decode()
