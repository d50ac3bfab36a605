"""What conditions change at the last positions of sequences, on top of a staircase.

Of the last layer only keys and values are needed at all positions: what it writes at earlier ones
is read by nobody.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from analysis.attention import Site, Taps
from analysis.interventions.kinds import Condition

from .endings import continues, later_queries
from .layers import layer_inputs, through
from .staircase import Staircase


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
    if not continues(stairs.model):
        return stairs.hidden_states(conditions)[:, :, begin:]
    last, n_pos = len(stairs.calls) - 1, stairs.base.hidden.shape[1]
    stream = stairs.entering(last, conditions)
    given = layer_inputs(stairs.model, last, stairs.calls[last], stream, (Site.K, Site.V))
    edits = later_queries(stairs.layer_taps(last, conditions).edits, begin)
    before = {last: (given[Site.K][:, :, :begin], given[Site.V][:, :, :begin])}
    call = stairs.calls[last].after(begin, n_pos)
    tapped = Taps(edits=edits, prefix=before)
    tail = through(stairs.model, last, call, stream[:, begin:], tapped)
    return stairs.model.final_norm(tail).unflatten(0, (len(conditions), -1))
