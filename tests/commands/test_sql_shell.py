"""Queries of a terminal, a pipe or a file: each is answered, as asked, and nothing else printed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import strategies as st

from book.cli import cli
from book.shell import _cut
from store import Store

from .hostile import hostile
from .real_commands import Commands


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shell") / "store"
    Store.open(root)
    return root


def piped(store: Path, asked: str, *form: str):
    return CliRunner().invoke(cli, ["sql", *form, "--store", str(store)], input=asked)


ASKED = {
    "no end": "SELECT 1 AS x",
    "one line": "SELECT 1 AS x; SELECT 2 AS x",
    "many lines": "SELECT\n1 AS x\n;\n\nSELECT 2 AS x;\n",
    "a semicolon in a text": "SELECT ';\n;' AS x; SELECT E'\\';' AS x; SELECT 'it''s;' AS x;"
    "SELECT 'a' LIKE'\\' AS x",
    "in a name": 'SELECT 1 AS ";"; SELECT 2 AS "a"";"',
    "in a comment": "SELECT 1 AS x -- ;\n; SELECT /* ; */ 2 AS x -- '\n",
    "in a comment in a comment": "SELECT /* a /* ; */ ; */ 1 AS x; SELECT 2 AS x /* /* ; */ */",
    "in dollars": "SELECT $$;'$$ AS x; SELECT $a$;$$;$a$ AS x",
    "nothing": ";;\n-- nothing;\n/* ; */;\n",
    "an empty input": "",
}
ANSWERS = {
    "no end": [1],
    "one line": [1, 2],
    "many lines": [1, 2],
    "a semicolon in a text": [";\n;", "';", "it's;", False],
    "in a name": [1, 2],
    "in a comment": [1, 2],
    "in a comment in a comment": [1, 2],
    "in dollars": [";'", ";$$;"],
    "nothing": [],
    "an empty input": [],
}


@pytest.mark.parametrize("kind", ASKED)
def test_every_query_of_a_pipe_is_answered_in_the_form_that_was_asked_for(kind, store):
    done = piped(store, ASKED[kind], "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert [next(iter(row.values())) for row in rows] == ANSWERS[kind]
    assert piped(store, ASKED[kind], "--csv").stdout.count("\n") >= 2 * len(rows)
    tables = piped(store, ASKED[kind])
    assert tables.stdout.count("shape: (1, 1)") == len(rows)
    assert "sql>" not in tables.output and "Tables:" not in tables.output


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_the_answers_of_a_pipe_are_those_of_the_queries(form, store):
    queries = ["SELECT 1 AS x, 'NaN'::DOUBLE AS y", "FROM range(3)", "SELECT chr(27) AS x"]
    alone = [
        CliRunner().invoke(cli, ["sql", query, form, "--store", str(store)]).stdout_bytes
        for query in queries
    ]
    assert piped(store, ";\n".join(queries), form).stdout_bytes == b"".join(alone)


def test_a_mistake_in_a_pipe_ends_nothing_and_is_told_at_the_end(store):
    done = piped(store, "SELECT nothing;\nSELECT 6\n* 7 AS answer; 'open", "--csv")
    assert done.exit_code == 2
    assert done.stdout == "answer\n42\n"
    first, second = done.stderr.splitlines()
    assert first.startswith("headbook: expected ") and "nothing" in first
    assert second.startswith("headbook: expected ")


def test_a_query_of_other_bytes_is_refused_as_such(store, tmp_path):
    streams = {"stdin": -1, "stdout": -1, "stderr": -1}
    said = b"headbook: expected a query in UTF-8, got other bytes; convert it\n"
    for words, asked in ((("SELECT '\udcff'",), b""), ((), b"SELECT \xff AS x")):
        with Commands().start(tmp_path, "sql", *words, "--store", store, **streams) as it:
            assert it.communicate(asked) == (b"", said)
        assert it.returncode == 2


def test_a_pipe_is_answered_as_it_is_written(store, tmp_path):
    streams = {"stdin": -1, "stdout": -1, "stderr": -1}
    with Commands().start(tmp_path, "sql", "--csv", "--store", store, **streams) as it:
        for n in range(3):
            it.stdin.write(f"SELECT {n} AS x;\n".encode())
            it.stdin.flush()
            assert [it.stdout.readline() for _ in range(2)] == [b"x\n", b"%d\n" % n]
        out, err = it.communicate()
    assert (it.returncode, out, err) == (0, b"", b"")


def test_a_terminal_is_prompted_and_a_file_gets_answers_alone(store, tmp_path):
    controller, terminal = os.openpty()
    streams = {"stdin": terminal, "stdout": -1, "stderr": terminal}
    with Commands().start(
        tmp_path, "sql", "--csv", "--store", store, through=["setsid", "-c"], **streams
    ) as it:
        os.close(terminal)
        shown = b""
        while b"sql> " not in shown:
            shown += os.read(controller, 4096)
        os.write(controller, b"SELECT 1\nAS x;\nSELECT nothing;\n\x04")
        out, _ = it.communicate()
    shown += os.read(controller, 4096)
    os.close(controller)
    assert (it.returncode, out) == (0, b"x\n1\n")
    for told in (b"Tables: ", b"  ... ", b"nothing"):
        assert told in shown


@hostile(
    300, pieces=st.lists(st.sampled_from([*";'\"$-/*\n\\ eEa1", "--", "/*", "*/", "$$", "$a$"]))
)
def test_cutting_loses_nothing_but_semicolons(pieces):
    text = "".join(pieces)
    assert ";".join(_cut(text)) == text
