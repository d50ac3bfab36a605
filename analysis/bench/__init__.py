"""The timed tasks: ours beside plain hooks, TransformerLens and nnsight, in one run."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from analysis.errors import UserError
from analysis.interventions.sweep import Report
from analysis.models.card import ModelCard

from .counts import sweep_flops
from .growth import Growth, growth_by_axis, growth_text
from .models import NAMES, Size, bench_model
from .peers import PEERS
from .race import contenders, raced
from .report import Table, as_json, listed, table, text
from .tasks import Task, Work, sampled_heads, tokens
from .timing import machine, versions
from .variants import compile_in_place

PACKAGES = ("torch", *(package for _, package in PEERS.values()))
"""Whose versions are printed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to time."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    n_sequences: int | None
    """None for what each task has."""
    n_tokens: int
    heads: int | None
    """How many to ablate at least; None for all."""
    repeats: int
    batch: int
    """S: sequences in one call of a model."""
    compiled: bool
    """Whether compiled variants of ours take part."""
    device: str


def bench(plan: Plan, report: Report) -> Iterator[Table]:
    """Time every task on every model.

    Args:
        plan: What to time.
        report: Told the progress of each race.

    Yields:
        A table as soon as it is complete.

    Raises:
        UserError: A name, a size or the device does not exist.
    """
    compiler = compile_in_place if plan.compiled else None
    for name in plan.models:
        model = bench_model(name, usable_device(plan.device))
        for task in (Task[task] for task in plan.tasks):
            work = _work(plan, task, model.card)
            flops = sweep_flops(model, work) if task is Task.A else None
            who = contenders(task, model, compiler)
            torch.compiler.reset()  # torch compiles a function a few times only, then gives up
            found = raced(who, work, model.device, plan.repeats, report)
            yield table(task, (name, _sizes(model.card)), work, found, flops)


def _work(plan: Plan, task: Task, card: ModelCard) -> Work:
    heads = sampled_heads(card, plan.heads if task is Task.A else None)
    return Work(
        ids=tokens(task, card, (plan.n_sequences or task.n_sequences, plan.n_tokens)),
        heads=heads,
        scale=card.n_layers * card.n_heads / len(heads),
        batch=plan.batch,
    )


def _sizes(card: ModelCard) -> str:
    return str(Size(card.n_layers, card.n_heads, card.d_model, card.vocab))


def usable_device(name: str) -> str:
    """The device, if it is there.

    Args:
        name: Such as `cpu` or `cuda`.

    Returns:
        The name.

    Raises:
        UserError: There is no such device, or it cannot be timed.
    """
    if name.partition(":")[0] not in {"cpu", "cuda"}:
        raise UserError(f"expected cpu or cuda to time on, got {name}; choose another --device")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"expected a device that works, got {name} ({reason}); choose --device cpu"
        ) from None
    return name


__all__ = [
    "NAMES",
    "PACKAGES",
    "Growth",
    "Plan",
    "Table",
    "Task",
    "as_json",
    "bench",
    "growth_by_axis",
    "growth_text",
    "listed",
    "machine",
    "text",
    "usable_device",
    "versions",
]
