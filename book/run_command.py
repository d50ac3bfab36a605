"""`headbook run`: compute what the book asks, here, in shards, or on a cluster; and `merge`."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import polars as pl

from analysis.batches import limit_tokens
from analysis.errors import UserError
from analysis.studies import CHAPTERS, named_chapters
from book.computing import (
    Plan,
    announce,
    compute,
    compute_share,
    echo_notes,
    judged,
    refuse_slow,
)
from book.options import COUNT, EVERY, PATH, with_budget, with_request, with_store
from book.planning import n_cores, planned_store, said_to_user, within
from book.terminal import say
from book.unfit import echo_lines, twofold_lines

if TYPE_CHECKING:
    from analysis.questions.experiment import Experiment
    from store import StoreError

LEFT = 3
"""Exit code of a shard that has done its share and knows that others have not."""

MOST_SHARDS = 999
"""Shares that work is cut in, at most."""
YEAR_S = 365 * 24 * 3600.0

EPILOG = """\b
Example:
  headbook run --model reference
  headbook run --model gpt2 --text notes.txt --dry-run
  headbook run --model gpt2 --budget 60m
  headbook run --model gpt2 --chapters 01,02 --profile mine.toml
  headbook run --model gpt2 --shard 1/4 --wait 600
  headbook run --model gpt2 --engine ray --device cuda"""

MERGE_EPILOG = """\b
Example:
  headbook merge shard1/.headbook shard2/.headbook"""


def _a_number(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """Refuse what compares with nothing."""
    if math.isnan(value):
        raise click.BadParameter("expected seconds, got nan", ctx, param)
    return value


class Shard(click.ParamType[tuple[int, int]]):
    """`i/n`: the share of one of n processes."""

    name = "i/n"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Number of the share, from 1, and how many there are."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", str(value))
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MOST_SHARDS:
            self.fail(
                f"expected i/n with i from 1 to n and n up to {MOST_SHARDS}, got {value}; "
                "such as 1/4",
                param,
                ctx,
            )
        return int(match[1]), int(match[2])


@click.command(epilog=EPILOG)
@click.option(
    "--model",
    default="reference",
    show_default=True,
    help="`reference`, a folder of a model or LoRA, a GGUF file, or a Hugging Face id.",
)
@with_request
@click.option("--dry-run", is_flag=True, help="Say what would be computed, and stop.")
@with_budget
@click.option(
    "--shard",
    type=Shard(),
    help="Compute the i-th of n shares, into a store that all share or one to `merge`; exit code "
    f"{LEFT} while others have work left.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, YEAR_S),
    callback=_a_number,
    default=0.0,
    show_default=True,
    help="Seconds that a shard stays for the others' answers.",
)
@click.option(
    "--batch-tokens",
    type=COUNT,
    show_default="what suits each experiment",
    help="Tokens computed at a time, at most: bounds memory, changes no result.",
)
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True)
@click.option("--address", help="Of a Ray cluster; by default one on this machine, for this run.")
@click.option(
    "--workers",
    type=COUNT,
    show_default="one on every core, or GPU with --device cuda",
    help="Of Ray.",
)
@with_store
def run(*, dry_run: bool, shard: tuple[int, int] | None, engine: str, **asked: Any) -> None:
    """Compute what the book asks of a model; finished runs are kept and never repeated."""
    store_path, wait = asked.pop("store_path"), asked.pop("wait")
    _check_chapters(asked["chapters"])
    limit_tokens(asked.pop("batch_tokens"))
    slow_dtype = asked.pop("slow_dtype")
    if engine == "local" and not (dry_run or slow_dtype):
        refuse_slow(asked["device"], asked["dtype"])
    cluster = {name: asked.pop(name) for name in ("address", "workers")}
    if (engine == "local" and any(cluster.values())) or (engine == "ray" and shard):
        raise UserError(
            "expected --address and --workers with --engine ray, and --shard without it; "
            "choose one way to compute"
        )
    budget = asked.pop("budget")
    if engine == "ray" and not dry_run:
        from book.ray_engine import ray_engine  # noqa: PLC0415 - an optional extra

        gpus = str(asked["device"]).startswith("cuda")
        with ray_engine(cluster["address"], cluster["workers"], gpus=gpus) as workers:
            asked = _fitted(store_path, asked, (budget, workers.n_workers), keep=True)
            claims = compute(store_path, asked, workers)
        _say(claims)
        _say_left_out(Plan.of(store_path, asked))
        return
    n_sharing = (cluster["workers"] or n_cores(asked["device"])) if shard is None else shard[1]
    asked = _fitted(store_path, asked, (budget, n_sharing), keep=not dry_run)
    if dry_run:
        _plan(Plan.of(store_path, asked), n_sharing)
    elif shard is not None:
        _share(Plan.of(store_path, asked), shard, wait)
    else:
        _say(compute(store_path, asked))
        _say_left_out(Plan.of(store_path, asked))


def _fitted(
    store_path: Path, asked: dict[str, Any], budget: tuple[int | None, int], *, keep: bool
) -> dict[str, Any]:
    """What is asked, so that it fits a budget if there is one."""
    seconds, n_sharing = budget
    if seconds is None:
        return asked
    found, plan = within(planned_store(store_path), asked, (seconds, n_sharing), keep=keep)
    said_to_user(plan, n_sharing)
    return found


def _check_chapters(chapters: str) -> None:
    """Refuse numbers of chapters that ask nothing of a model."""
    asking = [name[:2] for name in CHAPTERS]
    if chapters != EVERY and (unknown := sorted({*chapters.split(",")} - {*asking, ""})):
        raise UserError(
            f"expected --chapters among {', '.join(asking)}, which ask a model, or {EVERY}, got "
            f"{unknown[0]}; others sum these up when the book is built"
        )


def _say(claims: pl.DataFrame) -> None:
    for row in claims.iter_rows(named=True):
        known = (row[name] for name in ("estimate", "lower", "upper"))
        estimate, lower, upper = (
            "none" if x is None else f"{round(x, 3) + 0.0:.3f}" for x in known
        )
        ends = "no estimate" if estimate == "none" else f"{estimate} ({lower} to {upper})"
        say(f"{row['verdict']:>13}  {ends}  {row['statement']}")


def _say_left_out(plan: Plan) -> None:
    """Say which of the asked chapters the model does not get, by the reason that `check` gives."""
    from analysis.overview.capabilities import ModelCheck  # noqa: PLC0415 - imports torch

    found: dict[str, list[str]] = {}
    asked = named_chapters(plan.asked.chapters)
    rows = plan.store.recall(ModelCheck.of(plan.asked))["model_chapters"]
    whole = rows.filter(pl.col("score").is_null(), pl.col("chapter").is_in(asked))
    for chapter, reason in whole.filter(~pl.col("holds")).select("chapter", "reason").iter_rows():
        found.setdefault(reason, []).append(chapter[:2])
    for reason, numbers in found.items():
        say(f"left out: {', '.join(numbers)}: {reason}", err=True)


def _plan(plan: Plan, n_sharing: int) -> None:
    """Say what is missing, by experiment, and what will be once that is there."""
    from analysis.questions.cost import cost, in_words  # noqa: PLC0415 - imports torch

    missing = list(plan.missing().values())
    if not missing:
        click.echo("nothing to compute: every answer is stored")
        return
    later = plan.later()
    click.echo(f"{'experiment':<24}{'units':>8}{'tokens':>16}{'CPU time':>12}")
    for title, units in (("", missing), ("then, with heads that these answers single out:", later)):
        if title and units:
            click.echo(title)
        groups: dict[str, list[Experiment]] = {}
        for unit in units:
            groups.setdefault(type(unit).__name__, []).append(unit)
        for name, same in groups.items():
            took = cost(same, replace(plan.rates, load=0.0))
            line = f"{name:<24}{took.n_units:>8,}{took.n_tokens:>16,.0f}"
            click.echo(f"{line}{in_words(took.seconds):>12}")
    whole = cost([*missing, *later], plan.rates)
    shared = in_words(whole.seconds / n_sharing)
    click.echo(f"{plan.n_there} parts are there, {whole.n_units} to compute: {whole}")
    click.echo(f"{shared} if {n_sharing} {'process shares' if n_sharing == 1 else 'share'} it")
    echo_notes(missing)


def _share(plan: Plan, shard: tuple[int, int], wait: float) -> None:
    """Compute a share, and say what is left for others."""
    missing, course = plan.missing(), None
    if missing:
        course = announce(plan, missing, shard[1])
    left = compute_share(plan, shard, wait)
    if not left:
        _say(judged(plan, course))
        _say_left_out(plan)
        return
    click.echo(
        f"shard {shard[0]}/{shard[1]}: nothing left here; {left} units of other shards are "
        "missing. When they are there, repeat this command for what depends on them",
        err=True,
    )
    click.get_current_context().exit(LEFT)


@click.command(epilog=MERGE_EPILOG)
@click.argument("others", nargs=-1, required=True, type=PATH)
@with_store
def merge(others: tuple[Path, ...], store_path: Path) -> None:
    """Copy the answers of other stores that this one lacks."""
    from store import Store  # noqa: PLC0415 - imports DuckDB
    from store import merge as merged  # noqa: PLC0415

    sources = [Store.existing(other) for other in others]  # before anything is copied, or made
    twofold = [line for source in sources for line in twofold_lines(source)]
    store = Store.planned(store_path)
    unfit: list[StoreError] = []
    for other in others:
        fresh, found = merged(store, other)
        unfit += found
        say(f"{other}: {fresh} new runs")
    store.make()
    echo_lines(f"headbook: not copied: {error}" for error in unfit)
    echo_lines(twofold)
    click.get_current_context().exit(2 if unfit or twofold else 0)
