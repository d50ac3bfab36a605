"""What lies in the current folder is never run and changes nothing: checkout, wheel, children."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.book.book_sample import digests
from tests.book.test_book_kills import write
from tests.commands.real_commands import NOTHING_TO_PREPARE, ROOT, Commands
from tests.store.store_fakes import Scores
from tests.test_packaging import wheel

__all__ = ["wheel"]

MODULES = "analysis store book notebooks json sphinx marimo torch duckdb polars ray pathlib tqdm"
EARLY = "sitecustomize usercustomize"
SETTINGS = {
    "pyproject.toml": '[tool.marimo.runtime]\npythonpath = ["."]\ndotenv = [".env"]\n'
    '[tool.marimo.display]\ndataframes = "plain"\ndefault_table_page_size = 1\n',
    ".marimo.toml": '[display]\ndataframes = "plain"\ntheme = "dark"\n',
    ".env": "PYTHONPATH=.\nHEADBOOK_STORE=elsewhere\n",
    "docutils.conf": "[general]\nlanguage_code: de\n",
    "conf.py": "raise SystemExit('sung')\n",
}


def canaries(folder: Path, names: str) -> Path:
    """Fill a folder with what must not be run; what it would make."""
    sung = folder.parent / f"{folder.name}-sung"
    folder.mkdir()
    for name in names.split():
        # `os`, since the module may be the very one that it imports
        code = f"import os\nos.makedirs({str(sung)!r}, exist_ok=True)\n"
        (folder / f"{name}.py").write_text(code)
    for name, text in SETTINGS.items():
        (folder / name).write_text(text)
    return sung


@pytest.fixture(scope="module", params=["checkout", "wheel"])
def commands(request, tmp_path_factory) -> Commands:
    if request.param == "checkout":
        return Commands()
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(request.getfixturevalue("wheel")).extractall(site)
    return Commands(site, site / "headbook")


@pytest.fixture(scope="module")
def asked(worded, tmp_path_factory) -> tuple[object, ...]:
    path = tmp_path_factory.mktemp("text") / "prose.txt"
    path.write_text("Mary and John went to the shop. The cat saw a dog. " * 60)
    return ("run", "--model", worded, "--text", path, "--profile", "tiny", "--chapters", "03")


def tour(commands: Commands, folder: Path, places: Path) -> dict[str, str]:
    """Build, export, merge and ask, in a folder; hashes of all that was made."""
    write(places, "word")
    made = (
        ("build", "--notebooks", places / "notebooks", "--out", places / "html"),
        ("merge", places.parent / "other"),
        ("export", places / "export"),
        ("sql", "SELECT count(*) FROM head_scores", "--csv"),
    )
    for words in made:
        before = NOTHING_TO_PREPARE if words[0] == "build" else ""
        done = commands.run(folder, *words, "--store", places / "store", before=before)
        assert done[0] == 0, done
    assert done[1].splitlines()[1] == "32"
    return {**digests(places / "html"), **digests(places / "export")}


def other(folder: Path) -> None:
    from store import Store  # noqa: PLC0415

    Store.open(folder).recall(Scores(seed=1))


def test_files_of_the_current_folder_change_nothing(commands, tmp_path):
    other(tmp_path / "other")
    sung = canaries(tmp_path / "work", f"{MODULES} {EARLY}")
    (tmp_path / "empty").mkdir()
    plain = tour(commands, tmp_path / "empty", tmp_path / "plain")
    assert tour(commands, tmp_path / "work", tmp_path / "made") == plain
    assert not sung.exists()
    assert {path.name for path in (tmp_path / "work").iterdir()} == {
        *(f"{name}.py" for name in f"{MODULES} {EARLY}".split()),
        *SETTINGS,
    }


def test_an_empty_entry_of_the_search_path_is_not_the_current_folder(commands, tmp_path):
    """Python itself looks there for `sitecustomize`, before anything of ours can begin."""
    other(tmp_path / "other")
    sung = canaries(tmp_path / "work", MODULES)
    path = {"PYTHONPATH": f"{tmp_path / 'nowhere'}::."}
    searched = Commands(commands.root, commands.packages, path)
    assert tour(searched, tmp_path / "work", tmp_path / "made")
    assert not sung.exists()


def test_workers_of_ray_import_nothing_from_the_current_folder(commands, asked, tmp_path):
    sung = canaries(tmp_path / "work", f"{MODULES} {EARLY}")
    cluster = ("--engine", "ray", "--workers", 1, "--store", tmp_path / "store")
    code, out, err = commands.run(tmp_path / "work", *asked, *cluster)
    assert code == 0, err
    assert "no-op" in out
    assert not sung.exists()


def test_python_runs_the_package(tmp_path):
    sung = canaries(tmp_path / "work", MODULES)
    other(tmp_path / "store")
    asked = ("sql", "SELECT 1 AS one", "--csv", "--store", str(tmp_path / "store"))
    done = subprocess.run(
        [sys.executable, "-m", "headbook", *asked],
        cwd=tmp_path / "work",
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "one\n1\n"), done.stderr
    assert not sung.exists()


def test_a_canary_sings_where_the_current_folder_is_searched(tmp_path):
    """Without this, all others might be silent whatever is imported."""
    sung = canaries(tmp_path / "work", f"{MODULES} {EARLY}")
    subprocess.run([sys.executable, "-c", "import marimo"], cwd=tmp_path / "work", check=False)
    assert sung.exists()
