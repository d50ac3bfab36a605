"""`headbook bench`: the timed tasks, ours beside other libraries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from store import terminal_bar

MODELS = ("small", "large", "reference")
TASKS = ("A", "S")

_EXAMPLE = """\b
Example:
  headbook bench --model small --task A
  headbook bench --model large --task A --heads 12 --compile --json large.json
  headbook bench --growth
"""

F = TypeVar("F", bound=Callable[..., Any])


def _with_subject(function: F) -> F:
    """The options that say what is timed."""
    options = (
        click.option(
            "--model",
            "models",
            type=click.Choice(MODELS),
            multiple=True,
            default=("small", "reference"),
            show_default=True,
            help="Random weights of two sizes, or the shipped model.",
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
            type=click.IntRange(min=1),
            show_default="16 for A, 64 for S",
        ),
        click.option(
            "--tokens",
            "n_tokens",
            type=int,
            default=256,
            show_default=True,
            help="Length of sequences.",
        ),
        click.option(
            "--heads",
            type=click.IntRange(min=1),
            help="Ablate at least so many, as many in every layer, and scale; all by default.",
        ),
        click.option(
            "--batch",
            type=click.IntRange(min=1),
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
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--threads", type=click.IntRange(min=1), show_default="torch's choice", help="Of the processor."
)
@click.option("--compile/--no-compile", "compiled", help="Add compiled variants of ours.")
@click.option("--growth", is_flag=True, help="Show how our cost grows instead, on the small model.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write JSON here.")
def bench(
    threads: int | None, growth: bool, json_path: Path | None, device: str, **asked: Any
) -> None:
    """Time ours, plain hooks, TransformerLens and nnsight side by side, in turn."""
    import torch  # noqa: PLC0415 - slow to import

    from analysis import bench as timed  # noqa: PLC0415

    if threads is not None:
        torch.set_num_threads(threads)
    about = timed.machine(torch.device(timed.usable_device(device)))
    versions = timed.versions(timed.PACKAGES)
    click.echo(f"{timed.listed(about)}\n{timed.listed(versions)}")
    if growth:
        found, shown = _growth(device, asked["repeats"])
        click.echo(f"\n{shown}")
    else:
        found = _tables(timed.Plan(device=device, **asked))
    if json_path is not None:
        name = "growth" if growth else "tables"
        record = {"machine": about, "versions": versions, name: timed.as_json(found)}
        json_path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _growth(device: str, repeats: int) -> tuple[list[Any], str]:
    """How the cost grows, and its table."""
    from analysis.bench import growth_by_axis, growth_text  # noqa: PLC0415

    with terminal_bar("growth") as report:
        found = list(growth_by_axis(device, repeats, report))
    return found, growth_text(found)


def _tables(plan: Any) -> list[Any]:
    """All tables, each shown as soon as it is there."""
    from analysis.bench import bench as race  # noqa: PLC0415
    from analysis.bench import text  # noqa: PLC0415

    found: list[Any] = []
    with terminal_bar("bench") as report:
        for table in race(plan, report):
            click.echo(f"\n{text(table)}")
            found.append(table)
    return found
