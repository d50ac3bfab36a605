"""Makes sure that the store holds every answer that was asked for."""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import click

from analysis.batches import limit_tokens, token_limit
from analysis.errors import UserError, printable
from book.course import Course
from book.planning import Plan, rates_of
from book.terminal import say
from store import INCOMING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence

    import polars as pl

    from analysis.questions.experiment import Experiment, Question
    from analysis.questions.work import Work
    from store import Answer, Store


POLL_S = 1.0
"""How often a process that waits for others looks at the store."""


class Engine(Protocol):
    """Computes units somewhere else than here and one after the other."""

    def map_units(
        self, function: Callable[[Experiment], str], units: Sequence[Experiment]
    ) -> Iterator[str]:
        """Call a function on every unit, and yield the parts that it names, as they come."""
        ...


def refuse_slow(device: str, dtype: str) -> None:
    """Refuse a precision that only costs time here.

    Raises:
        UserError: The processor does not compute in it.
    """
    from analysis.precision import Precision, native_bfloat16  # noqa: PLC0415 - imports torch

    if device == "cpu" and Precision(dtype) is Precision.BFLOAT16 and not native_bfloat16():
        raise UserError(
            "expected a CPU that computes in bfloat16, this one is 5 to 9 times slower with it; "
            "choose --dtype float32, or force it by --slow-dtype"
        )


def compute(store_path: Path, asked: dict[str, Any], engine: Engine | None = None) -> pl.DataFrame:
    """Compute what the book asks of a model and the store does not hold.

    Args:
        store_path: The store.
        asked: As for `asked_of`.
        engine: Who computes; None for this machine's cores, or this process where little is asked.

    Returns:
        Rows of `claims`.

    Raises:
        UserError: The model or the text cannot be read.
        StoreError: The store cannot be written.
    """
    plan = Plan.of(store_path, asked)
    missing, course = plan.missing(), None
    if missing:
        engine = engine or _local(plan, missing)
        course = announce(plan, missing, getattr(engine, "n_workers", 1))
    if engine is not None:
        compute_by(engine, plan, course)
    return judged(plan, course)


def _local(plan: Plan, missing: dict[str, Experiment]) -> Engine | None:
    """Processes of this machine, where they are worth it; None for this one."""
    from analysis.questions.cost import cost  # noqa: PLC0415 - imports torch

    from .local_engine import LocalEngine, n_processes  # noqa: PLC0415

    work = cost([*missing.values(), *plan.later()], plan.rates)
    n = n_processes(work) if plan.asked.device == "cpu" else 1
    return LocalEngine(n) if n > 1 else None


def announce(plan: Plan, missing: dict[str, Experiment], n_workers: int) -> Course:
    """Say what is computed and what that takes, once the model has been seen to load.

    Args:
        plan: Whose.
        missing: What can be computed now.
        n_workers: Processes that share it.

    Returns:
        What is told while it is computed.
    """
    from analysis.models.load import load_model  # noqa: PLC0415 - imports torch
    from analysis.precision import Precision  # noqa: PLC0415
    from analysis.questions.cost import cost, in_words  # noqa: PLC0415

    load_model(plan.asked.model, plan.asked.device, Precision(plan.asked.dtype))
    later = plan.later()
    now, whole = cost(missing.values(), plan.rates), cost([*missing.values(), *later], plan.rates)
    names = ", ".join(dict.fromkeys(type(unit).__name__ for unit in missing.values()))
    then = f", then {len(later)} that depend on these" if later else ""
    by = "1 process" if n_workers == 1 else f"{n_workers} processes"
    click.echo(
        f"to compute: {names}\n{plan.n_there} parts are there; {now.n_units} to compute now{then}\n"
        f"about: {whole}; {in_words(whole.seconds / n_workers)} in {by}",
        err=True,
    )
    echo_notes(missing.values())
    return Course(plan.rates, plan.n_there, whole.seconds, whole.n_units, n_workers)


def echo_notes(units: Iterable[Experiment]) -> None:
    """Say which weights and BOS are used, which part of a text, and where rows are too few.

    Args:
        units: What is asked.
    """
    asked = list(units)
    cards = {unit.card.folder: unit.card for unit in asked}.values()
    for note in dict.fromkeys(note for card in cards for note in card.notes):
        click.echo(f"model: {printable(note)}", err=True)
    for note in dict.fromkeys(unit.vocabulary.bos_note for unit in asked):
        if note:
            click.echo(f"tokens: {printable(note)}", err=True)
    notes = (note for unit in asked for tokens in unit.data() for note in tokens.notes)
    for note in dict.fromkeys(notes):
        click.echo(f"text: {printable(note)}", err=True)


def judged(plan: Plan, course: Course | None) -> pl.DataFrame:
    """All claims; what they need and the store lacks is computed here.

    Args:
        plan: Whose.
        course: Told what is finished, and then the store gets a snapshot; None for nothing new.

    Returns:
        Rows of `claims`.
    """
    from analysis.overview.findings import findings  # noqa: PLC0415 - imports torch
    from store import snapshot  # noqa: PLC0415

    claims = findings(plan.asked, partial(recalled, plan.store, course))
    if course is not None:
        rates_of(plan.asked, plan.store, keep=True, known=plan.rates)
        say(f"stored in {plan.store.root}; snapshot {snapshot(plan.store).name}", err=True)
    return claims


def recalled(store: Store, course: Course | None, question: Question) -> Answer:
    """An answer; what is computed for it is told to a course."""
    from analysis.questions.experiment import Experiment  # noqa: PLC0415 - imports torch

    if course is None or not isinstance(question, Experiment):
        return store.recall(question)
    missing = cast("list[Experiment]", store.missing(question))
    found = store.recall(question, course.progress)
    for unit in missing:
        course.finish(unit)
    return found


def compute_by(engine: Engine, plan: Plan, course: Course | None = None) -> None:
    """Have an engine compute what is missing, wave by wave, and take the parts over.

    Args:
        engine: Who computes; each unit once: what a model cannot be asked is left to the caller.
        plan: What is missing.
        course: Told what is finished; None where nobody is.

    Raises:
        UserError: A part that was announced is not there, or not sound.
    """
    from store import accept, part_name, terminal_bar  # noqa: PLC0415

    store, tried = plan.store, set[str]()
    store.make()
    accept(store)  # what was finished when this process was interrupted
    while units := {run: unit for run, unit in plan.missing().items() if run not in tried}:
        tried |= units.keys()
        with terminal_bar("computing") as report:
            function = partial(delivered, store.root, token_limit())
            parts = engine.map_units(function, longest_first(units.values()))
            by_part = {part_name([run]): unit for run, unit in units.items()}
            for index, name in enumerate(parts):
                if name and not accept(store, [name]):
                    raise UserError(
                        f"expected the part {name} of a worker in {store.root / INCOMING}, found "
                        "none that is sound; do all machines share that folder?"
                    )
                store.catalog.refresh_now_and_then()
                unit = by_part.get(name)
                if course is not None and unit is not None:
                    course.finish(unit)
                told = "" if course is None else course.where(type(unit).__name__)
                report(index + 1, len(units), told)
        store.catalog.refresh()


def longest_first(units: Collection[Experiment]) -> list[Experiment]:
    """Units in the order in which they are begun: by the tokens of all that go together."""

    def group(unit: Experiment) -> Hashable:
        return unit if unit.together is None else unit.together

    tokens: defaultdict[Hashable, float] = defaultdict(float)
    for unit in units:
        tokens[group(unit)] += _size(unit.work())
    return sorted(units, key=lambda unit: -tokens[group(unit)])


def _size(work: Work) -> float:
    """For comparisons alone, whatever a machine's pace."""
    return work.layers + 3 * work.gradients + work.logits + work.compared


def delivered(root: Path | str, most_tokens: int | None, unit: Experiment) -> str:
    """Compute a unit for the writer of a store.

    Args:
        root: Folder of the store.
        most_tokens: What may be computed at a time.
        unit: What to compute.

    Returns:
        The name of its part; empty where the model cannot be asked that.
    """
    from store import deliver  # noqa: PLC0415

    limit_tokens(most_tokens)
    try:
        return deliver(Path(root), unit)
    except UserError:
        return ""


def compute_share(plan: Plan, shard: tuple[int, int], patience_s: float) -> int:
    """Compute what falls to one of several processes; which that is, the ids of runs say.

    What a model cannot be asked is noted in the store, so that the others do not wait for it.

    Args:
        plan: What is missing.
        shard: The number of this process, from 1, and how many there are.
        patience_s: How long to wait for the others when nothing is left to do here.

    Returns:
        How many units are still missing that others have to compute.
    """
    number, count = shard
    tried, until = set[str](), time.monotonic() + patience_s
    while units := {run: unit for run, unit in plan.missing().items() if run not in tried}:
        mine = [run for run in units if int(run, 16) % count == number - 1]
        tried.update(mine)
        left = units.keys() - plan.store.refused(units)
        if mine:
            until = time.monotonic() + patience_s
        elif not left or time.monotonic() >= until:
            return len(left)
        else:
            time.sleep(POLL_S)
        for run in mine:
            try:
                plan.store.recall(units[run])
            except UserError as error:
                plan.store.refuse(run, str(error))
    return 0
