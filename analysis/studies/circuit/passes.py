"""Passes over a random block shown twice: what some heads look at, and what the model predicts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from analysis import scores
from analysis.attention import Edit, EnoughError, Site, Taps, Where
from analysis.batches import rows_at_once
from analysis.errors import UserError
from analysis.interventions import Head
from analysis.interventions.passes.layers import LayerCall, layer_inputs, through
from analysis.interventions.passes.staircase import Trace, walks
from analysis.models.load import Model, hidden_states, unembed
from analysis.models.projections import surroundings

TOKENS_PER_BATCH = 4_096


@dataclass(frozen=True)
class Reading:
    """What one pass shows."""

    scores: Float[Tensor, "row head"]
    """Induction scores of the heads that were asked for."""
    losses: Float[Tensor, "row position"]
    """Next-token losses in nats: entry p is the loss of token p + 1."""


@dataclass(frozen=True)
class Start:
    """Sequences whose pass through the model is known, so that others can start at any layer."""

    model: Model
    calls: Sequence[LayerCall]
    """How the layers are called on sequences of this length."""
    tokens: Int[Tensor, "row pos"]
    base: Trace
    """Of all layers."""
    n_bos: int

    def reading(self, layer: int, taps: Taps, heads: Sequence[Head]) -> Reading:
        """Run the model from a layer on, from the base's residual stream.

        Args:
            layer: The first layer that taps touch.
            taps: What is replaced.
            heads: Whose induction scores are wanted; those before the layer are the base's own.

        Returns:
            Scores and losses.
        """
        found: dict[int, list[Tensor]] = {head.layer: [] for head in heads}

        def watch(where: Where, pattern: Tensor) -> None:
            if where.layer in found:
                found[where.layer].append(scores.induction_score(pattern, self.n_bos))

        if walks(self.model):
            first = min([layer, *found])
            stream = self.base.resid_pre[first]
            for at in range(first, len(self.model.layers)):
                here = Taps(edits=taps.edits, watch=watch if at in found else None)
                stream = self._layer(at, stream, here)
            hidden = self.model.final_norm(stream)
        else:
            watched = Taps(edits=taps.edits, watch=watch if found else None)
            hidden = hidden_states(self.model, self.tokens, watched)
        columns = [torch.cat(found[head.layer])[:, head.head] for head in heads]
        kept = torch.stack(columns, dim=1) if columns else hidden.new_zeros(len(hidden), 0)
        return Reading(kept, self.losses(hidden))

    def walked(self, layers: range, taps: Taps) -> Float[Tensor, "row pos d_model"]:
        """What some layers make of the base's residual stream that enters the first of them."""
        stream = self.base.resid_pre[layers.start]
        for layer in layers:
            stream = self._layer(layer, stream, taps)
        return stream

    def read(self, layer: int, stream: Float[Tensor, "row pos d_model"]) -> dict[Site, Tensor]:
        """q, k and v of a layer, one copy for each query head, if it read this residual stream."""
        sites = (Site.Q, Site.K, Site.V)
        return layer_inputs(self.model, layer, self.calls[layer], stream, sites)

    def induction_scores(
        self,
        layer: int,
        stream: Float[Tensor, "row pos d_model"],
        given: Mapping[Site, Float[Tensor, "row head pos d_head"]],
    ) -> Float[Tensor, "row head"]:
        """Scores of all heads of a layer that reads a residual stream but for some inputs.

        Args:
            layer: Which layer.
            stream: What its queries, keys and values are computed from.
            given: What stands in for some of them.

        Returns:
            Induction scores.
        """
        found: list[Tensor] = []

        def watch(where: Where, pattern: Tensor) -> None:
            found.append(scores.induction_score(pattern, self.n_bos))
            if where.rows.stop == len(stream):
                raise EnoughError

        edits: dict[Site, Edit] = {site: _put(tensor) for site, tensor in given.items()}
        with suppress(EnoughError):
            self._layer(layer, stream, Taps(edits=edits, watch=watch))
        return torch.cat(found)

    def _layer(self, layer: int, stream: Tensor, taps: Taps) -> Float[Tensor, "row pos d_model"]:
        return through(self.model, layer, self.calls[layer], stream, taps)

    def losses(self, hidden: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row position"]:
        """Next-token losses of what the unembedding reads."""
        rows = [
            F.cross_entropy(unembed(self.model, row[:-1]), ids[1:], reduction="none")
            for row, ids in zip(hidden, self.tokens, strict=True)
        ]
        return torch.stack(rows)


def put_heads(
    layer: int,
    heads: Sequence[int],
    given: Mapping[Site, Float[Tensor, "row head pos d_head"]],
) -> Taps:
    """Taps that replace some inputs of some heads of one layer, and leave all other heads alone."""

    def edit(new: Tensor) -> Edit:
        def put(where: Where, tensor: Tensor) -> Tensor:
            if where.layer != layer:
                return tensor
            changed = tensor.clone()
            changed[:, list(heads)] = new[:, list(heads)]
            return changed

        return put

    return Taps(edits={site: edit(tensor) for site, tensor in given.items()})


def _put(new: Tensor) -> Edit:
    """Put a whole tensor in place."""
    return lambda _where, _tensor: new


def batches(n_sequences: int, n_pos: int) -> Iterator[slice]:
    """Slices of sequences, as many tokens at a time as memory is meant to hold."""
    step = rows_at_once(TOKENS_PER_BATCH, n_pos)
    for start in range(0, n_sequences, step):
        yield slice(start, min(start + step, n_sequences))


def check_adds(model: Model) -> None:
    """Make sure that every layer adds what its attention writes to the residual stream as it is.

    Raises:
        UserError: A layer norms or scales it first, so that no head has a contribution of its own.
    """
    for layer, share in enumerate(model.holds.adds):
        if not model.card.heads_by_layer[layer]:
            continue
        if share != 1:
            raise UserError(
                f"expected layers that add what attention writes as it is, layer {layer} of "
                f"{model.card.architecture} does something else; choose another architecture"
            )
        if surroundings(model, layer).after is not None:
            raise UserError(
                f"expected layers that add what attention writes as it is, layer {layer} of "
                f"{model.card.architecture} norms it first, so that heads have no contribution of "
                "their own; choose a pre-norm architecture"
            )
    if not walks(model):
        raise UserError(
            "expected layers that compute alone what they do in a whole pass, those of "
            f"{model.card.architecture} do not; choose another architecture"
        )
