"""Makes sure that the store holds every answer that was asked for."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import click

from analysis.batches import limit_tokens, token_limit
from analysis.errors import UserError, printable
from book.terminal import say
from store import INCOMING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence

    import polars as pl

    from analysis.questions.asked import Asked
    from analysis.questions.experiment import Experiment, Question
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


@dataclass
class Plan:
    """What a store lacks of what is asked, from wave to wave."""

    asked: Asked
    store: Store
    _known: dict[Experiment, Answer] = field(default_factory=dict[Any, Any])

    @classmethod
    def of(cls, store_path: Path, asked: dict[str, Any]) -> Plan:
        """The plan of a command: a store that is not there is made by its first answer."""
        from store import Store  # noqa: PLC0415 - imports DuckDB

        return cls(asked_of(asked), Store.planned(store_path))

    def missing(self) -> dict[str, Experiment]:
        """Units that can be computed now, by run; more may be missing once these are there."""
        from analysis.overview.findings import wanted  # noqa: PLC0415 - imports torch
        from store import run_key  # noqa: PLC0415

        asked = wanted(self.asked, self._answer)
        units = (unit for one in asked for unit in self.store.missing(one))
        return {run_key(unit): cast("Experiment", unit) for unit in units}

    def _answer(self, asked: Question) -> Answer | None:
        from analysis.questions.experiment import Experiment  # noqa: PLC0415

        if not isinstance(asked, Experiment):
            return None
        if asked not in self._known and not self.store.missing(asked):
            self._known[asked] = self.store.recall(asked)
        return self._known.get(asked)


def asked_of(options: dict[str, Any]) -> Asked:
    """What the options of a command ask for.

    Args:
        options: By name; `model`, `text` and `profile` at least.

    Returns:
        Model, text and sizes.
    """
    from analysis.questions.asked import Asked  # noqa: PLC0415 - imports torch

    return Asked.of(options["model"], options)


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
    missing = plan.missing()
    if missing:
        announce(plan, missing)
        engine = engine or _local(plan, missing)
    if engine is not None:
        compute_by(engine, plan)
    return judged(plan, new=bool(missing))


def _local(plan: Plan, missing: dict[str, Experiment]) -> Engine | None:
    """Processes of this machine, where they are worth it; None for this one."""
    from analysis.questions.cost import cost  # noqa: PLC0415 - imports torch

    from .local_engine import LocalEngine, n_processes  # noqa: PLC0415

    n = n_processes(cost(missing.values())) if plan.asked.device == "cpu" else 1
    return LocalEngine(n) if n > 1 else None


def announce(plan: Plan, missing: dict[str, Experiment]) -> None:
    """Say what is computed and what that takes, once the model has been seen to load.

    Args:
        plan: Whose.
        missing: What can be computed now.
    """
    from analysis.models.load import load_model  # noqa: PLC0415
    from analysis.precision import Precision  # noqa: PLC0415
    from analysis.questions.cost import cost  # noqa: PLC0415 - imports torch

    asked = plan.asked
    load_model(asked.model, asked.device, Precision(asked.dtype))
    names = ", ".join(dict.fromkeys(type(unit).__name__ for unit in missing.values()))
    about = f"about: {cost(missing.values())}, and what depends on these"
    click.echo(f"to compute: {names}\n{about}", err=True)
    echo_notes(missing.values())


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


def judged(plan: Plan, *, new: bool) -> pl.DataFrame:
    """All claims; what they need and the store lacks is computed here.

    Args:
        plan: Whose.
        new: Whether the store gets a snapshot.

    Returns:
        Rows of `claims`.
    """
    from analysis.overview.findings import findings  # noqa: PLC0415 - imports torch
    from store import snapshot  # noqa: PLC0415

    claims = findings(plan.asked, plan.store.recall)
    if new:
        say(f"stored in {plan.store.root}; snapshot {snapshot(plan.store).name}", err=True)
    return claims


def compute_by(engine: Engine, plan: Plan) -> None:
    """Have an engine compute what is missing, wave by wave, and take the parts over.

    Args:
        engine: Who computes; each unit once: what a model cannot be asked is left to the caller.
        plan: What is missing.

    Raises:
        UserError: A part that was announced is not there, or not sound.
    """
    from store import accept, terminal_bar  # noqa: PLC0415

    store, tried = plan.store, set[str]()
    store.make()
    accept(store)  # what was finished when this process was interrupted
    while units := {run: unit for run, unit in plan.missing().items() if run not in tried}:
        tried |= units.keys()
        with terminal_bar("computing") as report:
            function = partial(delivered, store.root, token_limit())
            parts = engine.map_units(function, longest_first(units.values()))
            for index, name in enumerate(parts):
                if name and not accept(store, [name]):
                    raise UserError(
                        f"expected the part {name} of a worker in {store.root / INCOMING}, found "
                        "none that is sound; do all machines share that folder?"
                    )
                store.catalog.refresh_now_and_then()
                report(index + 1, len(units), "")
        store.catalog.refresh()


def longest_first(units: Collection[Experiment]) -> list[Experiment]:
    """Units in the order in which they are begun: by the tokens of all that go together."""
    from analysis.questions.cost import passes  # noqa: PLC0415 - imports torch

    def group(unit: Experiment) -> Hashable:
        return unit if unit.together is None else unit.together

    tokens: Counter[Hashable] = Counter()
    for unit in units:
        tokens[group(unit)] += passes([unit])[1]
    return sorted(units, key=lambda unit: -tokens[group(unit)])


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
