"""Another process that keeps DuckDB files open, like a notebook's kernel: `<mode> <file>...`.

Mode `read` opens them read-only. Mode `write` opens them read-write where the system lets it,
and leaves a change in the log. It says `held`, then answers each line on stdin with a count.
"""

from __future__ import annotations

import os
import sys

import duckdb


def held(path: str, mode: str) -> duckdb.DuckDBPyConnection:
    if mode == "write":
        try:
            connection = duckdb.connect(path)
            connection.execute("CREATE TABLE scribble AS SELECT 1 AS x")
        except duckdb.IOException:  # mode 0444 stops everyone but root
            mode = "read"
        else:
            return connection
    return duckdb.connect(path, read_only=True)


def main() -> None:
    mode, *paths = sys.argv[1:]
    connections = [held(path, mode) for path in paths]
    os.write(1, b"held\n")
    for _ in sys.stdin:
        counts = [c.execute("SELECT count(*) FROM head_scores").fetchall() for c in connections]
        os.write(1, f"{[count[0][0] for count in counts]}\n".encode())


if __name__ == "__main__":
    main()
