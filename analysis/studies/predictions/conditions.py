"""What a prediction table does to a model that predicts after position t."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.interventions import Condition, Head, Intervention, Method
from analysis.interventions.heads import heads_of
from analysis.models.files.card import ModelCard

from .measures import TARGET


@dataclass(frozen=True, kw_only=True)
class TableCondition:
    """One row of a prediction table."""

    condition: Condition
    baseline: str
    """The condition that it is compared with."""
    where: str
    """Its positions as they are the same on every prompt, such as `t-1`."""


def table_conditions(head: Head, t: int, card: ModelCard) -> tuple[TableCondition, ...]:
    """What is done to a model that predicts after position t.

    Args:
        head: The head in question; its layer is that of the layer's conditions.
        t: The last position.
        card: The model.

    Returns:
        The target first; conditions on positions that t does not have before it are left out.
    """
    layer = tuple(Head(head.layer, other) for other in range(card.heads_by_layer[head.layer]))
    every = heads_of(card)
    before, name = tuple(range(t)), f"layer {head.layer}"
    asked = (
        (f"zero {head} at t", Method.ZERO, (head,), (t,), "t"),
        (f"values t-1, {name}", Method.ZERO_VALUE, layer, (t - 1,), "t-1"),
        (f"values t-1, {head}", Method.ZERO_VALUE, (head,), (t - 1,), "t-1"),
        (f"values t-1 and t-2, {name}", Method.ZERO_VALUE, layer, (t - 1, t - 2), "t-1,t-2"),
        (f"values before t, {name}", Method.ZERO_VALUE, layer, before, "before t"),
        ("values before t, all layers", Method.ZERO_VALUE, every, before, "before t"),
    )
    found = [_named(TARGET, (), "none")]
    for title, method, heads, positions, where in asked:
        if positions and min(positions) >= 0:
            one = Intervention(method=method, heads=heads, positions=positions)
            found.append(_named(title, (one,), where))
    return tuple(found)


def _named(name: str, done: tuple[Intervention, ...], where: str) -> TableCondition:
    condition = Condition(name=name, family="prediction table", interventions=done)
    return TableCondition(condition=condition, baseline=TARGET, where=where)
