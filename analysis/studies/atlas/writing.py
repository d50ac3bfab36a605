"""Of the heads that look at the induction target: does copying need what they write?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from analysis.attention import Taps
from analysis.batches import rows_at_once
from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Head,
    Intervention,
    Measurement,
    Method,
    Metrics,
    Pooling,
    stand_in_source,
    sweep,
)
from analysis.interventions.direct import direct_logits
from analysis.models.files.card import ModelCard
from analysis.models.load import Model, check_shares
from analysis.progress import Report
from analysis.questions.halves import EVEN, heads_by_score
from analysis.questions.text_sweep import batch_rows
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import Work, swept, usual_heads
from analysis.text.tokens import Tokens

LOOKS = 0.2
"""Mean attention to the target from which a head counts as looking there."""

COSTS = 0.01
"""Rise of the loss on the second copy, nats per token, from which what one head writes matters."""

RAISES = 0.1
"""The same of what a head itself adds to the logit of the right token beyond the average one, so
that a head counts beside others that would do its work: its odds rise by a tenth."""

MOST = 16
"""Heads that look there whose writing is measured, at most: the strongest."""

MEASURED = 32
"""Sequences that it is measured on, at most."""

METHODS = (Method.ZERO, Method.RESAMPLE)
"""What stands in for what a head writes. Where another head waits to do the same, nothing written
costs nothing; where all rows agree on what is written, another row's costs nothing."""

WITHOUT = {f"second_copy_loss_rise, {method.value}": method for method in METHODS}
"""Scores by name: what the second copy costs more without what a head writes, nats per token."""

DIRECT = "direct_logit"


def written(
    model: Model,
    tokens: Tokens,
    looks: Float[np.ndarray, "sequence layer head"],
    block_len: int,
    seed: int,
    report: Report,
) -> dict[str, Float[np.ndarray, "sequence layer head"]]:
    """Measure what the heads that look at the target write.

    Args:
        model: The model.
        tokens: `BOS, s, s`.
        looks: Induction scores.
        block_len: Tokens in a block, L.
        seed: Of the donors.
        report: Told how many heads times sequences are done.

    Returns:
        Scores by name, those of `WITHOUT` and `DIRECT`; NaN of all other heads, and of sequences
        beyond `MEASURED`. None where no head looks there; the last not where no share of what
        heads write arrives at the final norm.
    """
    heads = _looking(looks)
    if not heads:
        return {}
    n_rows = min(MEASURED, len(looks))
    ids, found = tokens.ids[:n_rows], dict[str, np.ndarray]()
    conditions = [_without(method, head) for method in METHODS for head in heads]
    behind = np.zeros(ids.shape, dtype=bool)
    behind[:, -block_len:] = True
    effects = sweep(
        model,
        ids,
        conditions,
        stand_in_source(model, METHODS, ids, Pooling.PER_POSITION, n_rows, seed),
        Measurement(
            scopes={"second copy": behind},
            metrics=Metrics.LEAN,
            max_rows=batch_rows(ids.shape[1], model.device.type),
        ),
        report,
    ).values["loss_change"][:, 0]
    for i, name in enumerate(WITHOUT):
        part = effects[i * len(heads) : (i + 1) * len(heads)]
        found[name] = _scattered(part, heads, looks.shape)
    try:
        check_shares(model)
    except UserError:
        return found
    added = _direct(model, ids, block_len)
    own = np.stack([added[:, head.layer, head.head] for head in heads])
    return {**found, DIRECT: _scattered(own, heads, looks.shape)}


def written_work(card: ModelCard, tokens: Tokens) -> Work:
    """What `written` runs where a usual number of heads look at the target.

    Args:
        card: The model.
        tokens: `BOS, s, s`.
    """
    n_rows, n_pos = min(MEASURED, len(tokens.ids)), tokens.ids.shape[1]
    heads = usual_heads(card, min(MOST, max(4, sum(card.heads_by_layer) // 16)))
    conditions = [_without(method, head) for method in METHODS for head in heads]
    direct = Work(layers=n_rows * n_pos * card.n_layers)
    return direct + swept(conditions, card, (n_rows, n_pos), Metrics.LEAN)


def copying_heads(induction: Evidence) -> list[Head]:
    """The heads that look at the target and write what copying uses, on the even sequences.

    Args:
        induction: Answer of `InductionScores`.

    Returns:
        Those of `looking_heads` of which `COSTS` or `RAISES` holds: by attention, to two decimals;
        those that are equal there, by what they add to the right token and then by what the
        second copy costs without them.
    """
    looking, effects = looking_heads(induction), _effects(induction)
    found = [head for head in looking if head in effects and _matters(effects[head])]

    def strength(head: Head) -> tuple[float, ...]:
        raised = effects[head].get(DIRECT, 0.0)
        return round(looking[head], 2), raised, max(effects[head][name] for name in WITHOUT)

    return sorted(found, key=strength, reverse=True)


def decoys(induction: Evidence) -> list[Head]:
    """The heads that look at the target and write nothing that copying uses.

    Args:
        induction: Answer of `InductionScores`.

    Returns:
        Those of `looking_heads` that were measured and of which neither `COSTS` nor `RAISES` holds
        on the even sequences, in the order of the model.
    """
    looking, effects = looking_heads(induction), _effects(induction)
    return sorted(head for head in looking if head in effects and not _matters(effects[head]))


def looking_heads(induction: Evidence) -> dict[Head, float]:
    """Heads whose induction score on the even sequences is above `LOOKS`, the strongest first."""
    every = heads_by_score(induction["head_scores"], "induction", "repeated")
    return {head: mean for head, mean in every if mean > LOOKS}


def _effects(induction: Evidence) -> dict[Head, dict[str, float]]:
    """What heads that look at the target do, by score, on the even sequences."""
    scores = [*WITHOUT, DIRECT]
    rows = induction["head_scores"].filter(EVEN, pl.col("score").is_in(scores), data="repeated")
    means = rows.group_by("layer", "head", "score").agg(pl.col("value").mean())
    found: dict[Head, dict[str, float]] = {}
    for layer, head, score, value in means.rows():
        found.setdefault(Head(layer, head), {})[score] = value
    return found


def _matters(effects: dict[str, float]) -> bool:
    costs = max(effects[name] for name in WITHOUT)
    return costs >= COSTS or effects.get(DIRECT, 0.0) >= RAISES


def _looking(looks: Float[np.ndarray, "sequence layer head"]) -> list[Head]:
    """The strongest heads that look at the target on the even sequences."""
    means = looks[::2].mean(0)
    order = np.argsort(-means, axis=None, kind="stable")[:MOST]
    places = zip(*np.unravel_index(order, means.shape), strict=True)
    return [Head(int(i), int(k)) for i, k in places if means[i, k] > LOOKS]


def _without(method: Method, head: Head) -> Condition:
    one = Intervention(method=method, heads=(head,), positions=None)
    return Condition(name=f"{method.value} {head}", family="single", interventions=(one,))


def _scattered(
    values: Float[np.ndarray, "chosen row"], heads: Sequence[Head], shape: tuple[int, ...]
) -> Float[np.ndarray, "sequence layer head"]:
    """Values of some heads on the first sequences, among those of all."""
    found = np.full(shape, np.nan)
    for head, own in zip(heads, values, strict=True):
        found[: len(own), head.layer, head.head] = own
    return found


def _direct(
    model: Model, ids: np.ndarray, block_len: int
) -> Float[np.ndarray, "sequence layer head"]:
    step, parts = rows_at_once(4_096, ids.shape[1]), list[np.ndarray]()
    for start in range(0, len(ids), step):
        rows = torch.from_numpy(ids[start : start + step].astype(np.int64)).to(model.device)
        with torch.inference_mode():
            parts.append(direct_logits(model, rows, block_len, Taps()).double().cpu().numpy())
    return np.concatenate(parts)
