"""From laps to tables: plain text for a terminal, and one JSON object."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .race import EXACT, Entry, Errors, Race, errors, seconds
from .tasks import Task, Work

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
    rows: tuple[Row, ...]
    rates: dict[str, float]
    """Operations a second of a matrix product, by type."""
    flops: int | None
    """Of our task A, all heads."""


def table(task: Task, named: tuple[str, str], work: Work, found: Race, flops: int | None) -> Table:
    """Put a race's numbers in a table.

    Args:
        task: What was raced.
        named: Name and sizes of the model.
        work: The question.
        found: What was measured.
        flops: Operations of our task A; None for S.

    Returns:
        The table, ours in float32 first.
    """
    ours = found.entries[0]
    assert ours.contender.name == EXACT
    kl = ours.answer.get("kl_base_ablated")
    return Table(
        task=task.name,
        model=named[0],
        sizes=named[1],
        n_sequences=work.ids.shape[0],
        n_tokens=work.ids.shape[1],
        n_heads=(len(work.heads), round(work.scale * len(work.heads))),
        batch=work.batch,
        effects=None if kl is None else (float(kl.min()), float(kl.max())),
        rows=tuple(_row(task, entry, ours, work.scale) for entry in found.entries),
        rates=found.rates,
        flops=flops,
    )


def _row(task: Task, entry: Entry, ours: Entry, scale: float) -> Row:
    name = entry.contender.name
    if entry.run is None:
        return Row(name, (), None, None, None, None, entry.reason)
    took = tuple(seconds(entry, scale))
    extra = [lap.extra_bytes for lap in entry.laps if lap.extra_bytes is not None]
    error = None if entry is ours else errors(task, entry, ours.answer)
    preview = entry.contender.preview
    agrees = None if error is None or preview else error.largest <= task.tolerance
    note = ""
    if error is not None and agrees is False:
        note = f"DIFFERS by more than {task.tolerance:g}"
    elif error is not None and preview:
        note = _preview(error)
    return Row(
        name=name,
        seconds=took,
        ratio=median(took) / median(seconds(ours, scale)),
        extra_bytes=max(extra, default=None),
        error=error,
        agrees=agrees,
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
        lines.append(f"   KL of a head: {low:.2g} to {high:.2g} nats; differences are those of KL")
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
