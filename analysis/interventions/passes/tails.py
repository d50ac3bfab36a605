"""What conditions change at the last positions of sequences, on top of a staircase.

Of the last layer only keys and values are needed at all positions: what it writes at earlier ones
is read by nobody.
"""

from collections.abc import Sequence
from contextlib import suppress

from jaxtyping import Float
from torch import Tensor

from analysis.attention import Edit, Site, Taps, Where
from analysis.interventions.kinds import Condition

from .endings import later_queries
from .staircase import Staircase, first


class _AllKnownError(Exception):
    """Ends a layer's call once its keys and values are known."""


def tails(
    stairs: Staircase, conditions: Sequence[Condition], begin: int
) -> Float[Tensor, "condition row new d_model"]:
    """What the unembedding reads under each condition from a position on.

    Args:
        stairs: The base; its last layer was traced.
        conditions: In joining order; each has a head, and its first layer was traced.
        begin: The first position that is asked about.

    Returns:
        The last positions of `stairs.hidden_states(conditions)`.
    """
    last, n_pos = len(stairs.calls) - 1, stairs.base.hidden.shape[1]
    stream = stairs.entering(last, conditions)
    keys, values = _keys_and_values(stairs, stream)
    edits = later_queries(stairs.layer_taps(last, conditions).edits, begin)
    before = {last: (keys[:, :, :begin], values[:, :, :begin])}
    call = stairs.calls[last].after(begin, n_pos)
    kwargs = {**call.kwargs, "taps": Taps(edits=edits, prefix=before)}
    tail = first(stairs.model.layers[last](stream[:, begin:], *call.args, **kwargs))
    return stairs.model.final_norm(tail).unflatten(0, (len(conditions), -1))


def _keys_and_values(
    stairs: Staircase, stream: Float[Tensor, "condition_and_row pos d_model"]
) -> tuple[Tensor, Tensor]:
    """Keys and values of the last layer, one copy for each query head."""
    found: list[Tensor] = []

    def keep(_where: Where, tensor: Tensor) -> Tensor:
        found.append(tensor)
        if len(found) == 2:
            raise _AllKnownError
        return tensor

    edit: Edit = keep
    call = stairs.calls[-1]
    kwargs = {**call.kwargs, "taps": Taps(edits={Site.K: edit, Site.V: edit})}
    with suppress(_AllKnownError):
        stairs.model.layers[-1](stream, *call.args, **kwargs)
    return found[0], found[1]
