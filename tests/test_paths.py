"""Whatever is wrong with a path, a stream or the current folder: one line, and no traceback."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from book.cli import cli
from store import Store
from tests.commands.real_commands import ROOT, Commands
from tests.store.store_fakes import Scores, Sweep
from tests.store.test_store_folder import needs_mount, small_disk

__all__ = ["small_disk"]


def test_a_home_that_is_not_there_is_no_trouble(tmp_path):
    Store.open(tmp_path / "store").recall(Scores(seed=1))
    homeless = Commands(environment={"HOME": str(tmp_path / "gone")})
    asked = ("sql", "SELECT count(*) FROM head_scores", "--csv", "--store", tmp_path / "store")
    code, out, err = homeless.run(tmp_path, *asked)
    assert (code, out.splitlines()[-1], err) == (0, "32", "")
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("home", ["relative", "{folder}/gone"])
def test_a_path_below_a_home_that_is_not_there_is_refused(home, tmp_path):
    homeless = Commands(environment={"HOME": home.format(folder=tmp_path)})
    (tmp_path / "relative").mkdir()
    code, out, err = homeless.run(tmp_path, "export", "~/out", "--store", tmp_path / "store")
    assert (code, out) == (2, "")
    assert err.startswith("headbook: expected a home that ~/out begins with, found none; ")
    assert len(err.splitlines()) == 1


def in_a_gone_folder(tmp_path, *words, **environment) -> tuple[int, str, list[str]]:
    gone = tmp_path / "gone"
    gone.mkdir()
    through = ["sh", "-c", f'rmdir {gone}; exec "$@"', "sh"]
    streams = {"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1}
    with Commands(environment=environment).start(gone, *words, through=through, **streams) as it:
        out, err = it.communicate()
    assert not gone.exists()
    return it.returncode, out.decode(), err.decode().splitlines()


RELATIVE = {
    "a store": ("store", "--store", "relative"),
    "an output": ("export", "relative", "--store", "{store}"),
    "what is not said": ("serve",),
    "one of several": ("merge", "{store}", "relative", "--store", "{store}"),
}


@pytest.mark.parametrize("kind", RELATIVE)
def test_a_path_below_a_current_folder_that_is_gone_is_refused_in_one_line(kind, tmp_path):
    Store.open(tmp_path / "store")
    words = [word.format(store=tmp_path / "store") for word in RELATIVE[kind]]
    code, out, (line,) = in_a_gone_folder(tmp_path, *words)
    assert (code, out) == (2, "")
    assert line.startswith("headbook: expected a current folder for ")
    assert "got one that is gone; go to another" in line


def test_a_store_in_the_environment_is_a_path_like_any_other(tmp_path):
    code, _, (line,) = in_a_gone_folder(tmp_path, "store", HEADBOOK_STORE="relative")
    assert code == 2 and "expected a current folder for relative" in line


@pytest.mark.parametrize(("option", "name"), [("--text", "notes.txt"), ("--model", "model")])
def test_a_name_below_a_gone_folder_is_found_nowhere_else(option, name, tmp_path):
    """Not below the root either, where this one is."""
    (tmp_path / "notes.txt").write_text("The cat sat on the mat. " * 2000)
    for folder in ("model", "temporary"):
        (tmp_path / folder).mkdir()
    relative = str(tmp_path / name).removeprefix("/")
    words = ("run", "--dry-run", option, relative, "--store", tmp_path / "store")
    code, out, (line,) = in_a_gone_folder(tmp_path, *words, TMPDIR=str(tmp_path / "temporary"))
    assert (code, out) == (2, "")
    assert "found no folder" in line or "found none at" in line or "found no file" in line, line
    assert not list((tmp_path / "temporary").glob("headbook-*")), "it is taken away"


WHOLE = {
    "sql": ("sql", "SELECT count(*) AS n FROM head_scores", "--csv", "--store", "{store}"),
    "export": ("export", "{out}", "--store", "{store}"),
    "merge": ("merge", "{store}", "--store", "{out}"),
    "compact": ("store", "compact", "--store", "{store}"),
    "dry": ("run", "--dry-run", "--store", "{out}"),
    "help": ("run", "--help"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_current_folder_that_is_gone_is_no_trouble_for_whole_paths(name, tmp_path):
    Store.open(tmp_path / "store").recall(Scores(seed=1))
    words = [word.format(store=tmp_path / "store", out=tmp_path / "out") for word in WHOLE[name]]
    code, out, err = in_a_gone_folder(tmp_path, *words)
    assert (code, err) == (0, []) and out
    assert name != "sql" or out == "n\n32\n"
    assert name not in {"export", "merge"} or any((tmp_path / "out").iterdir())


def test_python_finds_the_package_without_a_current_folder(tmp_path):
    """Nothing else is taken from its search path for it."""
    gone, first = tmp_path / "gone", tmp_path / "first"
    gone.mkdir()
    first.mkdir()
    (first / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write(str(sys.path.count(sys.argv[-1]))))"
    )
    command = f'rmdir {gone}; exec {sys.executable} -m headbook sql "SELECT 1" --csv --store "$@"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", str(first)],
        cwd=gone,
        env={"PYTHONPATH": f"{first}{os.pathsep}{ROOT}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "1"


PRINTING = {
    "help": ("--help",),
    "version": ("--version",),
    **{f"help of {name}": (name, "--help") for name in ("sql", "run", "store")},
    "an answer": ("sql", "SELECT 1", "--store", "{store}"),
    "csv": ("sql", "FROM range(9999)", "--csv", "--store", "{store}"),
    "a listing": ("store", "--store", "{store}"),
}


@pytest.mark.parametrize("kind", PRINTING)
def test_what_cannot_be_printed_costs_one_line(kind, tmp_path):
    Store.open(tmp_path / "store")
    words = [word.format(store=tmp_path / "store") for word in PRINTING[kind]]
    with Path("/dev/full").open("wb") as full:
        with Commands().start(tmp_path, *words, stdout=full, stderr=-1) as it:
            _, err = it.communicate()
        (line,) = err.decode().splitlines()
        assert it.returncode == 2
        assert line.startswith("headbook: expected to use standard output or the output folder, ")
        with Commands().start(tmp_path, *words, stdout=-1, stderr=full) as it:
            out, _ = it.communicate()
        assert it.returncode == 0 and out


@pytest.mark.parametrize("kind", PRINTING)
def test_nobody_who_reads_is_no_trouble(kind, tmp_path):
    Store.open(tmp_path / "store")
    words = [word.format(store=tmp_path / "store") for word in PRINTING[kind]]
    read, write = os.pipe()
    os.close(read)
    with Commands().start(tmp_path, *words, stdout=write, stderr=-1) as it:
        os.close(write)
        _, err = it.communicate()
    assert (it.returncode, err) == (0, b"")


@pytest.mark.parametrize(
    "words", [("nothing",), ("sql", "--nothing"), ("sql", "--store", "/no"), ()]
)
def test_a_mistake_that_nobody_can_be_told_is_one(words, tmp_path):
    streams = {"stdout": subprocess.DEVNULL}
    with (
        Path("/dev/full").open("wb") as full,
        Commands().start(tmp_path, *words, stderr=full, **streams) as it,
    ):
        assert it.wait() == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_trouble(closed, tmp_path):
    """And no file that is opened meanwhile gets what is printed."""
    Store.open(tmp_path / "store").recall(Scores(seed=1))
    through = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    words = ("export", tmp_path / "out", "--store", tmp_path / "store")
    with Commands().start(tmp_path, *words, through=through, stdout=-1, stderr=-1) as it:
        out, err = it.communicate()
    assert it.returncode == 0, err
    assert (b"tables" in out) == (closed in {"<&-", "2>&-"})
    assert err == b""
    whole = Commands().run(tmp_path, "export", tmp_path / "again", *words[-2:])
    assert whole[0] == 0
    names = {path.name for path in (tmp_path / "again").rglob("*.parquet")}
    assert names == {path.name for path in (tmp_path / "out").rglob("*.parquet")}
    for path in (tmp_path / "out").rglob("*.parquet"):
        assert path.read_bytes()[:4] == path.read_bytes()[-4:] == b"PAR1"


@pytest.mark.parametrize(
    "terminal", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}]
)
def test_a_terminal_of_another_encoding_is_shown_what_it_can_show(terminal, tmp_path):
    Store.open(tmp_path / "store")
    plain = Commands(environment={**terminal, "PYTHONCOERCECLOCALE": "0"})
    query = ("sql", "SELECT chr(233) || chr(8232) AS naive", "--store", tmp_path / "store")
    code, out, err = plain.run(tmp_path, *query)
    assert (code, err) == (0, "")
    assert "naive" in out
    code, _, err = plain.run(tmp_path, "export", "é" * 90 + "/é", "--format", "published")
    assert code == 2
    assert len(err.splitlines()) == 1


@needs_mount
@pytest.mark.parametrize("words", [("merge",), ("export",), ("store", "compact")])
def test_a_full_disk_costs_one_line(words, small_disk, tmp_path):
    Store.open(tmp_path / "full").recall(Sweep(seeds=tuple(range(6))))
    root = small_disk / "store" if words[0] != "export" else tmp_path / "full"
    if not root.exists():
        shutil.copytree(tmp_path / "full", root)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    other = tmp_path / "other"
    Store.open(other).recall(Scores(seed=99))
    given = {"merge": (other,), "export": (small_disk / "out",)}.get(words[0], ())
    code, _, err = Commands().run(tmp_path, *words, *given, "--store", root)
    assert code == 2, err
    (line,) = err.splitlines()
    assert line.startswith("headbook: expected ")
    assert "free some space" in line or "check the disk" in line


def test_an_error_of_ours_is_not_made_to_look_like_a_users(monkeypatch):
    """Without a number, nobody's disk refused: it is shown whole."""

    def broken(*_args, **_named):
        raise OSError("nothing of a disk")

    monkeypatch.setattr(Store, "existing", broken)
    done = CliRunner().invoke(cli, ["store", "--store", "s"])
    assert isinstance(done.exception, OSError)


ODD = ("a\x1b[31m", "a\nb", "a\u202eb", os.fsdecode(b"a\xff"), b"a\xff", Path("a\x1b"), 3, "", None)


@pytest.mark.parametrize("name", ODD, ids=ascii)
@pytest.mark.parametrize("words", [("store", "--store", "s"), ("sql", "SELECT 1", "--store", "s")])
def test_a_name_that_a_disk_refuses_is_shown_in_one_line(name, words, monkeypatch):
    def refuse(*_args, **_named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)

    monkeypatch.setattr(Store, "existing", refuse)
    done = CliRunner().invoke(cli, words)
    (line,) = done.stderr.split("\n")[:-1]
    assert done.exit_code == 2 and line.isprintable()
    assert line.startswith("headbook: expected to use ") and "Read-only file system" in line


WORDS = (
    ("a\x1b[31m",),
    ("sql", "x", "a\x1b[31m"),
    ("store", "a\x1b[31m"),
    ("serve", "--port", "a\x1b"),
)


@pytest.mark.parametrize("words", WORDS)
def test_a_wrong_word_cannot_steer_the_terminal(words):
    done = CliRunner().invoke(cli, words, color=True)
    assert done.exit_code == 2
    assert r"a\x1b" in done.stderr and all(map(str.isprintable, done.stderr.split("\n")))


def test_the_help_of_the_store_is_true_of_checkout_and_wheel():
    done = CliRunner().invoke(cli, ["sql", "--help"])
    said = " ".join(done.output.split())
    assert ".headbook in the checkout, or for an installed headbook in the current folder" in said
