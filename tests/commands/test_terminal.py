"""What commands print of data: seen on a terminal, the very bytes for a program."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import unicodedata

import click
import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import strategies as st

from book import run_command
from book.cli import cli
from book.shell import Query, ask
from book.terminal import say
from store import Store

from .hostile import hostile

STEERING = {
    "colour": "\x1b[31mred",
    "title": "\x1b]0;mine\x07",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x1b\\",
    "clear": "\x1b[2J\x1b[H",
    "one byte": "\x9b31m",
    "back": "safe\b\b\b\bevil",
    "return": "safe\revil",
    "lines": "one\ntwo\x0b\x0c\x85\u2028\u2029three",
    "bidirectional": "\u202egnp.exe\u2066\u2069\u200f",
    "unseen": "a\u200bb\ufeff\u00ad\U000e0041",
    "delete": "\x7f",
}
LETTERS = st.characters(exclude_categories=["Cs"])
TEXTS = st.sampled_from([*STEERING.values()]) | st.text(LETTERS)


class Fixed:
    """A store whose every answer is the same frame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def sql(self, _query: str) -> pl.DataFrame:
        return self.frame


def headbook(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from headbook import main; main()", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("terminal") / "store"
    Store.open(root)
    return root


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def steers(printed: str) -> str:
    """What of a printed text a terminal would obey, or would not show."""
    return "".join(c for c in printed if c != "\n" and not c.isprintable())


@pytest.mark.parametrize("kind", STEERING)
def test_a_table_shows_what_would_steer_the_terminal(kind):
    text = STEERING[kind]
    frame = pl.DataFrame({text: [text, None], "list": [[text], None], "struct": [{text: text}] * 2})
    printed = ask(Fixed(frame), "", None)
    assert steers(text), "a text that steers nothing would show nothing"
    assert steers(printed) == ""
    seen = text.encode("unicode_escape").decode()
    assert printed.count(seen.replace("\\\\", "\\")[:60]) >= 2


@hostile(300, names=st.lists(TEXTS, min_size=1, max_size=4, unique=True), data=st.data())
def test_a_table_is_as_wide_as_it_is_drawn(names, data):
    rows = data.draw(
        st.lists(st.lists(TEXTS, min_size=len(names), max_size=len(names)), max_size=4)
    )
    printed = ask(
        Fixed(pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")), "", None
    )
    assert steers(printed) == ""
    drawn = printed.splitlines()[1:]
    assert len(drawn) == len(rows) + 4
    wide = {
        sum(unicodedata.east_asian_width(c) in "WFA" or unicodedata.combining(c) > 0 for c in line)
        for line in drawn
    }
    assert len({len(line) for line in drawn}) == 1 or max(wide) > 0


def test_a_wide_answer_keeps_a_line_for_each_row():
    frame = pl.DataFrame({f"column_{i}": ["x" * 50, "y" * 50] for i in range(400)})
    lines = ask(Fixed(frame), "", None).splitlines()
    assert len(lines) == 7
    assert all(f"column_{i}" in lines[2] for i in range(400))


def test_names_that_are_shown_alike_are_all_shown():
    frame = pl.DataFrame({"\x1b": [1], "\\x1b": [2], "\\x1b ": [3]})
    (row,) = [
        line for line in ask(Fixed(frame), "", None).splitlines() if "1" in line and "┆ 2" in line
    ]
    assert [cell.strip(" │") for cell in row.split("┆")] == ["1", "2", "3"]


def test_numbers_in_a_table_are_as_they_were():
    frame = pl.DataFrame(
        {"a": [1.23456789, None], "b": [[1.5, 2.0], []], "c": [7, 8], "d": [True, None]}
    )
    printed = ask(Fixed(frame), "", None)
    with pl.Config(tbl_hide_column_data_types=True, tbl_formatting="UTF8_FULL_CONDENSED"):
        assert printed == f"{frame}\n"


@pytest.mark.parametrize("coding", ["utf-8", "latin-1", "ascii", "cp1251"])
def test_csv_and_json_are_the_bytes_of_the_data(store, coding):
    texts = [*STEERING.values(), "é日本", '=1+1,"quoted"']
    query = (
        "SELECT * FROM (VALUES " + ", ".join(f"({quoted(text)})" for text in texts) + ") AS t(x)"
    )
    environment = {"PYTHONIOENCODING": coding, "PYTHONUTF8": "0"}
    done = headbook("sql", "--store", str(store), "--csv", query, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    rows = list(csv.reader(io.StringIO(done.stdout.decode("utf-8"), newline="")))
    assert rows == [["x"], *([text] for text in texts)]
    assert done.stdout == pl.DataFrame({"x": texts}).write_csv().encode()
    done = headbook("sql", "--store", str(store), "--json", query, **environment)
    assert [json.loads(line)["x"] for line in done.stdout.decode("utf-8").split("\n")[:-1]] == texts
    done = headbook("sql", "--store", str(store), query, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert steers(done.stdout.decode(coding)) == ""


UNNUMBERED = {
    "'NaN'::DOUBLE": "NaN",
    "'Infinity'::FLOAT": "Infinity",
    "'-Infinity'::DOUBLE": "-Infinity",
    "NULL::DOUBLE": None,
    "0.1::FLOAT": 0.1,
    "['NaN'::FLOAT, NULL, 0.1::FLOAT]": ["NaN", None, 0.1],
    "{'a': {'b': ['-inf'::DOUBLE]}, 'c': DATE '2020-01-01'}": {
        "a": {"b": ["-Infinity"]},
        "c": "2020-01-01",
    },
    "MAP {'a': 'inf'::DOUBLE, 'b': NULL}": {"a": "Infinity", "b": None},
    "['NaN'::DOUBLE]::DOUBLE[1]": ["NaN"],
    "TIME '24:00:00'": "24:00:00",
    "NULL::TIME": None,
    "(SELECT sum(range) FROM range(3))": 3,
    "170141183460469231731687303715884105727::HUGEINT": "170141183460469231731687303715884105727",
    "DATE '290000-01-01'": "290000-01-01",
    "'infinity'::TIMESTAMP": "infinity",
    "'NaN'": "NaN",
}


@pytest.mark.parametrize("cell", UNNUMBERED)
def test_json_says_what_is_there(store, cell):
    """Beside numbers whose digits must stay, and characters that split lines elsewhere."""
    numbers = "1.5::DECIMAL(38, 30) AS d, 9007199254740993 AS n, 0.1::DOUBLE + 0.2 AS f"
    beside = f"{numbers}, 'a\u2028\x85\x1b\"' AS t"
    asked = f"SELECT {cell} AS x, {beside} UNION ALL SELECT NULL, NULL, NULL, NULL, NULL"
    first, second = ask(Store.existing(store), asked, "json").split("\n")[:-1]
    found = json.loads(first, parse_constant=pytest.fail)
    assert found.pop("x") == UNNUMBERED[cell]
    expected = {
        "d": "1.5" + "0" * 29,
        "n": 9007199254740993,
        "t": 'a\u2028\x85\x1b"',
        "f": 0.1 + 0.2,
    }
    assert found == expected
    assert json.loads(second) == dict.fromkeys(("x", *expected))


def test_help_says_how_json_has_what_json_has_not():
    said = " ".join(CliRunner().invoke(cli, ["sql", "--help"]).output.split())
    for word in ('"NaN"', '"Infinity"', '"-Infinity"', "null is NULL", "after 9999"):
        assert word in said


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
@pytest.mark.parametrize(
    "cell", ["DATE '290000-01-01'", "TIMESTAMP '-5000-01-01'", "'infinity'::TIMESTAMP"]
)
def test_no_date_is_too_far_for_the_command(store, cell, form, capfd):
    done = CliRunner().invoke(cli, ["sql", f"SELECT {cell} AS x", *form, "--store", str(store)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert any(told in done.stdout for told in ("290000-01-01", "5001-01-01 (BC)", "infinity"))
    assert capfd.readouterr().err == ""


def test_lines_of_claims_cannot_steer_the_terminal(capsys):
    row = {"verdict": "holds", "estimate": 1.0, "lower": 0.5, "upper": 2.0}
    run_command._say(pl.DataFrame([{**row, "statement": text} for text in STEERING.values()]))
    printed = capsys.readouterr().out
    assert steers(printed) == ""
    assert len(printed.splitlines()) >= len(STEERING)


def test_what_the_shell_prints_cannot_steer_the_terminal(store):
    asked = f"SELECT {quoted(STEERING['title'])} AS x;\nSELECT {quoted(STEERING['colour'])}::INT;\n"
    command = [
        sys.executable,
        "-c",
        "from headbook import main; main()",
        "sql",
        "--store",
        str(store),
    ]
    done = subprocess.run(command, input=asked.encode(), capture_output=True, check=False)
    assert done.returncode == 2
    assert rb"\x1b]0;mine\x07" in done.stdout and rb"\x1b[31m" in done.stderr
    assert b"\x1b]0;mine" not in done.stdout and b"\x1b" not in done.stderr


def test_lines_stay_lines(capsys):
    say("one\ntwo\x1b\n")
    assert capsys.readouterr().out == "one\ntwo\\x1b\n\n"


# queries that start with a comment


@click.command(cls=Query)
@click.argument("query", required=False)
@click.option("--csv", is_flag=True)
@click.option("--store")
def told(query: str | None, csv: bool, store: str | None) -> None:
    click.echo(json.dumps([query, csv, store]))


COMMENTED = ("-- top heads\nSELECT 1", "--top\nSELECT 1", "-- nothing", "--\tx\nFROM runs", "--\n1")


@pytest.mark.parametrize("query", COMMENTED)
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_query_may_start_with_a_comment(query, order):
    options = ["--store", "x y", "--csv"]
    arguments = [[query, *options], [*options, query], [*options[:2], query, "--csv"]]
    arguments.append([*options, "--", query])
    done = CliRunner().invoke(told, arguments[order])
    assert json.loads(done.stdout) == [query, True, "x y"]


@pytest.mark.parametrize("wrong", ["--cvs", "--cvs=1", "--top", "--stor=my folder", "--csv=a\nb"])
def test_a_mistyped_option_is_no_comment(wrong):
    done = CliRunner().invoke(told, ["SELECT 1", wrong])
    assert done.exit_code == 2
    assert "option" in done.stderr.lower()


def test_two_queries_are_too_many():
    assert CliRunner().invoke(told, ["--a\n1", "--b\n1"]).exit_code == 2


def test_the_command_answers_a_query_that_starts_with_a_comment(store):
    done = CliRunner().invoke(cli, ["sql", "-- one\nSELECT 1 AS x", "--csv", "--store", str(store)])
    assert done.stdout == "x\n1\n"
    assert CliRunner().invoke(cli, ["sql", "--cvs", "SELECT 1"]).exit_code == 2
