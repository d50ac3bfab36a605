"""What is going to be computed, what that takes, and what of it fits a budget."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from analysis.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from analysis.overview.budget import BudgetPlan
    from analysis.questions.asked import Asked
    from analysis.questions.cost import Rates
    from analysis.questions.experiment import Experiment, Question
    from store import Answer, Store

SIZES_OF_BUDGET = 1
"""Raised when other sizes come of what is noted in a store."""
_ASKED = ("text", "bos", "token_pool", "n_sequences", "n_tokens", "heads", "seed", "dtype")

_SLOWEST = 1e6
"""Seconds, or GiB, that a note of a pace may name."""
_MOST_HALVINGS = 30

_UNITS = (("h", 3600), ("m", 60), ("s", 1))
_LONGEST_S = 10 * 365 * 24 * 3600


class Budget(click.ParamType[int]):
    """A time such as `1h30m`, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds of hours, minutes and seconds."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(
            r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?", str(value).strip()
        )
        parts = zip(match.groups(), _UNITS, strict=True) if match else ()
        seconds = sum(int(n or 0) * each for n, (_, each) in parts)
        if not 0 < seconds <= _LONGEST_S:
            self.fail(f"expected a time such as 60m, 1h30m or 90s, got {value!r}", param, ctx)
        return seconds


@dataclass
class Plan:
    """What a store lacks of what is asked, from wave to wave."""

    asked: Asked
    store: Store
    _known: dict[Experiment, Answer] = field(default_factory=dict[Any, Any])
    _begun: dict[Experiment, int] = field(default_factory=dict[Any, Any])
    """How many units are there of what was asked and is not known."""

    @classmethod
    def of(cls, store_path: Path, asked: dict[str, Any]) -> Plan:
        """The plan of a command: a store that is not there is made by its first answer."""
        from store import Store  # noqa: PLC0415 - imports DuckDB

        return cls(asked_of(asked), Store.planned(store_path))

    def missing(self) -> dict[str, Experiment]:
        """Units that can be computed now, by run; more may be missing once these are there."""
        from analysis.overview.findings import wanted  # noqa: PLC0415 - imports torch
        from store import run_key  # noqa: PLC0415

        found: dict[str, Experiment] = {}
        self._begun.clear()
        for one in wanted(self.asked, self._answer):
            units = self.store.missing(one)
            self._begun[one] = len(one.units()) - len(units)
            found |= {run_key(unit): cast("Experiment", unit) for unit in units}
        return found

    def later(self) -> list[Experiment]:
        """Units much like those that will be missing once others are there."""
        from analysis.overview.forecast import forecast  # noqa: PLC0415 - imports torch

        return [unit for one in forecast(self.asked, self._answer) for unit in one.units()]

    @property
    def n_there(self) -> int:
        """Units that were there when `missing` looked."""
        return sum(len(one.units()) for one in self._known) + sum(self._begun.values())

    @cached_property
    def rates(self) -> Rates:
        """How fast the model is computed; kept by the store once there is one."""
        return rates_of(self.asked, self.store, keep=False)

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


def n_cores(device: str) -> int:
    """Cores that this process may use for a device: all for the CPU, 1 for another."""
    if device != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def rates_of(asked: Asked, store: Store, *, keep: bool, known: Rates | None = None) -> Rates:
    """How fast this machine, or the first that asked, computes a model.

    Args:
        asked: Which model, where and in which precision.
        store: May know it.
        keep: Whether to note it there.
        known: What was measured already.

    Returns:
        Seconds, and memory.
    """
    from analysis.precision import Precision  # noqa: PLC0415 - imports torch
    from analysis.questions.cost import Rates  # noqa: PLC0415

    where = {"device": asked.device, "dtype": asked.dtype}
    names = [each.name for each in fields(Rates)]
    about = {"note": "pace", "numbers": names, "model": asked.card.identity, **where}
    noted = _sound(store.noted(about), names, _SLOWEST)
    if noted is None:
        own = asdict(known or Rates.measured(asked.model, asked.device, Precision(asked.dtype)))
        kept = store.note(about, own) if keep else own
        noted = _sound(kept, names, _SLOWEST) or own
    return Rates(**noted)


def _sound(
    noted: Mapping[str, float] | None, names: Collection[str], most: float
) -> dict[str, float] | None:
    """A note, if it holds these numbers from 0 to `most` and nothing else: others may write one."""
    if noted is None or set(noted) != set(names):
        return None
    return dict(noted) if all(0 <= number <= most for number in noted.values()) else None


def within(
    store: Store, options: dict[str, Any], budget: tuple[int, int], *, keep: bool
) -> tuple[dict[str, Any], BudgetPlan]:
    """What is asked, so that it fits a budget.

    Args:
        store: Keeps the sizes that its first budget chose, and the pace.
        options: As for `asked_of`.
        budget: Seconds, and how many cores or accelerators there are for as long.
        keep: Whether what is chosen and measured is stored.

    Returns:
        Options with other sizes and chapters, and the plan.

    Raises:
        UserError: Nothing fits.
    """
    from analysis.overview.budget import fitted, planned  # noqa: PLC0415 - imports torch

    asked, capacity = asked_of(options), float(budget[0] * budget[1])
    rates, about = rates_of(asked, store, keep=False), _sizes_of(asked)
    noted = _sound(store.noted(about), ["halvings"], _MOST_HALVINGS)
    chosen = fitted(asked, rates, capacity) if noted is None else int(noted["halvings"])
    plan = planned(asked, rates, capacity, chosen)
    if not plan.inside:
        raise _too_short(plan, budget)
    if keep and noted is None:  # whoever noted them first is followed, in pace and in sizes
        rates = rates_of(asked, store, keep=True, known=rates)
        own = {"halvings": float(chosen)}
        kept = _sound(store.note(about, own), ["halvings"], _MOST_HALVINGS) or own
        chosen = int(kept["halvings"])
        plan = planned(asked, rates, capacity, chosen)
    chapters = ",".join(plan.asked.chapters)
    told = {**options, "profile": plan.asked.sizes_told, "chapters": chapters}
    return told, replace(plan, noted=noted is not None)


def _too_short(plan: BudgetPlan, budget: tuple[int, int]) -> UserError:
    """Say the smallest budget that holds something."""
    first, seconds = next(iter(plan.seconds.items()))
    least, n_sharing = math.ceil(seconds / budget[1]), budget[1]
    cores = "1 process" if n_sharing == 1 else f"{n_sharing} processes"
    return UserError(
        f"expected a --budget of at least {least}s, which chapter {first} takes {cores} at the "
        f"smallest sizes, got {budget[0]}s; raise it"
    )


def _sizes_of(asked: Asked) -> dict[str, Any]:
    """What the sizes of a budget are chosen for: a model, a text and a profile."""
    return {
        "note": "budget",
        "version": SIZES_OF_BUDGET,
        "model": asked.card.identity,
        "profile": asked.sizes_told,
        **{name: getattr(asked, name) for name in _ASKED},
    }


def said(plan: BudgetPlan, n_cores: int) -> list[str]:
    """A plan in lines: what fits at which sizes, and what does not and would take how long.

    Args:
        plan: The plan.
        n_cores: That it is shared by.
    """
    from analysis.questions.cost import in_words  # noqa: PLC0415 - imports torch

    def each(numbers: list[str]) -> str:
        return ", ".join(f"{n} ({in_words(plan.seconds[n] / n_cores)})" for n in numbers)

    times = {0: "as they are", 1: "halved once"}.get(plan.halvings, f"halved {plan.halvings} times")
    why = ", as far as verdicts allow" if plan.halvings else ""
    if plan.noted:
        why += ", as the first budget in this store chose"
    lines = [
        f"budget of {in_words(plan.capacity / n_cores)} on {n_cores} "
        f"{'core' if n_cores == 1 else 'cores'}: chapters {each(plan.inside)}",
        f"sizes of the profile, {times}{why}: {plan.asked.sizes_said}",
    ]
    if plan.outside:
        lines.append(f"left out, and what each would take: {each(list(plan.outside))}")
    return lines


def said_to_user(plan: BudgetPlan, n_cores: int) -> None:
    """Say a plan on stderr."""
    for line in said(plan, n_cores):
        click.echo(line, err=True)


def planned_store(path: Path) -> Store:
    """The store of a command, which its first answer makes."""
    from store import Store  # noqa: PLC0415 - imports DuckDB

    return Store.planned(path)
