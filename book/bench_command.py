"""`headbook bench`: the timed tasks, ours beside other libraries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from analysis.errors import UserError
from book.options import COUNT, PATH, with_store
from book.terminal import say
from store import Answer, Store, check_apart

TASKS = ("A", "S")

_EXAMPLE = """\b
Example:
  headbook bench --model small --task A
  headbook bench --model large --task A --heads 12 --compile --json large.json
  headbook bench --model gpt2 --tokens 128 --sequences 2 --heads 12 --threads 1
  headbook bench --growth
"""

F = TypeVar("F", bound=Callable[..., Any])


def _with_subject(function: F) -> F:
    """The options that say what is timed."""
    options = (
        click.option(
            "--model",
            "models",
            multiple=True,
            default=("small", "reference"),
            show_default=True,
            help="`small` or `large`, with random weights; or as `run` takes it.",
        ),
        click.option(
            "--task",
            "tasks",
            type=click.Choice(TASKS),
            multiple=True,
            default=TASKS,
            show_default=True,
            help="A: zero ablation of every head. S: all head scores.",
        ),
        click.option(
            "--sequences",
            "n_sequences",
            type=COUNT,
            show_default="16 for A, 64 for S",
        ),
        click.option(
            "--tokens",
            "n_tokens",
            type=COUNT,
            default=256,
            show_default=True,
            help="Length of sequences.",
        ),
        click.option(
            "--heads",
            type=COUNT,
            help="Ablate at least so many, as many in every layer, and scale; all by default.",
        ),
        click.option(
            "--batch",
            type=COUNT,
            default=16,
            show_default=True,
            help="S: sequences in one call of a model, for all contenders.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command(epilog=_EXAMPLE)
@_with_subject
@click.option("--repeats", type=click.IntRange(1, 10_000), default=3, show_default=True)
@click.option(
    "--threads",
    type=click.IntRange(1, os.cpu_count() or 1),
    show_default="torch's choice",
    help="Of the processor.",
)
@click.option("--compile/--no-compile", "compiled", help="Add compiled variants of ours.")
@click.option("--growth", is_flag=True, help="Show how our cost grows instead, on the small model.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--json", "json_path", type=PATH, help="Also write JSON here.")
@with_store
def bench(
    threads: int | None, growth: bool, json_path: Path | None, store_path: Path, **asked: Any
) -> None:
    """Time ours, plain hooks, TransformerLens and nnsight side by side, in turn.

    The store keeps what was measured, and answers the same question on the same machine and
    versions from there; in an empty --store everything is measured again.
    """
    import torch  # noqa: PLC0415 - slow to import

    from analysis.studies import speed as timed  # noqa: PLC0415

    if json_path is not None:
        check_apart(json_path, store_path)
        _check_place(json_path)
    if threads is not None:
        torch.set_num_threads(threads)
    here = timed.here(timed.usable_device(asked["device"]))
    say(f"{timed.listed(here['machine'])}\n{timed.listed(here['packages'])}")
    store = Store.planned(store_path)
    found = _growth(store, here, asked["repeats"]) if growth else _tables(store, asked)
    if json_path is not None:
        name = "growth" if growth else "tables"
        about = {"machine": here["machine"], "versions": here["packages"]}
        record = {**about, name: timed.as_json(found)}
        _check_place(json_path)
        json_path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _check_place(path: Path) -> None:
    """Refuse a place where nothing can be written, before anything is timed.

    Raises:
        UserError: There is no such folder, or a link or anything but a plain file lies there.
    """
    from analysis.outputs import check_free  # noqa: PLC0415

    if not path.parent.is_dir():
        raise UserError(f"expected a folder {path.parent} for --json, found none; make it first")
    check_free(path)


def _growth(store: Store, here: dict[str, Any], repeats: int) -> list[Any]:
    """How the cost grows along everything."""
    from analysis.studies import speed as timed  # noqa: PLC0415

    n_sequences, n_tokens = timed.SHAPE
    sizes = {"n_sequences": n_sequences, "n_tokens": n_tokens, "repeats": repeats}
    questions = [timed.CostGrowth(axis=axis, **sizes, **here) for axis in timed.AXES]
    found = [timed.Growth.of(_recalled(store, asked)["cost_growth"]) for asked in questions]
    say(f"\n{timed.growth_text(found)}")
    return found


def _tables(store: Store, asked: dict[str, Any]) -> list[Any]:
    """All tables, each shown as soon as it is there."""
    from analysis.studies import speed as timed  # noqa: PLC0415

    found: list[Any] = []
    for question in timed.Plan(**asked).questions():
        found.append(timed.table(_recalled(store, question)))
        say(f"\n{timed.text(found[-1])}")
    return found


def _recalled(store: Store, question: Any) -> Answer:
    """The answer; one that was measured before says when."""
    fresh = store.missing(question)
    answer = store.recall(question)
    if not fresh:
        started = store.run_rows(answer.runs)["started"][0]
        click.echo(f"\nmeasured before, {started:%Y-%m-%d %H:%M} UTC:", err=True)
    return answer
