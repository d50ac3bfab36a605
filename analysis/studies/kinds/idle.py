"""Heads on which no prediction depends, whichever way they are replaced."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from analysis.interventions import Head
from analysis.interventions.heads import every_name
from analysis.questions.verdicts.judgement import Bar, Judgement, Statement
from analysis.questions.verdicts.variants import turned

IDLE = 1e-6
"""KL(base || ablated) below which a prediction is the same, nats: what rounding may change."""


def idle_heads(
    effects: Mapping[str, Float[np.ndarray, "sequence head"]], names: Sequence[str]
) -> list[Head]:
    """Heads whose KL is below `IDLE` under every kind, on the even sequences.

    Args:
        effects: KL(base || ablated) of single heads, by kind of ablation.
        names: Of the heads, in their order.

    Returns:
        The heads, in the same order.
    """
    most = np.max([values[::2].mean(0) for values in effects.values()], axis=0)
    return [Head.parse(name) for name, kl in zip(names, most, strict=True) if kl < IDLE]


def idle_claim(
    judge: Judgement,
    effects: Mapping[str, Float[np.ndarray, "sequence head"]],
    names: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """A row of `claims` on the heads on which nothing depends; none where there are no such heads.

    Args:
        judge: Whose claim it is.
        effects: As `idle_heads` takes them.
        names: Of the heads, in their order.
    """
    idle = idle_heads(effects, names)
    if not idle or len(idle) == len(names):
        return
    places = [names.index(str(head)) for head in idle]
    kinds = ", ".join(f"`{kind}`" for kind in effects)
    largest = np.max([values[1::2, places].max(1) for values in effects.values()], axis=0)
    first = int(effects["zero"][::2].mean(0).argmax())
    said = Statement(
        claim="idle_heads",
        statement=f"On {len(idle)} of {len(names)} heads no prediction on this text depends: each "
        f"alone writes nothing that is used, whatever stands in for it ({every_name(idle)})",
        statistic="KL(base || ablated), nats, odd sequences, the largest of these heads under "
        f"{kinds}",
    )
    control = -effects["zero"][1::2, first]
    bar = Bar(threshold=-IDLE, control=control, control_name=f"{names[first]} zeroed")
    yield turned(judge.judged(said, -largest, bar))
