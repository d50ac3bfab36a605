"""The command line: run experiments, build and serve the book, ask the store."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import click
import polars as pl

from analysis.errors import UserError, printable, reason
from book.ask_command import ask_file
from book.bench_command import bench
from book.build_command import build
from book.check_command import check
from book.decompose_command import decompose
from book.errors import BookError
from book.export_command import export
from book.headline_command import export_headlines
from book.import_command import import_files
from book.lag_command import lags
from book.options import PATH, SEED, STEPS, leave_gone_folder, shown, with_store
from book.prose_command import sample_prose
from book.retrieval_command import grid
from book.run_command import merge, run
from book.shell import Query, answer, shell
from book.terminal import say
from book.training_command import measure_training
from book.unfit import echo_lines, tell_unfit, twofold_lines
from store import StoreError

MISTAKES = (UserError, StoreError, BookError)
"""Errors that say expected, found and remedy: one line, exit code 2, no traceback."""

_ELSEWHERE = "choose another folder"
_DISK = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.ENOENT: "check the path and run again",
    errno.ENAMETOOLONG: "choose shorter names",
    errno.ELOOP: "name the file or folder itself",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENOMEM: "free some memory and run again",
    **dict.fromkeys(
        (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        _ELSEWHERE,
    ),
}
"""What to do where a disk refuses: the store says it itself, all other places end here."""

_NUMBER = re.compile(r"\[Errno (\d+)\]")


class Commands(click.Group):
    """A group that keeps the order of its commands and turns mistakes into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Commands in the order in which they are written here."""
        del ctx
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read arguments; help and version are printed here."""
        leave_gone_folder(ctx)
        with _told(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a user's mistake ends it with exit code 2."""
        with _told(ctx):
            return super().invoke(ctx)


@contextmanager
def _told(ctx: click.Context) -> Generator[None]:
    """Turn mistakes into one line, and nobody who listens into silence."""
    code = 2
    try:
        yield
    except click.ClickException as error:
        told = StringIO()
        error.show(told)
        line, code = told.getvalue().removesuffix("\n"), error.exit_code
    except MISTAKES as error:
        line = f"headbook: {error}"
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ctx.exit(0)
    except (OSError, UnicodeError) as error:
        if not (said := _mistake(error)):
            raise
        line = f"headbook: {said}: what was finished is kept"
    else:
        return
    with suppress(OSError):  # nobody may read what we say
        say(line, err=True)
    ctx.exit(code)


def _mistake(error: OSError | UnicodeError) -> str | None:
    """What a user can do about an error of a disk or a name; None where it is an error of ours."""
    if isinstance(error, UnicodeError):
        return printable(
            f"expected text in UTF-8, got other bytes ({reason(error)}); rename or convert it"
        )
    found = _NUMBER.search(str(error))  # several files of one folder leave it in their text only
    number = error.errno or (int(found[1]) if found else 0)
    if not number:
        return None
    place = "standard output or the output folder"
    if error.filename and not isinstance(error.filename, int):  # of a file that is open
        place = shown(error.filename)
    remedy = _DISK.get(number, "see to the disk and run again")
    return printable(f"expected to use {place}, got {os.strerror(number)}; {remedy}")


def example(text: str) -> str:
    """Examples for the end of a help page, kept line by line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in text.splitlines())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headbook")
def cli() -> None:
    """What does this attention head do, and does the model need it?"""


cli.add_command(check)
cli.add_command(run)


@cli.command(epilog=example("headbook serve --port 8000"))
@click.argument("folder", type=PATH, default=Path("_build/html"))
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    help="0 picks a free one.",
)
def serve(folder: Path, port: int) -> None:
    """Serve a built book on this machine."""
    from book.serve import serve as serve_folder  # noqa: PLC0415

    serve_folder(folder, port, say)


@cli.command(
    cls=Query,
    epilog=example(
        'headbook sql "SELECT * FROM strongest_heads"\nheadbook sql\n'
        "headbook sql --csv < queries.sql"
    ),
)
@click.argument("query", required=False)
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option(
    "--json",
    "form",
    flag_value="json",
    help='Print one JSON object a line; null is NULL, numbers that JSON has not are "NaN", '
    '"Infinity" and "-Infinity", and decimals and numbers beyond 64 bits are text, exact.',
)
@with_store
def sql(query: str | None, form: str | None, store_path: Path) -> None:
    """Ask the store in SQL, read-only; without a query, in a shell, or all that is piped in.

    A column with a date before the year 1, after 9999 or infinite is text, as is every time of
    day: all as DuckDB writes them.
    """
    from store import Store  # noqa: PLC0415

    store = Store.existing(store_path)
    answered = True
    if query is None:
        answered = shell(store, form)
    else:
        answer(store, query, form)
    tell_unfit(store)
    click.get_current_context().exit(0 if answered else 2)


@cli.command(epilog=example("headbook store\nheadbook store compact"))
@click.argument(
    "action", type=click.Choice(["show", "verify", "compact", "prune", "snapshot"]), default="show"
)
@with_store
def store(action: str, store_path: Path) -> None:
    """What the store holds; or verify its hashes, merge small parts, drop damaged ones."""
    from store import (  # noqa: PLC0415
        Store,
        compact,
        contents,
        damages,
        prune,
        snapshot,
        strays,
    )

    opened, unsound = Store.existing(store_path), False
    if action == "show":
        with pl.Config(tbl_rows=-1):
            say(f"{store_path}: {len(opened.runs())} runs\n{contents(opened)}")
    elif action == "verify":
        found, twofold = damages(opened), twofold_lines(opened)
        echo_lines(f"headbook: {error}" for error in found.values())
        echo_lines(twofold)
        click.echo(f"{len(opened.parts.names())} parts, {len(found)} of them damaged")
        unsound = bool(found or twofold)
    elif action == "compact":
        click.echo(f"{compact(opened)} parts merged")
    elif action == "prune":
        click.echo(f"{len(prune(opened))} parts dropped")
    else:
        say(snapshot(opened))
    strange = strays(opened.root, in_parts=action in {"verify", "prune"})
    echo_lines(f"headbook: not headbook's, left alone: {name}" for name in strange)
    if unsound:  # and told
        click.get_current_context().exit(2)
    tell_unfit(opened)


@cli.command(
    name="train-reference",
    epilog=example("headbook train-reference --corpus texts --out runs/reference --resume"),
)
@click.option("--corpus", type=PATH, required=True, help="Folder of .txt.")
@click.option("--out", type=PATH, required=True, help="Folder of the run.")
@click.option("--steps", type=STEPS, default=19_500, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda.")
@click.option("--resume", is_flag=True, help="Go on from the folder's checkpoint.")
def train_reference(
    corpus: Path, out: Path, steps: int, seed: int, device: str, resume: bool
) -> None:
    """Train the reference model anew; a killed training goes on with --resume."""
    from analysis.training.trainer import Corpus, Recipe, Trainer, train  # noqa: PLC0415
    from store import check_apart, terminal_bar  # noqa: PLC0415

    check_apart(out)
    trainer = Trainer(Recipe(seed=seed, n_steps=steps), Corpus.read(corpus), out, device)
    with terminal_bar("training") as report:
        folder = train(trainer, resume=resume, report=report)
    say(f"weights, tokenizer and card: {folder}")


@cli.command(
    name="evaluate-reference",
    epilog=example(
        "headbook evaluate-reference --only questions --only successor\n"
        "headbook evaluate-reference --corpus texts"
    ),
)
@click.option("--model", default="reference", show_default=True, help="`reference`, or a folder.")
@click.option("--only", multiple=True, help="A figure of the card; all by default.")
@click.option("--corpus", type=PATH, help="Folder of the training texts.")
@click.option("--device", default="cpu", show_default=True, help="Such as cpu or cuda.")
def evaluate_reference(model: str, only: tuple[str, ...], corpus: Path | None, device: str) -> None:
    """Measure the figures of the reference model's card again."""
    from analysis.models.load import load_model  # noqa: PLC0415 - imports torch
    from analysis.text.tokens import Vocabulary  # noqa: PLC0415
    from analysis.training.corpus import Corpus  # noqa: PLC0415
    from analysis.training.evaluation import ABILITIES, Subject, evaluate  # noqa: PLC0415
    from store import terminal_bar  # noqa: PLC0415

    unknown = set(only) - set(ABILITIES)
    if unknown:
        raise UserError(
            f"expected figures of the card, got {', '.join(sorted(unknown))}; "
            f"choose among {', '.join(ABILITIES)}"
        )
    names = only or [n for n, ability in ABILITIES.items() if corpus or not ability.on_prose]
    loaded = load_model(model, device)
    tokenizer = Vocabulary(loaded.card.folder, loaded.card.vocab).require()
    subject = Subject(loaded, tokenizer, Corpus.read(corpus) if corpus else None)
    with terminal_bar("evaluating") as report:
        figures = evaluate(subject, names, report)
    for name, figure in figures.items():
        say(
            f"{figure['estimate']:8.3f}  ({figure['lower']:.3f} to {figure['upper']:.3f}, "
            f"n = {figure['n']})  {figure.get('head', '')}  {ABILITIES[name].meaning}"
        )


OTHERS = (
    *(build, bench, decompose, grid, ask_file, lags),
    *(import_files, export, merge, sample_prose, measure_training, export_headlines),
)
for other in OTHERS:
    cli.add_command(other)
