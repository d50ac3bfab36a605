"""Whatever is wrong with a path, a stream or the current folder: one line, and no traceback."""

import shutil

import pytest
from click.testing import CliRunner

from book.cli import cli
from store import Store

from .real_commands import Commands
from .store_fakes import Scores, Sweep
from .test_store_folder import needs_mount, small_disk

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


@pytest.mark.parametrize("words", [("store",), ("run", "--help"), ("export", "out")])
def test_a_current_folder_that_is_gone_is_refused_in_one_line(words, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    through = ["sh", "-c", f'rmdir {gone}; exec "$@"', "sh"]
    with Commands().start(gone, *words, through=through, stdout=-1, stderr=-1) as it:
        out, err = it.communicate()
    assert (it.returncode, out) == (2, b"")
    assert err.decode().splitlines() == [
        "headbook: expected a current folder, got one that is gone; go to another and run again"
    ]


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


def test_the_help_of_the_store_is_true_of_checkout_and_wheel():
    done = CliRunner().invoke(cli, ["sql", "--help"])
    said = " ".join(done.output.split())
    assert ".headbook in the checkout, or for an installed headbook in the current folder" in said
