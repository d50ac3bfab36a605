"""`headbook import`: result files of published studies, into the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analysis.errors import UserError
from book.options import PATH, with_store
from book.terminal import say
from store import Store

if TYPE_CHECKING:
    from analysis.studies.published import PublishedFile

EPILOG = """\b
Example:
  headbook import results/*.json scores.csv
  headbook sql "SELECT * FROM published_drops ORDER BY method, size\""""


@click.command(name="import", epilog=EPILOG)
@click.argument("paths", metavar="FILE...", type=PATH, nargs=-1, required=True)
@with_store
def import_files(paths: tuple[Path, ...], store_path: Path) -> None:
    """Read result files of published studies into the store; a file is stored only once.

    What a file holds shows in its content: ablation curves, rankings of heads (JSON, or CSV with
    scores,layer,head), or lag profiles (CSV). Refused files are named; the others are kept.
    """
    from analysis.studies.published import PublishedFiles  # noqa: PLC0415

    read = list(_read(paths))
    store = Store.planned(store_path)
    asked = PublishedFiles(files=tuple(read))
    fresh = len(store.missing(asked))
    rows = {table: frame.height for table, frame in store.recall(asked).items()}
    _echo_remarks(read)
    counts = ", ".join(f"{n} rows of {table}" for table, n in rows.items()) or "no rows"
    click.echo(
        f"{len(read)} files read ({fresh} new, {len(read) - fresh} stored before), "
        f"{len(paths) - len(read)} refused; {counts}"
    )
    click.get_current_context().exit(0 if len(read) == len(paths) else 2)


def _read(paths: tuple[Path, ...]) -> Iterator[PublishedFile]:
    """The files that can be read; what is wrong with each of the others in one line."""
    from analysis.studies.published import PublishedFile  # noqa: PLC0415

    for path in paths:
        try:
            yield PublishedFile.read(path)
        except UserError as error:
            say(f"headbook: {click.format_filename(path)}: {error}", err=True)


def _echo_remarks(read: Iterable[PublishedFile]) -> None:
    """Which files contradict themselves, those that begin alike in one line."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in read:
        remarks = file.published.remarks()
        if remarks.height:
            found[remarks["remark"][0]].append(file.name)
    for remark, names in found.items():
        others = f" and {len(names) - 1} more files" if names[1:] else ""
        say(f"{names[0]}{others}: kept as stated; first of all, {remark}", err=True)
