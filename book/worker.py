"""One chapter in a process of its own: `python -m book.worker JOB` writes the compiled chapter.

JOB is a JSON file: the notebook, its options, the project's folders and where the result goes.
Progress goes to standard output as lines of JSON; what the notebook prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from ._compat import arguments_of, ignore_settings
from .chapter import compile_chapter
from .errors import BookError
from .inputs import imported_files, write_aside
from .orphans import end_with_parent


def main(job_file: str) -> int:
    """Compile the chapter of a job.

    Args:
        job_file: Path of the job.

    Returns:
        0, or 1 after a line with the error.
    """
    job: dict[str, Any] = json.loads(Path(job_file).read_text(encoding="utf-8"))
    end_with_parent()
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    ignore_settings()

    def tick(done: int, total: int) -> None:
        _say(channel, {"done": done, "total": total})

    try:
        chapter = compile_chapter(Path(job["notebook"]), arguments_of(job["options"]), tick)
    except BookError as error:
        _say(channel, {"error": [error.expected, error.got, error.remedy]})
        return 1
    folders = [Path(folder) for folder in job["folders"]]
    record = {**asdict(chapter), "inputs": imported_files(folders)}
    try:
        write_aside(Path(job["result"]), json.dumps(record, sort_keys=True).encode())
    except OSError as error:
        _say(channel, {"error": ["to keep the compiled chapter", str(error), "see to the disk"]})
        return 1
    return 0


def _say(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
