"""`headbook grid`: ablation curves of retrieval heads for models, questions and lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from book.options import COUNT, with_size, with_store
from book.terminal import say

EPILOG = """\b
Example:
  headbook grid --model reference --length 128 --length 256
  headbook grid --model gpt2 --model ./mine --question employees --profile full"""


@click.command(epilog=EPILOG)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=("reference",),
    show_default=True,
    help="Any number.",
)
@click.option("--question", "facts", multiple=True, help="A fact; all four by default.")
@click.option(
    "--length",
    "lengths",
    multiple=True,
    type=COUNT,
    help="Tokens of a prompt; the profile's by default.",
)
@with_size
@with_store
def grid(  # noqa: PLR0913 - one parameter for each option
    *,
    models: tuple[str, ...],
    facts: tuple[str, ...],
    lengths: tuple[int, ...],
    profile: str,
    seed: int,
    device: str,
    store_path: Path,
) -> None:
    """Replace the top heads of every ranking, and random ones, in every cell of a grid.

    A cell is a model, a question and a length. What is stored is not computed again, and an
    interrupted grid goes on where it stopped.
    """
    from analysis.errors import UserError  # noqa: PLC0415 - imports torch
    from analysis.questions.asked import Asked, told_sizes  # noqa: PLC0415
    from analysis.studies.retrieval.study import FACTS, RetrievalStudy  # noqa: PLC0415
    from store import Store  # noqa: PLC0415

    if unknown := sorted(set(facts) - set(FACTS)):
        raise UserError(
            f"expected questions among {', '.join(FACTS)}, got {', '.join(unknown)}; "
            "choose some of them"
        )
    opened = Store.planned(store_path)
    for model in models:
        asked = Asked(model=model, **told_sizes(profile), seed=seed, device=device)
        study = RetrievalStudy.of(asked)
        if study is None:
            raise UserError(
                f"expected a tokenizer beside {model}, found none; save tokenizer.json there"
            )
        places = [(fact, n) for n in lengths or study.lengths for fact in facts or FACTS]
        for done, (fact, n_tokens) in enumerate(places, start=1):
            say(f"{model}: cell {done} of {len(places)}", err=True)
            for line in _cell(study, opened, fact, n_tokens):
                say(f"{model:<12} {fact:<24} {n_tokens:>5}  {line}")


def _cell(study: Any, store: Any, fact: str, n_tokens: int) -> list[str]:
    """What one cell says, a line for each ranking."""
    from analysis.studies.retrieval.views import cell_lines  # noqa: PLC0415 - imports torch

    families = ("random", "layer_matched")
    return cell_lines(store.recall(study.cell(store.recall, fact, n_tokens, families)))
