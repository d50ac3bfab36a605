"""A wheel holds `headbook.*` only, works from there, and the checkout imports its own packages."""

import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import analysis
import book
import store

ROOT = Path(__file__).resolve().parent.parent
OURS = (analysis, store, book)


@pytest.mark.parametrize("package", OURS, ids=lambda package: package.__name__)
def test_we_import_our_own_packages_and_nobody_elses(package):
    assert ROOT in Path(package.__path__[0]).parents
    rivals = set(packages_distributions().get(package.__name__, ())) - {"headbook"}
    assert not rivals, f"{rivals} also install a top-level `{package.__name__}`"


def test_a_folder_holds_twelve_modules_at_most():
    folders = {path.parent for path in (ROOT / "analysis").rglob("*.py")}
    assert len(folders) > 20
    crowded = {folder.name for folder in folders if len(list(folder.glob("[!_]*.py"))) > 12}
    assert not crowded


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_a_wheel_installs_headbook_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"headbook", next(top for top in tops if top.endswith(".dist-info"))}
    wanted = (
        "headbook/analysis/reference/model.safetensors",
        "headbook/store/schema.sql",
        "headbook/book/vendor/VENDOR.json",
        "headbook/notebooks/00_claims.py",
        "headbook/CITATION.cff",
    )
    assert set(wanted) <= set(names)


def test_the_command_line_works_from_an_unpacked_wheel(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import headbook, sys; sys.argv = ['headbook', 'merge', 'theirs', '--store', 'answers']; "
    )
    store.Store.open(tmp_path / "theirs")
    isolated = [sys.executable, "-P", "-c", code + "headbook.main()"]
    done = subprocess.run(
        isolated,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "theirs: 0 new runs" in done.stdout
