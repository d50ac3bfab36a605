"""Recall by lag under many conditions: what a model predicts where a list is shown again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.interventions import Condition, Source
from analysis.interventions.passes.readings import readings
from analysis.interventions.passes.sweep import refuse_unpredictable
from analysis.models.load import Model, unembed
from analysis.progress import Report
from analysis.questions.text_sweep import batch_rows
from analysis.scores.lags import by_lag, by_slot, item_log_probabilities, recall_measures
from analysis.text.lists import Lists

_LOGITS_AT_ONCE = 2**24
"""Logits that exist together: 64 MiB in float32."""


@dataclass(frozen=True, kw_only=True)
class Recall:
    """What was read under each condition, averaged over the queries of a sequence."""

    p: Float[np.ndarray, "condition sequence lag"]
    """Lags from -(n - 1) to n - 1; NaN where the sequence has no item there."""
    log_odds: Float[np.ndarray, "condition sequence lag"]
    """Means of log p / (1 - p), in nats."""
    alone: Float[np.ndarray, "condition sequence slot"]
    """p of every slot, of queries at least two slots away."""
    measures: Mapping[str, Float[np.ndarray, "condition sequence"]]
    """What `recall_measures` names."""
    slots: Int[np.ndarray, "sequence query"]
    """The slot of the item that each query shows again."""


def recall(
    model: Model,
    lists: Lists,
    conditions: Sequence[Condition],
    source: Source,
    report: Report,
) -> Recall:
    """Read every item's probability by its lag, under every condition.

    Args:
        model: The model.
        lists: Permutations that are shown again.
        conditions: What to replace; one that replaces nothing leaves the model as it is.
        source: Where stand-ins come from.
        report: Told how many conditions times permutations are done.

    Returns:
        What was read, conditions in the order given.

    Raises:
        UserError: A condition does not fit, a stand-in is missing, or logits are not finite.
    """
    n_sequences, n_pos = lists.tokens.ids.shape
    items = torch.from_numpy(lists.items).to(model.device)
    max_rows, done = batch_rows(n_pos, model.device.type), 0
    total = len(conditions) * n_sequences
    found: list[dict[str, list[np.ndarray]]] = [{} for _ in conditions]
    with torch.inference_mode():
        for i, rows, hidden in readings(model, lists.tokens.ids, conditions, source, max_rows):
            read = _read(model, hidden[:, list(lists.tokens.targets)], items[rows])
            log_p, log_odds = (part.double().cpu().numpy() for part in read)
            refuse_unpredictable(np.asarray(~np.isfinite(log_p).all((1, 2))), rows)
            for name, values in _averages(log_p, log_odds, lists.slots[rows]).items():
                found[i].setdefault(name, []).append(values)
            done += rows.stop - rows.start
            report(done, total, "lists")
    whole = {name: np.stack([np.concatenate(one[name]) for one in found]) for name in found[0]}
    p, odds, alone = (whole.pop(name) for name in ("p", "odds", "alone"))
    return Recall(p=p, log_odds=odds, alone=alone, measures=whole, slots=lists.slots)


def _averages(log_p: np.ndarray, log_odds: np.ndarray, slots: np.ndarray) -> dict[str, np.ndarray]:
    """Profiles and measures of some sequences, by name; the sequence is the first axis."""
    p = np.exp(log_p)
    profiles = {"p": by_lag(p, slots), "odds": by_lag(log_odds, slots), "alone": by_slot(p, slots)}
    return {**profiles, **recall_measures(log_p, log_odds, slots)}


def _read(model: Model, hidden: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Log p and log odds (row, query, slot) of each row's items, a few rows at a time."""
    step = max(1, _LOGITS_AT_ONCE // (hidden.shape[1] * model.card.vocab))
    parts = [
        item_log_probabilities(unembed(model, hidden[at : at + step]), items[at : at + step])
        for at in range(0, len(hidden), step)
    ]
    log_p, log_odds = (torch.cat(part) for part in zip(*parts, strict=True))
    return log_p, log_odds
