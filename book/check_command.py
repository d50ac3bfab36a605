"""`headbook check`: what a model is, what holds of it, and which chapters it gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from book.options import with_bos, with_profile, with_store
from book.terminal import say

if TYPE_CHECKING:
    import polars as pl

EPILOG = """\b
Example:
  headbook check gpt2
  headbook check path/to/model --json"""


@click.command(epilog=EPILOG)
@click.argument("model", default="reference")
@with_profile
@with_bos
@click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print both tables as one JSON object.")
@with_store
def check(
    model: str, profile: str, bos: bool | None, device: str, as_json: bool, store_path: Path
) -> None:
    """Say what a model is, which chapters it gets, and why not the others.

    MODEL is what `headbook run --model` takes. The answer is kept in the store, as the tables
    model_parts and model_chapters; exit code 2 where the model is refused.
    """
    from analysis.overview.capabilities import (  # noqa: PLC0415 - imports torch
        ModelCheck,
        chapter_table,
    )
    from analysis.questions.asked import Asked, told_sizes  # noqa: PLC0415
    from store import Store  # noqa: PLC0415 - imports DuckDB

    asked = Asked(model=model, **told_sizes(profile), bos=bos, device=device)
    answer = Store.planned(store_path).recall(ModelCheck.of(asked))
    tables = {name: answer[name].drop("run", "model") for name in ("model_parts", "model_chapters")}
    if as_json:
        told = {"name": asked.card.name, "model": asked.card.model}
        say(json.dumps(told | {name: rows.to_dicts() for name, rows in tables.items()}))
        return
    say("\n".join([asked.card.name, "", *_parts(tables["model_parts"]), ""]))
    say("\n".join(_chapters(chapter_table(tables["model_chapters"]))))


def _parts(rows: pl.DataFrame) -> Iterator[str]:
    width = rows["part"].str.len_chars().max()
    for part, layers, answer in rows.select("part", "layers", "answer").iter_rows():
        yield f"  {part:<{width}}  {answer}" + (f" (layers {layers})" if layers else "")


def _chapters(rows: pl.DataFrame) -> Iterator[str]:
    """A line for each chapter that holds or not, and one for each reason why it lacks something."""
    width = rows["chapter"].str.len_chars().max()
    for chapter, answer, without, reason in rows.iter_rows():
        lacks = "" if without is None else f", without {without}"
        yield f"  {chapter:<{width}}  {answer}{lacks}" + (f": {reason}" if reason else "")
