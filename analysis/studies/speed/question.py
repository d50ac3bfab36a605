"""Timed tasks as questions to the store: asked once of a machine, and of versions of packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import polars as pl
import torch

from analysis.errors import UserError
from analysis.models.files.card import ModelCard
from analysis.progress import Report
from analysis.questions.experiment import Experiment
from analysis.studies.speed.contenders.counts import passes_flops, sweep_flops
from analysis.studies.speed.contenders.models import SEED, SIZES, SMALL, Size, bench_model
from analysis.studies.speed.contenders.peers import PEERS
from analysis.studies.speed.contenders.race import contender_names, contenders, raced
from analysis.studies.speed.contenders.tasks import Task, Work, sampled_heads, tokens
from analysis.studies.speed.contenders.timing import machine, versions
from analysis.studies.speed.contenders.variants import compile_in_place
from analysis.text.tokens import Tokens

from .growth import growth_along
from .records import recorded

PACKAGES = ("torch", *(package for _, package in PEERS.values()))
"""Whose versions a race depends on."""


@dataclass(frozen=True, kw_only=True)
class Timed(Experiment):
    """A question about seconds, whose answer holds for one machine and for its packages."""

    seed: int = field(default=SEED, init=False)
    machine: Mapping[str, str]
    """Processor, cores, threads, Python, and the GPU if there is one."""
    packages: Mapping[str, str]
    """Versions by name; `-` for what is not installed."""

    def data(self) -> Sequence[Tokens]:
        """No tokens of a text: random ones."""
        return ()

    def question(self) -> dict[str, Any]:
        """Model, sizes, machine and packages."""
        apart = {"model", "seed", "device", "dtype"}
        asked = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in apart}
        size = SIZES.get(self.model)
        known = self.card.identity if size is None else f"random, {size}"
        return {
            "model": known,
            "tokens": [],
            "parameters": asked,
            "dtype": "float32",
            "seed": self.seed,
        }

    def subjects(self) -> dict[str, pl.DataFrame]:
        """The model, unless its weights are random: those are known by their sizes."""
        return {} if self.model in SIZES else {"models": self.card.row()}

    def _where(self) -> dict[str, pl.Expr]:
        """Columns about the machine."""
        return {
            "device": pl.lit(self.machine.get("GPU", "cpu")),
            "processor": pl.lit(self.machine["processor"]),
            "threads": pl.lit(int(self.machine["threads"]), pl.Int32),
            "torch": pl.lit(self.packages["torch"]),
        }


@dataclass(frozen=True, kw_only=True)
class Timings(Timed):
    """How long does each contender need for a task, side by side on one machine?"""

    version: ClassVar[int] = 3

    task: str
    """Name of a `Task`."""
    n_sequences: int
    n_tokens: int
    heads: int | None
    """A: how many to ablate at least; None for all."""
    repeats: int
    batch: int
    """S: sequences in one call of a model."""
    compiled: bool
    """Whether compiled variants of ours take part."""

    def question(self) -> dict[str, Any]:
        """The same, with who takes part."""
        asked = super().question()
        asked["parameters"]["contenders"] = contender_names(Task[self.task], self.compiled)
        return asked

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Race all contenders.

        Args:
            report: Told how many laps are done.

        Returns:
            `races`, one row, and `timings`, one for every lap of every contender.

        Raises:
            UserError: The tokens do not fit the model, or the device cannot be timed.
        """
        task, model = Task[self.task], bench_model(self.model, usable_device(self.device))
        work = self._work(task, model.card)
        flops = (sweep_flops(model, work), passes_flops(model, work)) if task is Task.A else None
        who = contenders(task, model, compile_in_place if self.compiled else None)
        torch.compiler.reset()  # torch compiles a function a few times only, then gives up
        found = raced(who, work, model.device, self.repeats, report)
        name = self.model if self.model in SIZES else self.card.name
        frames = recorded(task, (name, _sizes(model.card)), work, found, flops)
        package = pl.col("contender").replace_strict(
            {name: f"{package} {self.packages[package]}" for name, (_, package) in PEERS.items()},
            default=f"torch {self.packages['torch']}",
        )
        return {
            "races": frames["races"].with_columns(**self._where()),
            "timings": frames["timings"].with_columns(package=package),
        }

    def _work(self, task: Task, card: ModelCard) -> Work:
        n_heads = sum(card.heads_by_layer)
        if self.heads is not None and self.heads > n_heads:
            raise UserError(
                f"expected --heads up to {n_heads}, as many as {self.model} "
                f"has, got {self.heads}; choose fewer"
            )
        heads = sampled_heads(card, self.heads)
        return Work(
            ids=tokens(task, card, (self.n_sequences, self.n_tokens)),
            heads=heads,
            scale=n_heads / len(heads),
            batch=self.batch,
        )


@dataclass(frozen=True, kw_only=True)
class CostGrowth(Timed):
    """How does the cost of our task A grow when one quantity doubles, and doubles again?"""

    version: ClassVar[int] = 3

    model: str = field(default=SMALL, init=False)
    axis: str
    """One of `AXES`."""
    n_sequences: int
    n_tokens: int
    repeats: int

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure three sizes.

        Args:
            report: Told which.

        Returns:
            `cost_growth`: seconds and operations by size.

        Raises:
            UserError: The device cannot be timed.
        """
        shape, device = (self.n_sequences, self.n_tokens), usable_device(self.device)
        found = growth_along(self.axis, shape, device, self.repeats, report)
        rows = pl.DataFrame({"size": found.sizes, "seconds": found.seconds, "flops": found.flops})
        return {
            "cost_growth": rows.with_columns(
                axis=pl.lit(self.axis),
                model=pl.lit(self.model),
                n_sequences=pl.lit(self.n_sequences),
                n_tokens=pl.lit(self.n_tokens),
                **self._where(),
            )
        }


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

    def questions(self) -> list[Timings]:
        """Every task on every model, here and now."""
        return [
            Timings(
                model=model,
                task=task,
                n_sequences=self.n_sequences or Task[task].n_sequences,
                n_tokens=self.n_tokens,
                heads=self.heads if task == Task.A.name else None,
                repeats=self.repeats,
                batch=self.batch,
                compiled=self.compiled,
                **here(self.device),
            )
            for model in self.models
            for task in self.tasks
        ]


def here(device: str) -> dict[str, Any]:
    """This machine, and the versions that are installed, as fields of a question."""
    return {
        "device": device,
        "machine": machine(torch.device(device)),
        "packages": versions(PACKAGES),
    }


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


def _sizes(card: ModelCard) -> str:
    return str(Size(card.n_layers, card.n_heads, card.d_model, card.vocab))
