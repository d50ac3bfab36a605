"""How the cost of our task A grows when heads, layers, tokens or conditions double."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from analysis.interventions.sweep import Report
from analysis.models.load import Model

from .counts import sweep_flops
from .models import SIZES, Size, random_model
from .report import columns
from .tasks import Task, Work, our_sweep, sampled_heads, tokens
from .timing import timed

FACTORS = (1, 2, 4)
SHAPE = (2, 64)
"""Sequences and tokens, before any of them is doubled."""


@dataclass(frozen=True)
class Growth:
    """One quantity, doubled twice; the others stay as they are."""

    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    """Medians."""
    flops: tuple[int, ...]

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


def growth_by_axis(device: str, repeats: int, report: Report) -> Iterator[Growth]:
    """Measure how the cost grows from the small model's size on, one quantity at a time.

    Heads share the model's width, so more heads are narrower ones, and more conditions; more
    conditions alone are more heads of the same model, as many in every layer.

    Args:
        device: Where to compute.
        repeats: Laps of each size.
        report: Told the progress.

    Yields:
        One quantity after the other.
    """
    start = _Point(SIZES["small"], SHAPE[1], None)
    for done, (axis, (grown, quantity)) in enumerate(_AXES.items()):
        points = [grown(start, factor) for factor in FACTORS]
        measured: list[tuple[float, int]] = []
        for place, point in enumerate(points):
            report(len(FACTORS) * done + place, len(FACTORS) * len(_AXES), axis)
            measured.append(_measured(point, device, repeats))
        costs = zip(*measured, strict=True)
        yield Growth(axis, tuple(quantity(point) for point in points), *map(tuple, costs))


def _measured(point: _Point, device: str, repeats: int) -> tuple[float, int]:
    """Median seconds, and counted operations."""
    model: Model = random_model(point.size, device)
    each, n_layers = point.heads_a_layer, point.size.n_layers
    work = Work(
        ids=tokens(Task.A, model.card, (SHAPE[0], point.n_tokens)),
        heads=sampled_heads(model.card, None if each is None else each * n_layers),
        scale=1.0,
        batch=SHAPE[0],
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
    start = f"{SIZES['small']}, {SHAPE[0]} x {SHAPE[1]} tokens"
    title = f"Growth of our task A from small on ({start}), one quantity at a time"
    return "\n".join([title, "", *columns(rows)])
