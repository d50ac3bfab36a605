"""From differences at positions to effects: means over scopes, in float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.errors import UserError
from analysis.interventions.passes.drawn import EXACT, VARIANCE, Draws
from analysis.interventions.passes.predictions import Metrics

from .effects import EXACT_SHARE, KL_ERROR, Effects
from .kinds import Condition

_AUTOMATIC = ("at", "after")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is measured of every condition, and how."""

    scopes: Mapping[str, Bool[np.ndarray, "sequence pos"]]
    """Positions to average over, by name. Conditions with positions also get `at`, those, and
    `after`, all behind the first of them."""
    metrics: Metrics
    max_rows: int
    """Sequences times conditions in one batch, which bounds memory."""
    draws: Draws | None = None
    """How tokens are drawn to estimate `Metrics.DRAWN`; None to compare all of them."""

    def __post_init__(self) -> None:
        if self.draws is not None and self.metrics is not Metrics.DRAWN:
            raise ValueError(f"expected {Metrics.DRAWN} of drawn tokens, got {self.metrics}")
        if self.max_rows < 1:
            raise ValueError(f"expected room for at least 1 row, got {self.max_rows}")
        if taken := set(_AUTOMATIC).intersection(self.scopes):
            raise ValueError(f"expected other scopes than the automatic ones, got {sorted(taken)}")


class Averages:
    """Means of differences, chunk by chunk.

    Position p predicts token p + 1; the last position has no loss and is left out of its means.
    """

    def __init__(
        self, conditions: Sequence[Condition], measurement: Measurement, shape: tuple[int, int]
    ) -> None:
        self._conditions = tuple(conditions)
        self._given = measurement.scopes
        self._shape = shape
        for name, mask in self._given.items():
            if mask.shape != shape:
                raise ValueError(f"expected a scope {name} of shape {shape}, got {mask.shape}")
        automatic = _AUTOMATIC if any(_positions(c) for c in conditions) else ()
        self._scopes = (*self._given, *automatic)
        self._values = {
            metric: np.full((len(conditions), len(self._scopes), shape[0]), np.nan)
            for metric in self._names(measurement)
        }

    @staticmethod
    def _names(measurement: Measurement) -> tuple[str, ...]:
        """What is averaged: metrics, and what tells of draws."""
        drawing = () if measurement.draws is None else (VARIANCE, EXACT)
        return (*measurement.metrics.value, *drawing)

    def add(self, index: int, rows: slice, differences: Mapping[str, Tensor]) -> None:
        """Average one condition's differences on some sequences.

        Args:
            index: Which condition.
            rows: Which sequences.
            differences: Values (sequence, pos) by metric.

        Raises:
            UserError: One is not a number: the ablated model has no predictions.
        """
        masks = self._masks(self._conditions[index], rows)
        for metric, all_values in self._values.items():
            values = differences[metric].double().cpu().numpy()
            bad = ~np.isfinite(values).all(1)
            if bad.any():
                raise UserError(
                    f"expected finite logits, got others under {self._conditions[index].name} on "
                    f"sequence {rows.start + int(bad.argmax())}; ablate less, or leave it out"
                )
            n_pos = values.shape[1] - (metric == "loss_change")
            inside = masks[:, :, :n_pos]
            totals = (inside * values[:, :n_pos]).sum(-1)
            counts = inside.sum(-1)
            means = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
            all_values[index][:, rows] = means

    def effects(self) -> Effects:
        """What was measured so far."""
        values = dict(self._values)
        if VARIANCE not in values:
            return Effects(self._conditions, self._scopes, values)
        drawing = {
            KL_ERROR: np.sqrt(values.pop(VARIANCE) / self._counts()),
            EXACT_SHARE: values.pop(EXACT),
        }
        return Effects(self._conditions, self._scopes, values, drawing)

    def _counts(self) -> Float[np.ndarray, "condition scope sequence"]:
        """Positions that are averaged over; NaN for none."""
        every = slice(0, self._shape[0])
        each = [self._masks(one, every).sum(-1) for one in self._conditions]
        counts = np.array(each).reshape(self._values[VARIANCE].shape)
        return np.where(counts > 0, counts, np.nan)

    def _masks(self, condition: Condition, rows: slice) -> Bool[np.ndarray, "scope row pos"]:
        shape = (len(self._scopes), rows.stop - rows.start, self._shape[1])
        masks = np.zeros(shape, dtype=bool)
        for mask, given in zip(masks, self._given.values(), strict=False):
            mask[:] = given[rows]
        positions = _positions(condition)
        if positions:
            masks[-2, :, positions] = True
            masks[-1, :, min(positions) + 1 :] = True
        return masks


def same(metrics: Metrics, like: Float[Tensor, "row pos d_model"]) -> dict[str, Tensor]:
    """The differences of a condition that replaces nothing, which are known exactly."""
    nothing = like.new_zeros(like.shape[:2])
    return {**dict.fromkeys((*metrics.value, VARIANCE), nothing), EXACT: torch.ones_like(nothing)}


def _positions(condition: Condition) -> list[int]:
    """Where a condition acts, if it says so."""
    named = [one.positions for one in condition.interventions if one.positions is not None]
    return sorted({position for positions in named for position in positions})
