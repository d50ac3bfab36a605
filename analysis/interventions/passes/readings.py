"""What the unembedding reads under many conditions, a batch at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int
from torch import Tensor

from analysis.errors import UserError
from analysis.interventions.kinds import Condition, check
from analysis.models.load import Model

from .layers import layer_calls
from .staircase import Staircase, joining_order, trace
from .sweep import Source, chunks, in_use, on_device


def readings(
    model: Model,
    ids: Int[np.ndarray, "sequence pos"],
    conditions: Sequence[Condition],
    source: Source,
    max_rows: int,
) -> Iterator[tuple[int, slice, Tensor]]:
    """Walk through sequences and conditions, each condition from the first layer it touches.

    Nothing is unembedded: who reads knows at which positions. To be run under
    `torch.inference_mode`.

    Args:
        model: The model.
        ids: Sequences of one length, without padding.
        conditions: What to replace; one that replaces nothing is the base itself.
        source: Where stand-ins come from.
        max_rows: Rows in one batch, conditions times sequences; at least 1.

    Yields:
        Index of the condition, slice of the sequences, and hidden states (row, pos, d_model).

    Raises:
        UserError: There are no sequences, a condition does not fit, or a stand-in is missing.
    """
    if ids.size == 0:
        raise UserError(f"expected sequences of tokens, got {ids.shape[0]}; give some")
    for condition in conditions:
        check(condition.interventions, model.card, ids.shape[1])
    order = sorted(range(len(conditions)), key=lambda i: joining_order(conditions[i]))
    acting = [i for i in order if conditions[i].first_layer < model.card.n_layers]
    joints = {conditions[i].first_layer for i in acting}
    used = in_use(source, conditions)
    calls = layer_calls(model, on_device(model, ids[:1]))
    for rows in chunks(len(ids), max_rows):
        base = trace(model, on_device(model, ids[rows]), joints)
        for i in order[len(acting) :]:
            yield i, rows, base.hidden
        stairs = Staircase(model, calls, base, used.stand_ins(model, ids, rows))
        for part in chunks(len(acting), max(1, max_rows // len(base.hidden))):
            hidden = stairs.hidden_states([conditions[i] for i in acting[part]])
            for place, i in enumerate(acting[part]):
                yield i, rows, hidden[place]
