"""A small book about two models: their folders, its notebooks, and a build of it."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file

from book.site import BuildReport, build, find_notebooks

from .book_sample import write_notebook

CONFIG = {
    "architectures": ["GPT2LMHeadModel"],
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 4,
    "vocab_size": 8,
    "n_positions": 16,
}
BOXED = "import marimo as mo\nimport polars as pl\nfrom book.live import boxes"
CHARTED = f"{BOXED}\nimport altair as alt"
BESIDE = "import marimo as mo\nfrom book.live import models_box"


def model_folder(path: Path, seed: int) -> Path:
    """A folder that names a model and holds some weights."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    weights = torch.full((8, 4), float(seed))
    save_file({"wte.weight": weights}, path / "model.safetensors")
    return path


def write_notebooks(folder: Path) -> Path:
    """Four chapters: two about one model, one about none, one about all."""
    folder.mkdir()
    asked = ("asked", "model, source = boxes()\nmodel")
    about = ("about", "mo.md(f'About {model.value.rsplit(chr(47))[-1]}.')")
    links = (
        "pl.DataFrame({'shown': ['bars', 'rules'], 'shown_link': ['01_bars#chart', '02_rules']})"
    )
    reference = "mo.md('See {ref}`01_bars` and {numref}`fig-chart`, or {ref}`02_rules`.')"
    cells = (asked, about, ("links", links), ("prose", reference))
    write_notebook(folder / "00_start.py", *cells, setup=BOXED)
    chart = "alt.Chart(pl.DataFrame({'x': [1]}), description='One bar.').mark_bar().encode(x='x:Q')"
    write_notebook(folder / "01_bars.py", asked, about, ("chart", chart), setup=CHARTED)
    write_notebook(folder / "02_rules.py", ("rules", "mo.md('The same for all.')"))
    typed = ("typed", "models, source = models_box()\nmodels")
    beside = ("beside", "mo.md(f'{len(models.value.split(chr(44)))} models.')")
    write_notebook(folder / "03_beside.py", typed, beside, setup=BESIDE)
    return folder


def both_models(folder: Path) -> str:
    """What `--models` takes."""
    return ",".join(str(folder / "models" / name) for name in ("alpha", "Beta_one"))


def build_editions(folder: Path, *, check: bool) -> BuildReport:
    """Build the book of both models into `folder/html`."""
    return build(
        folder / "store",
        find_notebooks(folder / "notebooks"),
        folder / "html",
        check=check,
        options={"models": both_models(folder)},
    )


@cache
def edition_folder() -> Path:
    """A folder with that book, built and checked once a test process."""
    folder = Path(tempfile.mkdtemp(prefix="headbook-editions-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_notebooks(folder / "notebooks")
    for seed, name in enumerate(("alpha", "Beta_one")):
        model_folder(folder / "models" / name, seed)
    build_editions(folder, check=True)
    return folder
