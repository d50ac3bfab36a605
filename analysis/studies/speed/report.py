"""From stored laps to tables: plain text for a terminal, and one JSON object."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import polars as pl

from analysis.studies.speed.contenders.race import EXACT, Errors
from analysis.studies.speed.contenders.tasks import Task

_MIB = 2**20
_HEADER = ("", "seconds (min to max)", "times ours", "difference", "MiB", "")


@dataclass(frozen=True)
class Row:
    """One contender; numbers are None where it did not take part."""

    name: str
    seconds: tuple[float, ...]
    """One a round, for all heads."""
    ratio: float | None
    """How many times slower than ours in float32, by medians."""
    extra_bytes: int | None
    """Largest over rounds."""
    error: Errors | None
    agrees: bool | None
    """Whether it is within the task's tolerance; None for a preview."""
    note: str


@dataclass(frozen=True)
class Table:
    """One task on one model."""

    task: str
    model: str
    sizes: str
    n_sequences: int
    n_tokens: int
    n_heads: tuple[int, int]
    """Ablated ones, and all that seconds are scaled to."""
    batch: int
    effects: tuple[float, float] | None
    """Smallest and largest mean KL of a head, in nats: what a difference compares with."""
    reference: str
    """The contender that differences are to."""
    rows: tuple[Row, ...]
    rates: dict[str, float]
    """Operations a second of a matrix product, by type."""
    flops: int | None
    """Of our task A, all heads."""


def table(answer: Mapping[str, pl.DataFrame]) -> Table:
    """Put what is stored of a race in a table.

    Args:
        answer: Of `Timings`.

    Returns:
        The table, ours in float32 first.
    """
    race = answer["races"].row(0, named=True)
    laps = answer["timings"].partition_by("contender", maintain_order=True)
    ours = median(laps[0]["seconds"])
    low, high = race["least_effect"], race["largest_effect"]
    alike = ("task", "model", "sizes", "n_sequences", "n_tokens", "batch", "reference", "flops")
    return Table(
        **{name: race[name] for name in alike},
        n_heads=(race["n_ablated"], race["n_heads"]),
        effects=None if low is None else (low, high),
        rows=tuple(_row(Task[race["task"]], rows, ours) for rows in laps),
        rates={name: race[f"rate_{name}"] for name in ("float32", "bfloat16")},
    )


def _row(task: Task, laps: pl.DataFrame, ours: float) -> Row:
    said = laps.row(0, named=True)
    if said["lap"] is None:
        return Row(said["contender"], (), None, None, None, None, said["absence"])
    error = None
    if said["difference"] is not None:
        middle, largest = said["relative_error"], said["largest_relative_error"]
        relative = None if middle is None else (largest, middle)
        error = Errors(said["difference"], relative, said["rank_correlation"])
    note = ""
    if said["agrees"] is False:
        note = f"DIFFERS by more than {task.tolerance:g}"
    elif error is not None and said["preview"]:
        note = _preview(error)
    took = tuple(laps["seconds"])
    return Row(
        name=said["contender"],
        seconds=took,
        ratio=median(took) / ours,
        extra_bytes=max(laps["extra_bytes"].drop_nulls(), default=None),
        error=error,
        agrees=said["agrees"],
        note=note,
    )


def _preview(error: Errors) -> str:
    """How good a preview is."""
    largest, middle = error.relative or (float("nan"), float("nan"))
    rank = "-" if error.rank_correlation is None else f"{error.rank_correlation:.4f}"
    return (
        f"preview: KL off by {100 * middle:.2g} % (median) and {100 * largest:.2g} % (largest), "
        f"Spearman {rank}"
    )


def text(found: Table) -> str:
    """A table for a terminal.

    Args:
        found: The table.

    Returns:
        Lines without a newline at the end.
    """
    task = Task[found.task]
    lines = [
        f"{found.task}: {task.value}",
        f"   {found.model} ({found.sizes}), {found.n_sequences} x {found.n_tokens} tokens",
    ]
    if task is Task.S:
        batch = min(found.batch, found.n_sequences)
        lines.append(f"   {batch} sequences in one call of a model, for all alike")
    ablated, total = found.n_heads
    if ablated < total:
        lines.append(
            f"   {ablated} of {total} heads were ablated, as many in every layer; seconds are "
            f"scaled to all {total} (x {total / ablated:g} of what exceeds a run without heads)"
        )
    if found.effects is not None:
        low, high = found.effects
        lines.append(f"   KL of a head: {low:.2g} to {high:.2g} nats")
    what = "of a score" if found.effects is None else "of KL"
    lines.append(f"   differences are those {what} to {found.reference}")
    return "\n".join(
        [*lines, "", *columns([_HEADER, *map(_cells, found.rows)]), "", *_limit(found)]
    )


def _cells(row: Row) -> tuple[str, ...]:
    if not row.seconds:
        return (row.name, "-", "-", "-", "-", row.note)
    spread = f"{min(row.seconds):.3g} to {max(row.seconds):.3g}"
    return (
        row.name,
        f"{median(row.seconds):.3g} ({spread})",
        f"{row.ratio:.2f}",
        "-" if row.error is None else f"{row.error.largest:.1e}",
        "-" if row.extra_bytes is None else f"{row.extra_bytes / _MIB:.0f}",
        row.note,
    )


def _limit(found: Table) -> list[str]:
    """The rates of matrix products, and how near ours in float32 comes to them."""
    rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in found.rates.items())
    lines = [f"   matrix products here: {rates} GFLOP/s"]
    if found.flops is None:
        return lines
    limit = found.flops / found.rates["float32"]
    shares = [
        f"{row.name} {100 * limit / median(row.seconds):.0f} %"
        for row in found.rows
        if row.name.startswith(EXACT) and row.seconds
    ]
    counted = f"{found.flops / 1e9:.3g} GFLOP, at least {limit:.3g} s in float32"
    return [*lines, f"   our task A: {counted}; of that limit reached: {', '.join(shares)}"]


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned cells: first and last column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines: list[str] = []
    for row in rows:
        middle = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("   " + "  ".join([row[0].ljust(widths[0]), *middle, row[-1]]).rstrip())
    return lines


def listed(found: dict[str, str]) -> str:
    """Names and values in one line."""
    return ", ".join(f"{name} {value}" for name, value in found.items())


def as_json(found: Iterable[Any]) -> list[dict[str, Any]]:
    """Tables as JSON's own types."""
    return [asdict(each) for each in found]
