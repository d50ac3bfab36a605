"""`headbook measure-training`: what trainings had learnt by the steps whose weights they kept."""

from __future__ import annotations

from pathlib import Path

import click

from book.options import PATH
from book.terminal import say

EPILOG = """\b
Example:
  headbook train-reference --corpus texts --out runs/seed1 --seed 1
  headbook measure-training runs/seed0 runs/seed1 --corpus texts --out formation.json"""


@click.command(name="measure-training", epilog=EPILOG)
@click.argument("runs", metavar="RUN...", type=PATH, nargs=-1, required=True)
@click.option("--corpus", type=PATH, required=True, help="Folder of the training texts.")
@click.option("--out", type=PATH, required=True, help="File; what it holds is not measured again.")
@click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda.")
def measure_training(runs: tuple[Path, ...], corpus: Path, out: Path, device: str) -> None:
    """Measure every model that RUNs of `headbook train-reference` kept on their way.

    Losses, the strongest previous-token, BOS and induction heads, and what copying loses without
    the last, each with its interval: a row a seed, step and statistic. A training may go on
    meanwhile.
    """
    from analysis.training.corpus import Corpus  # noqa: PLC0415 - imports torch
    from analysis.training.device import check_device  # noqa: PLC0415
    from analysis.training.measured import measure  # noqa: PLC0415
    from store import check_apart, terminal_bar  # noqa: PLC0415

    check_apart(out)
    check_device(device)
    with terminal_bar("measuring") as report:
        found = measure(runs, Corpus.read(corpus), out, device, report)
    models = found.rows.select("seed", "step").n_unique()
    say(f"{found.rows.height} rows of {models} models: {out}")
