"""`headbook export-headlines`: what the book says first, of another training or another text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from analysis.errors import UserError
from book.options import PATH, with_request, with_store
from book.planning import asked_of
from book.terminal import say

EPILOG = """\b
Example:
  headbook run --model runs/seed1/model --store runs/store1
  headbook export-headlines --model runs/seed1/model --store runs/store1 --out headlines.json"""


@click.command(name="export-headlines", epilog=EPILOG)
@click.option("--model", required=True, help="Folder that `headbook train-reference` wrote.")
@with_request
@click.option("--out", type=PATH, required=True, help="File; other models' rows in it are kept.")
@with_store
def export_headlines(*, out: Path, store_path: Path, slow_dtype: bool, **asked: Any) -> None:
    """Add the headline claims of a model, on a text, to a file that the start page reads.

    The store has to hold all that `headbook run` computes with the same options; nothing is
    computed.
    """
    from analysis.overview.trainings import headlines  # noqa: PLC0415 - imports torch
    from store import Store, check_apart  # noqa: PLC0415

    del slow_dtype  # nothing is computed
    check_apart(out, store_path)
    store, of = Store.existing(store_path), asked_of(asked)
    claims = headlines.known(of, store.recall, store.missing)
    if claims.is_empty():
        raise UserError(
            f"expected all answers about {of.card.name} in {store.root}, found some missing; "
            "compute them by `headbook run` with the same options"
        )
    rows = headlines.rows_of(of, claims)
    headlines.write(out, rows)
    say(f"{rows.height} headline claims of {of.card.name}: {out}")
