"""`headbook build`: the static book."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.errors import UserError
from analysis.studies import CHAPTERS
from book.computing import refuse_slow
from book.options import EVERY, PATH, with_budget, with_request, with_store
from book.planning import n_cores, planned_store, said_to_user, within
from book.terminal import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .site import BuildReport

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
TIMED = "14_speed"
"""The chapter that is made where it is asked for: it times the machine, which takes minutes."""

EPILOG = """\b
Example:
  headbook build
  headbook build --model gpt2 --out public --check
  headbook build --chapters 01,02,03
  headbook build --model gpt2 --budget 2h
  headbook build --models reference,gpt2,./mine"""


@click.command(epilog=EPILOG)
@click.option("--model", show_default="reference", help="As for `headbook run`.")
@click.option(
    "--models",
    help="Several, separated by commas: the chapters of each, and one that compares them.",
)
@with_request
@with_budget
@click.option(
    "--out",
    type=PATH,
    default=Path("_build/html"),
    show_default=True,
    help="Folder to publish: new, empty, or built before. What the next build can reuse lies "
    "beside it, in OUT.work.",
)
@click.option(
    "--notebooks",
    type=PATH,
    default=NOTEBOOKS,
    show_default="the chapters",
)
@click.option("--check", is_flag=True, help="Fail on any warning, dead link or stale result.")
@with_store
def build(
    *,
    out: Path,
    notebooks: Path,
    check: bool,
    store_path: Path,
    slow_dtype: bool,
    budget: int | None,
    **asked: Any,
) -> None:
    """Compile the notebooks into a static book; only what changed is made anew.

    OUT and OUT.work carry a marker of ours. A folder of somebody else, and a page that somebody has
    changed, are refused by name.
    """
    from .site import build as build_book  # noqa: PLC0415
    from .site import find_notebooks  # noqa: PLC0415

    if not slow_dtype:
        refuse_slow(asked["device"], asked["dtype"])
    options, every = _options(asked), find_notebooks(notebooks)
    if budget is not None:
        options = _fitted(store_path, options, budget, [path.stem for path in every])
    found = chosen(every, options.get("chapters", ""))
    timed = any(path.stem == TIMED for path in found)
    report = build_book(
        store_path,
        found,
        out,
        check=check,
        options=options,
        prepare=lambda: _prepare(store_path, options, timed=timed),
    )
    for warning in report.warnings:
        say(warning, err=True)
    say(_said(report, out))


def _fitted(
    store_path: Path, options: dict[str, str], budget: int, notebooks: Sequence[str]
) -> dict[str, str]:
    """The same, so that it fits a budget; chapters that sum others up are made of what is there."""
    if "models" in options:
        raise UserError("expected --budget with one --model, got --models; build one at a time")
    n_sharing = n_cores(options.get("device", "cpu"))
    told, plan = within(planned_store(store_path), options, (budget, n_sharing), keep=True)
    said_to_user(plan, n_sharing)
    summing_up = [name[:2] for name in notebooks if name not in {*CHAPTERS, TIMED}]
    named = () if options.get("chapters") else summing_up
    return {**options, **told, "chapters": ",".join(sorted({*plan.inside, *named}))}


def _options(asked: Mapping[str, Any]) -> dict[str, str]:
    """What the notebooks are told beyond what is so anyway: `models` where there are several."""
    from .editions import listed_models  # noqa: PLC0415

    bos = {None: None, True: "yes", False: "no"}[asked["bos"]]
    usual = {"seed": 0, "device": "cpu", "dtype": "float32"}
    told = {name: value for name, value in asked.items() if usual.get(name) != value}
    options = {name: str(value) for name, value in {**told, "bos": bos}.items() if value}
    if "models" not in options:
        return {"model": "reference", **options}
    if "model" in options:
        raise UserError("expected --model or --models, got both; put all of them into --models")
    names = listed_models(options["models"])
    if len(names) > 1:
        return options
    del options["models"]
    return {"model": names[0], **options}


def chosen(notebooks: Sequence[Path], chapters: str) -> list[Path]:
    """The chapters that are asked for.

    Args:
        notebooks: All that there are.
        chapters: Their numbers, separated by commas, or `all`; nothing for all but the timed one.

    Returns:
        Notebooks in the same order.

    Raises:
        UserError: A number is of none of them.
    """
    if not chapters:
        return [path for path in notebooks if path.stem != TIMED]
    if chapters == EVERY:
        return list(notebooks)
    numbers, there = chapters.split(","), [path.stem[:2] for path in notebooks]
    if unknown := sorted(set(numbers) - set(there)):
        raise UserError(
            f"expected --chapters among {', '.join(there)} or {EVERY}, got {unknown[0]}; name "
            "chapters of the book"
        )
    return [path for path in notebooks if path.stem[:2] in numbers]


def _prepare(store_path: Path, options: dict[str, str], *, timed: bool) -> None:
    """Compute what the chapters show, of models that they can show."""
    from analysis.studies.speed.views import questions  # noqa: PLC0415 - imports torch
    from store import Store  # noqa: PLC0415

    from .computing import compute  # noqa: PLC0415
    from .editions import editions  # noqa: PLC0415

    store = Store.planned(store_path)
    every = [dict(edition.options) for edition in editions(options)]
    for asked in every:
        compute(store_path, asked)
    for question in (
        questions(options["profile"]) if timed else ()
    ):  # before the chapters run, which would slow the timed down
        store.recall(question)


def _said(report: BuildReport, out: Path) -> str:
    state = "written" if report.written else "unchanged"
    return (
        f"{out / 'index.html'}: {state}; {len(report.compiled)} chapters run, "
        f"{len(report.kept)} kept, {report.states} control states, {report.runs} runs, "
        f"{report.seconds:.1f} s"
    )
