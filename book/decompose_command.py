"""`headbook decompose`: train a parameter decomposition of a model."""

from __future__ import annotations

from pathlib import Path

import click

from book.options import COUNT, PATH, SEED, STEPS, with_pool
from book.terminal import say

EPILOG = """\b
Example:
  headbook decompose --model reference --out runs/decomposition
  headbook decompose --model reference --out runs/decomposition --resume"""


@click.command(epilog=EPILOG)
@click.option("--model", default="reference", show_default=True, help="As for `headbook run`.")
@click.option("--text", default="reference", show_default=True, help="As for `headbook run`.")
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="Folder of the run.",
)
@click.option("--layers", default=None, help="Regular expression of layers' names; q, k, v, o.")
@click.option("--steps", type=STEPS, default=2500, show_default=True)
@click.option("--components", type=COUNT, default=160, show_default=True)
@with_pool
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda.")
@click.option("--resume", is_flag=True, help="Go on from the folder's checkpoint.")
def decompose(  # noqa: PLR0913 - one parameter for each option
    *,
    model: str,
    text: str,
    out: Path,
    layers: str | None,
    steps: int,
    components: int,
    token_pool: str,
    seed: int,
    device: str,
    resume: bool,
) -> None:
    """Write attention's weights as sums of rank-one components, and judge the result.

    A killed training goes on with --resume. The folder holds the components, a card, and the
    losses on the way.
    """
    from analysis.components.fitting.training import (  # noqa: PLC0415 - imports torch
        LAYERS,
        Recipe,
        Rows,
        Trainer,
        train,
    )
    from analysis.errors import printable  # noqa: PLC0415
    from analysis.models.load import load_model  # noqa: PLC0415
    from analysis.text.tokens import Vocabulary  # noqa: PLC0415
    from analysis.training.device import check_device  # noqa: PLC0415
    from store import check_apart, terminal_bar  # noqa: PLC0415

    check_apart(out)
    check_device(device)
    loaded = load_model(model, device)
    recipe = Recipe(
        seed=seed,
        n_steps=steps,
        n_components=components,
        token_pool=token_pool,
        layers=layers or LAYERS,
        n_tokens=min(Recipe.n_tokens, loaded.card.n_ctx),
    )
    vocabulary = Vocabulary(loaded.card.folder, loaded.card.vocab)
    rows = Rows(text, vocabulary, recipe, "decompose")
    for note in rows.tokens.notes:
        click.echo(f"text: {printable(note)}", err=True)
    trainer = Trainer(recipe, loaded, rows, out)
    with terminal_bar("decomposing") as report:
        folder = train(trainer, resume=resume, report=report)
    say((folder / "README.md").read_text(encoding="utf-8"))
    say(f"components, card and losses: {folder}")
