"""The real chapters on the shipped model, in a folder of their own."""

import subprocess
import sys
from pathlib import Path

HEADBOOK = (sys.executable, "-c", "from headbook import main; main()")


class RealBook:
    """A store and a book in one folder, built as a user builds them: by the command, on its own."""

    def __init__(self, folder: Path) -> None:
        self.store, self.out = folder / "store", folder / "html"

    def build(self, *arguments: str) -> str:
        """What `headbook build` with further arguments prints; it must succeed."""
        places = ("--store", str(self.store), "--out", str(self.out))
        command = [
            *HEADBOOK,
            "build",
            *places,
            "--profile",
            "tiny",
            "--chapters",
            "all",
            *arguments,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout
