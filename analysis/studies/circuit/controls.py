"""Random sets beside the induction heads, without those that copying needs for another reason."""

import numpy as np

from analysis.interventions import Head
from analysis.questions.verdicts.head_sets import can_judge, upstream_heads
from analysis.questions.verdicts.judgement import Evidence

from .heads import CircuitHeads

COPYING = 0.5
"""Rise of the loss on the second copy, nats per token, from which copying needs some heads."""


def upstream_of_copying(necessity: Evidence, heads: CircuitHeads) -> tuple[Head, ...]:
    """Heads below the induction heads of which each alone costs copying as much as these have to.

    Args:
        necessity: Answer of `CircuitNecessity`.
        heads: Those of the circuit, of which none counts.

    Returns:
        The heads.
    """
    alone = necessity["ablations"].filter(family="below").select("heads", "condition").rows()
    costs = {Head.parse(h): float(loss_changes(necessity, name).mean()) for h, name in alone}
    return upstream_heads(costs, heads.copiers, COPYING)


def control_sets(
    necessity: Evidence, heads: CircuitHeads
) -> dict[tuple[str, frozenset[str]], np.ndarray]:
    """Rises of the loss on the second copy without random sets, by sequence.

    Args:
        necessity: Answer of `CircuitNecessity`.
        heads: Those of the circuit.

    Returns:
        By family and heads: layer-matched sets if there are enough of them for a verdict; else
        sets drawn among all heads outside the circuit without any upstream one.
    """
    above = set(map(str, upstream_of_copying(necessity, heads)))
    families: dict[str, dict[tuple[str, frozenset[str]], np.ndarray]] = {}
    for family in ("layer_matched_set", "random_set"):
        rows = necessity["ablations"].filter(family=family).select("heads", "condition").rows()
        sets = {frozenset(names.split(",")): condition for names, condition in rows}
        families[family] = {
            (family, names): loss_changes(necessity, condition)
            for names, condition in sets.items()
            if not names & above
        }
    matched, random = families.values()
    return matched if can_judge(len(matched)) or len(matched) >= len(random) else random


def loss_changes(answer: Evidence, condition: str) -> np.ndarray:
    """Changes of the loss on the second copy, by sequence."""
    rows = answer["ablation_effects"].filter(condition=condition, scope="second copy")
    return rows.sort("sequence")["loss_change"].to_numpy()
