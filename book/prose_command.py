"""`headbook sample-prose`: make the built-in prose anew, from what training held out."""

from __future__ import annotations

from pathlib import Path

import click

from book.options import PATH, SEED
from book.terminal import say

EPILOG = """\b
Example:
  headbook sample-prose --corpus texts --out sample"""


@click.command(name="sample-prose", epilog=EPILOG)
@click.option("--corpus", type=PATH, required=True, help="Folder of the training texts.")
@click.option("--out", type=PATH, required=True, help="Folder of the sample.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the order.")
def sample_prose(corpus: Path, out: Path, seed: int) -> None:
    """Sample passages for `--text prose` from the held-out part of every training text."""
    from analysis.text.builtin import PASSAGES, passages, write_sample  # noqa: PLC0415
    from analysis.training.corpus import Corpus  # noqa: PLC0415 - imports torch
    from store import check_apart  # noqa: PLC0415 - imports DuckDB

    check_apart(out)
    read = Corpus.read(corpus)
    parts = zip(read.files, read.train, read.held_out, strict=True)
    held_out = {name: (len(train), rest) for name, train, rest in parts}
    found = passages(held_out, seed)
    write_sample(out, found, read.files)
    say(f"{len(found)} passages: {out / PASSAGES}")
