"""The control of a value: the same attention on another one."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.attention import Edit, Site, Taps, Where
from analysis.interventions import Condition, Effects, Head, Measurement
from analysis.interventions.averages import Averages
from analysis.interventions.passes.predictions import differences, predictions
from analysis.models.load import Model, hidden_states
from analysis.progress import Report


def other_keys(shape: tuple[int, int], seed: tuple[int, int]) -> Int[np.ndarray, "sequence query"]:
    """For each query a random visible key other than position 0, which alone query 0 sees."""
    last = np.arange(shape[1])
    return np.random.default_rng(seed).integers(np.minimum(1, last), last + 1, size=shape)


def moving(heads: Sequence[Head], keys: Int[Tensor, "batch query"]) -> Edit:
    """An edit of patterns: some heads give their attention to position 0 to other keys.

    Args:
        heads: Whose.
        keys: Where that of each query goes.

    Returns:
        The edit; values and the sum of every query's attention stay.
    """

    def edit(where: Where, pattern: Tensor) -> Tensor:
        here = [head.head for head in heads if head.layer == where.layer]
        if not here:
            return pattern
        moved, edited = pattern[:, here], pattern.clone()
        mass = moved[..., :1].clone()
        moved[..., :1] = 0
        to = keys[where.rows][:, None, :, None].expand(-1, len(here), -1, -1)
        edited[:, here] = moved.scatter_add(-1, to, mass)
        return edited

    return edit


def other_values(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    conditions: Sequence[Condition],
    measured: Measurement,
    seed: int,
    report: Report,
) -> Effects:
    """Effects of the attention to position 0 on a random other visible value.

    Args:
        model: The model.
        ids: Token ids.
        conditions: Which heads; keys are drawn anew for each draw.
        measured: Scopes, metrics and the size of a batch.
        seed: Of the keys.
        report: Told how many conditions times sequences are done.

    Returns:
        Effects in the order given.
    """
    averages = Averages(conditions, measured, ids.shape)
    step, done = measured.max_rows, 0
    for start in range(0, len(ids), step):
        rows = slice(start, min(start + step, len(ids)))
        tokens = torch.from_numpy(ids[rows].astype(np.int64)).to(model.device)
        with torch.inference_mode():
            hidden = hidden_states(model, tokens, Taps()).flatten(0, 1)
            base = predictions(model, hidden, tokens.roll(-1, 1).flatten())
            for i, condition in enumerate(conditions):
                keys = torch.from_numpy(other_keys(ids.shape, (seed, condition.draw or 0))[rows])
                edit = moving(condition.interventions[0].heads, keys.to(model.device))
                hidden = hidden_states(model, tokens, Taps(edits={Site.PATTERN: edit})).flatten(
                    0, 1
                )
                found = differences(model, base, hidden[None], measured.metrics)
                by_row = {m: v[0].unflatten(0, (len(tokens), -1)) for m, v in found.items()}
                averages.add(i, rows, by_row)
                done += len(tokens)
                report(done, len(ids) * len(conditions), "values")
    return averages.effects()
