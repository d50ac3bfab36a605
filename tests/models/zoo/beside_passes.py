"""What is measured by passes, beside whole passes and stock models: effects, paths, gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from analysis.interventions import (
    NOTHING,
    Condition,
    Head,
    Intervention,
    Method,
    Pooling,
    derangement,
    means,
    taps,
)
from analysis.interventions.averages import Measurement
from analysis.interventions.passes.endings import endings, opening
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.predictions import Metrics
from analysis.interventions.passes.staircase import Staircase, joining_order, trace
from analysis.interventions.passes.sweep import Source, sweep
from analysis.interventions.passes.tails import tails
from analysis.interventions.passes.tapping import Block, block_taps
from analysis.models.load import hidden_states
from analysis.models.parts.look import off
from analysis.studies.circuit.passes import Start
from tests.interventions.slow_sweep import slow_sweep

from .beside_stock import N_POS, Check, Gaps, Pair, logits_of, tokens

BEGIN = 8
"""Where tails begin."""
_ALONE = (Method.ZERO, Method.ZERO_VALUE, Method.MASK_KEY, Method.UNIFORM)
"""Methods that need no stand-ins."""


def silent(*_: object) -> None:
    """A report to nobody."""


def conditions_of(pair: Pair, methods: Sequence[Method]) -> list[Condition]:
    """Heads of the first, a middle and the last layer that attends, everywhere and at places."""
    by_layer, attend = pair.model.card.heads_by_layer, pair.attending
    low, middle, high = attend[0], attend[len(attend) // 2], attend[-1]
    places: list[tuple[dict[Head, None], tuple[int, ...] | None]] = [
        (dict.fromkeys([Head(low, by_layer[low] - 1)]), None),
        (dict.fromkeys([Head(high, by_layer[high] // 2)]), None),
        (dict.fromkeys([Head(high, 0)]), (3,)),
        (dict.fromkeys([Head(low, 0), Head(middle, by_layer[middle] - 1), Head(high, 0)]), (2, 5)),
    ]
    return [
        _condition(f"{method.value} {' '.join(map(str, heads))} {positions}", each)
        for method in methods
        for heads, positions in places
        for each in [Intervention(method=method, heads=tuple(heads), positions=positions)]
    ]


def _condition(name: str, *interventions: Intervention) -> Condition:
    return Condition(name=name, family="zoo", interventions=interventions)


def _mixed(pair: Pair) -> Condition:
    low, high = pair.attending[0], pair.attending[-1]
    last = pair.model.card.heads_by_layer[high] - 1
    return _condition(
        "mixed",
        Intervention(method=Method.ZERO, heads=(Head(low, 0),), positions=(1, 6)),
        Intervention(method=Method.RESAMPLE, heads=(Head(high, 0),), positions=(4,)),
        Intervention(method=Method.MASK_KEY, heads=(Head(high, last),), positions=(0, 2)),
    )


def _swept(pair: Pair, every: Sequence[Condition], metrics: Metrics, pooling: Pooling) -> Gaps:
    ids = tokens(N_POS, 4).numpy().astype(np.int32)
    source = Source(means=means(pair.model, ids, pooling), donor_of=derangement(4, 0))
    everywhere = {"all": np.ones(ids.shape, bool)}
    max_rows = 9 if metrics is Metrics.FULL else 100
    asked = Measurement(scopes=everywhere, metrics=metrics, max_rows=max_rows)
    given = (pair.model, ids, every, source, asked, silent)
    fast, slow = sweep(*given), slow_sweep(*given)
    found: Gaps = {}
    for metric, expected in slow.values.items():
        if metric == "top1_changed":  # of two tokens alike, either may be first
            continue
        gaps = np.nan_to_num(np.abs(fast.values[metric] - expected)).reshape(len(every), -1).max(1)
        size = max(1.0, float(np.nanmax(np.abs(expected))))
        found[f"{metric} of {every[gaps.argmax()].name}"] = float(gaps.max()) / size
    return found


def swept(pair: Pair) -> Gaps:
    """The sweep measures what whole passes do, all metrics."""
    every = [_condition("nothing"), _mixed(pair), *conditions_of(pair, tuple(Method))]
    return _swept(pair, every, Metrics.FULL, Pooling.PER_POSITION)


def swept_lean(pair: Pair) -> Gaps:
    """The same with the metrics of profiles, in larger batches."""
    every = conditions_of(pair, tuple(Method))[::3]
    return _swept(pair, every, Metrics.LEAN, Pooling.POOLED)


def _whole(pair: Pair, every: Sequence[Condition]) -> Float[Tensor, "condition row pos d_model"]:
    """One whole pass for all conditions, each in its own rows."""
    n = len(pair.ids)
    blocks = [
        Block(slice(i * n, (i + 1) * n), one.interventions, slice(0, n))
        for i, one in enumerate(every)
    ]
    with torch.no_grad():
        rows = pair.ids.repeat(len(every), 1)
        hidden = hidden_states(pair.model, rows, block_taps(blocks, NOTHING))
    return hidden.unflatten(0, (len(every), n))


def ends(pair: Pair) -> Gaps:
    """From the first touched position on, the last one comes to what whole passes give."""
    found: Gaps = {}
    every = [c for c in conditions_of(pair, _ALONE) if c.interventions[0].positions]
    for some in (every[::2], every[1::2]):
        answers = endings(opening(pair.model, pair.ids), some, NOTHING).hidden
        for condition, answer, whole in zip(some, answers, _whole(pair, some), strict=True):
            found[condition.name] = off(answer, whole[:, -1])
    return found


def last_positions(pair: Pair) -> Gaps:
    """So do the last positions on top of a staircase."""
    every = sorted(conditions_of(pair, _ALONE), key=joining_order)
    joints = {c.first_layer for c in every} | {len(pair.model.layers) - 1}
    with torch.inference_mode():
        calls = layer_calls(pair.model, pair.ids[:1])
        base = trace(pair.model, pair.ids, joints)
        answers = tails(Staircase(pair.model, calls, base, NOTHING), every, BEGIN)
    return {
        condition.name: off(answer, whole[:, BEGIN:])
        for condition, answer, whole in zip(every, answers, _whole(pair, every), strict=True)
    }


def readings(pair: Pair) -> Gaps:
    """Passes of the circuit that begin at a layer have the losses of whole passes."""
    model, found = pair.model, Gaps()
    with torch.inference_mode():
        calls = layer_calls(model, pair.ids[:1])
        base = trace(model, pair.ids, range(len(model.layers)))
        start = Start(model, calls, pair.ids, base, 1)
        for layer in pair.attending:
            one = Intervention(method=Method.ZERO, heads=(Head(layer, 0),), positions=None)
            tapped = taps([one], NOTHING, len(pair.ids))
            got = start.reading(layer, tapped, [Head(pair.attending[-1], 0)]).losses
            expected = losses(logits_of(model.net, pair.ids, taps=tapped), pair.ids)
            found[f"layer {layer}"] = off(got, expected)
    return found


def losses(logits: Tensor, ids: Tensor) -> Float[Tensor, "row pos"]:
    """Next-token losses."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")


CHECKS: Mapping[str, Check] = {
    check.__name__: check for check in (swept, swept_lean, ends, last_positions, readings)
}
