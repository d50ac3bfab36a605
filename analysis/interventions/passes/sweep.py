"""What many conditions change in a model's predictions, fast: the sweep."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.errors import UserError
from analysis.interventions.averages import Averages, Measurement, same
from analysis.interventions.effects import Effects
from analysis.interventions.kinds import Condition, Method, Needs, check
from analysis.interventions.stand_ins import (
    Means,
    Pooling,
    StandIns,
    derangement,
    means,
    read_z,
)
from analysis.models.load import Model
from analysis.progress import Report

from .drawn import draw, drawn_differences
from .layers import layer_calls
from .predictions import Predictions, differences, predictions
from .staircase import Staircase, joining_order, trace

_BESIDE = 8
"""Conditions that a batch has room for, if there are as many: they share the base's predictions."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where stand-ins come from."""

    means: Means | None
    donor_of: Int[np.ndarray, " sequence"] | None
    """Another sequence for each, all of them together a derangement."""

    def stand_ins(
        self, model: Model, ids: Int[np.ndarray, "sequence pos"], rows: slice
    ) -> StandIns:
        """What stands in on some sequences; their donors are read from a pass of their own."""
        donors = None
        if self.donor_of is not None:
            donors = read_z(model, on_device(model, ids[self.donor_of[rows]]))
        return StandIns(means=self.means, donors=donors)


def sweep(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    conditions: Sequence[Condition],
    source: Source,
    measurement: Measurement,
    report: Report,
) -> Effects:
    """Measure what conditions change, each from the first layer that it touches.

    The same numbers as a whole pass for each condition, to the precision of the type: see
    `staircase` for how conditions share layers, and `predictions` for how logits are compared.

    Args:
        model: The model.
        ids: Sequences of one length, without padding.
        conditions: What to replace; one that replaces nothing has effects of exactly 0.
        source: Where stand-ins come from.
        measurement: Scopes, metrics and the size of a batch.
        report: Told how many conditions times sequences are done.

    Returns:
        Effects of the conditions in the order given, in float64; where tokens are drawn, with the
        errors that this leaves.

    Raises:
        UserError: A condition does not fit, a stand-in is missing, or logits are not finite.
    """
    averages = prepared(model, ids, conditions, source, measurement)
    acting = [i for i, c in enumerate(conditions) if c.first_layer < model.card.n_layers]
    acting.sort(key=lambda i: joining_order(conditions[i]))
    idle = set(range(len(conditions))).difference(acting)
    joints = {conditions[i].first_layer for i in acting}
    used, done = in_use(source, conditions), 0
    with torch.inference_mode():
        calls = layer_calls(model, on_device(model, ids[:1]))
        n_beside = min(max(1, len(acting)), _BESIDE, measurement.max_rows)
        for rows in chunks(len(ids), measurement.max_rows // n_beside):
            base = trace(model, on_device(model, ids[rows]), joints)
            for i in idle:
                averages.add(i, rows, same(measurement.metrics, base.hidden))
            done += len(base.hidden) * len(idle)
            stairs = Staircase(model, calls, base, used.stand_ins(model, ids, rows))
            compared = _comparison(stairs, ids, rows, measurement)
            for part in chunks(len(acting), max(1, measurement.max_rows // len(base.hidden))):
                hidden = stairs.hidden_states([conditions[i] for i in acting[part]])
                found = compared(hidden.flatten(1, 2))
                for place, i in enumerate(acting[part]):
                    averages.add(i, rows, _unflattened(found, place, len(base.hidden)))
                done += len(base.hidden) * len(acting[part])
                report(done, len(ids) * len(conditions), "ablations")
    return averages.effects()


def _unflattened(found: dict[str, Tensor], place: int, n_rows: int) -> dict[str, Tensor]:
    """One condition's differences (row, pos)."""
    return {metric: values[place].unflatten(0, (n_rows, -1)) for metric, values in found.items()}


def prepared(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    conditions: Sequence[Condition],
    source: Source,
    measurement: Measurement,
) -> Averages:
    """Check everything that a sweep is asked, and make room for its answer."""
    n_sequences, n_pos = ids.shape
    if ids.size == 0:
        raise UserError(f"expected sequences of tokens, got {n_sequences} of {n_pos}; give some")
    for condition in conditions:
        check(condition.interventions, model.card, n_pos)
    donors = source.donor_of
    if donors is not None:
        places = np.arange(n_sequences)
        if not np.array_equal(np.sort(donors), places) or (donors == places).any():
            raise ValueError(f"expected a derangement of {n_sequences} sequences, got {donors}")
    return Averages(conditions, measurement, (n_sequences, n_pos))


def stand_in_source(
    model: Model,
    methods: Collection[Method],
    reference: Int[np.ndarray, "row pos"],
    pooling: Pooling,
    n_sequences: int,
    seed: int,
) -> Source:
    """Where stand-ins of some methods come from; what none of them needs is not measured.

    Args:
        model: The model.
        methods: What will be applied.
        reference: Token ids that means are taken over.
        pooling: Over what they are taken.
        n_sequences: Sequences that the methods will be applied on.
        seed: Of the derangement that donors are taken by.

    Returns:
        The source.
    """
    needs = {method.needs for method in methods}
    return Source(
        means=means(model, reference, pooling) if Needs.MEANS in needs else None,
        donor_of=derangement(n_sequences, seed) if Needs.DONORS in needs else None,
    )


def methods_of(conditions: Sequence[Condition]) -> set[Method]:
    """The methods of some conditions."""
    return {one.method for condition in conditions for one in condition.interventions}


def in_use(source: Source, conditions: Sequence[Condition]) -> Source:
    """The source without donors that nobody asks for, since they cost a pass."""
    if any(method.needs is Needs.DONORS for method in methods_of(conditions)):
        return source
    return Source(means=source.means, donor_of=None)


def chunks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most a size that cover n things, as even as can be."""
    n_chunks = -(-n // size)
    for i in range(n_chunks):
        yield slice(n * i // n_chunks, n * (i + 1) // n_chunks)


def on_device(model: Model, ids: Int[np.ndarray, "row pos"]) -> Int[Tensor, "row pos"]:
    """Token ids as the model takes them."""
    return torch.from_numpy(ids.astype(np.int64)).to(model.device)


def refuse_unpredictable(bad: np.ndarray, rows: slice) -> None:
    """Name the first sequence on which the base has no predictions, if there is one."""
    if bad.any():
        raise UserError(
            f"expected finite logits of the model as it is, got others on sequence "
            f"{rows.start + int(bad.argmax())}; leave it out, or check the weights"
        )


def _comparison(
    stairs: Staircase, ids: np.ndarray, rows: slice, measurement: Measurement
) -> Callable[[Tensor], dict[str, Tensor]]:
    """What compares hidden states (condition, row and pos, d_model) with the base's."""
    model, base = stairs.model, _base_predictions(stairs, ids, rows)
    if measurement.draws is None:
        return partial(differences, model, base, metrics=measurement.metrics)
    tokens = draw(model, base, measurement.draws.uniform(rows, ids.shape[1]))
    return partial(drawn_differences, model, base, tokens)


def _base_predictions(stairs: Staircase, ids: np.ndarray, rows: slice) -> Predictions:
    """What the base predicts at all positions; the last is followed by nothing that counts."""
    following = on_device(stairs.model, np.roll(ids[rows], -1, axis=1)).flatten()
    found = predictions(stairs.model, stairs.base.hidden.flatten(0, 1), following)
    finite = found.finite.unflatten(0, (rows.stop - rows.start, -1)).all(1)
    refuse_unpredictable(~finite.cpu().numpy(), rows)
    return found
