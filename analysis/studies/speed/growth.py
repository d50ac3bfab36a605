"""How the cost of our task A grows when heads, layers, tokens or conditions double."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import polars as pl

from analysis.models.load import Model
from analysis.progress import Report
from analysis.studies.speed.contenders.counts import sweep_flops
from analysis.studies.speed.contenders.models import SIZES, SMALL, Size, random_model
from analysis.studies.speed.contenders.tasks import Task, Work, our_sweep, sampled_heads, tokens
from analysis.studies.speed.contenders.timing import timed

from .report import columns

FACTORS = (1, 2, 4)
SHAPE = (2, 64)
"""Sequences and tokens that the command line starts from."""


@dataclass(frozen=True)
class Growth:
    """One quantity, doubled twice; the others stay as they are."""

    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    """Medians."""
    flops: tuple[int, ...]

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Growth":
        """From the rows of `cost_growth` of one run."""
        columns = rows.sort("size").to_dict(as_series=False)
        sizes, seconds, flops = (tuple(columns[name]) for name in ("size", "seconds", "flops"))
        return cls(rows["axis"][0], sizes, seconds, flops)

    @property
    def exponents(self) -> tuple[float, float]:
        """Of seconds and of operations: slopes of least squares between logarithms."""
        return exponent(self.sizes, self.seconds), exponent(
            self.sizes, tuple(map(float, self.flops))
        )


@dataclass(frozen=True)
class _Point:
    size: Size
    n_tokens: int
    heads_a_layer: int | None
    """None for all."""


_AXES: dict[str, tuple[Callable[[_Point, int], _Point], Callable[[_Point], int]]] = {
    "heads in a layer": (
        lambda at, by: replace(at, size=replace(at.size, n_heads=by * at.size.n_heads)),
        lambda at: at.size.n_heads,
    ),
    "layers": (
        lambda at, by: replace(at, size=replace(at.size, n_layers=by * at.size.n_layers)),
        lambda at: at.size.n_layers,
    ),
    "tokens": (
        lambda at, by: replace(at, n_tokens=by * at.n_tokens),
        lambda at: at.n_tokens,
    ),
    "conditions": (
        lambda at, by: replace(at, heads_a_layer=by),
        lambda at: (at.heads_a_layer or 0) * at.size.n_layers,
    ),
}
"""By name: what multiplies a quantity, and the quantity."""

AXES = tuple(_AXES)
"""Names of the quantities.

Heads share the model's width, so more heads are narrower ones, and more conditions; more conditions
alone are more heads of the same model, as many in every layer.
"""


def exponent(sizes: tuple[int, ...], costs: tuple[float, ...]) -> float:
    """The power p of the law cost ~ size^p that fits best, by least squares of logarithms.

    Args:
        sizes: At least two different ones.
        costs: What each needs.

    Returns:
        The power.
    """
    slope, _ = np.polyfit(np.log(sizes), np.log(costs), 1)
    return float(slope)


def growth_along(
    axis: str, shape: tuple[int, int], device: str, repeats: int, report: Report
) -> Growth:
    """Measure how the cost grows from the small model's size on, along one quantity.

    Args:
        axis: One of `AXES`.
        shape: Sequences, and tokens in each, before they are doubled.
        device: Where to compute.
        repeats: Laps of each size.
        report: Told the progress.

    Returns:
        Costs by size.
    """
    grown, quantity = _AXES[axis]
    points = [grown(_Point(SIZES[SMALL], shape[1], None), factor) for factor in FACTORS]
    measured: list[tuple[float, int]] = []
    for place, point in enumerate(points):
        report(place, len(points), axis)
        measured.append(_measured(point, shape[0], device, repeats))
    costs = zip(*measured, strict=True)
    return Growth(axis, tuple(quantity(point) for point in points), *map(tuple, costs))


def _measured(point: _Point, n_sequences: int, device: str, repeats: int) -> tuple[float, int]:
    """Median seconds, and counted operations."""
    model: Model = random_model(point.size, device)
    each, n_layers = point.heads_a_layer, point.size.n_layers
    work = Work(
        ids=tokens(Task.A, model.card, (n_sequences, point.n_tokens)),
        heads=sampled_heads(model.card, None if each is None else each * n_layers),
        scale=1.0,
        batch=n_sequences,
    )
    flops, run = sweep_flops(model, work), our_sweep(model)
    laps = [timed(lambda: run(work), model.device)[1].seconds for _ in range(repeats)]
    return median(laps), flops


def growth_text(found: list[Growth]) -> str:
    """The growth of everything as a table for a terminal."""
    rows = [("", "sizes", "seconds", "GFLOP", "exponent of seconds", "of GFLOP", "")]
    for each in found:
        by_time, by_flops = each.exponents
        rows.append(
            (
                each.axis,
                " ".join(map(str, each.sizes)),
                " ".join(f"{s:.2g}" for s in each.seconds),
                " ".join(f"{f / 1e9:.3g}" for f in each.flops),
                f"{by_time:.2f}",
                f"{by_flops:.2f}",
                "",
            )
        )
    start = f"{SIZES[SMALL]}, {SHAPE[0]} x {SHAPE[1]} tokens"
    title = f"Growth of our task A from small on ({start}), one quantity at a time"
    return "\n".join([title, "", *columns(rows)])
