"""Runs the statements of one copy in a process of its own: `python -m store.copy_worker`.

A process of its own, because DuckDB writes unused memory into a file, and its allocator is told
to hand out zeroes only when a process starts (`results_copy` sets the variable).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .catalog import write_database
from .errors import StoreError

if TYPE_CHECKING:
    import duckdb


def main() -> None:
    """Read one job on stdin; a failure is the last line on stderr, and exit code 1."""
    job: dict[str, Any] = json.load(sys.stdin)

    def fill(made: duckdb.DuckDBPyConnection) -> None:
        for statement in job["statements"]:
            made.execute(statement)

    try:
        write_database(Path(job["path"]), job["options"], fill)
    except StoreError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
