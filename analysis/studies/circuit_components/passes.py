"""Passes over a random block shown twice, with other components ablated in every few rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from analysis import scores
from analysis.attention import Taps, Where
from analysis.batches import rows_at_once
from analysis.components.ablation import Part
from analysis.components.decomposed import Components, Decomposition, Mask, masked
from analysis.components.geometry import projections
from analysis.interventions import Head
from analysis.interventions.passes.layers import through
from analysis.models.load import unembed
from analysis.progress import Report
from analysis.studies.circuit.passes import TOKENS_PER_BATCH, Start

Parts = tuple[Part, ...]
"""Components that are ablated together, at all positions."""

Column = tuple[str, Head | None]
"""A score and whose it is; the loss is nobody's."""

LOSS: Column = ("loss", None)
"""On the second copy, nats per token."""

_LOSSES_AT_ONCE = 256
"""Positions whose logits exist together."""

N_NEAREST = 10
"""Matched components are drawn among so many whose norm is nearest."""


@dataclass(frozen=True)
class ComponentPasses:
    """Sequences on which components are ablated, and what is read from the passes."""

    decomposition: Decomposition
    start: Start
    previous: int
    """Layer of the previous-token head: passes start there, since nothing below it changes."""
    copier: int
    """Layer of the induction head."""

    @property
    def columns(self) -> list[Column]:
        """What is read: a score of every head of both layers, and the loss."""
        heads = range(self.start.model.card.n_heads)
        return [
            *(("previous_token", Head(self.previous, head)) for head in heads),
            *(("induction", Head(self.copier, head)) for head in heads),
            LOSS,
        ]

    def effects(
        self, sets: Sequence[Parts], report: Report
    ) -> Float[np.ndarray, "set sequence column"]:
        """What ablating each set changes: all other masks are 1, so the base is the model itself.

        Args:
            sets: Components of the two layers.
            report: Told the progress.

        Returns:
            Ablated minus base.
        """
        step = rows_at_once(TOKENS_PER_BATCH, self.start.tokens.numel())
        found: list[np.ndarray] = []
        for begin in range(0, len(sets), step):
            found.append(self.read(sets[begin : begin + step]) - self.base)
            report(min(begin + step, len(sets)), len(sets), "")
        return np.concatenate(found)

    @cached_property
    def base(self) -> Float[np.ndarray, "set sequence column"]:
        """Scores and losses of the model as it is, the only set."""
        return self.read([()])

    def read(self, sets: Sequence[Parts]) -> Float[np.ndarray, "set sequence column"]:
        """Scores and losses with each set ablated in rows of its own."""
        start, model = self.start, self.start.model
        names = {part.layer for parts in sets for part in parts}
        places = {name: at for (at, _), name in projections(self.decomposition).items()}
        first = min((places[name] for name in names), default=self.previous)
        found: dict[int, list[Tensor]] = {self.previous: [], self.copier: []}

        def watch(where: Where, pattern: Tensor) -> None:
            looking_back = where.layer == self.previous
            found[where.layer].append(
                scores.previous_token_score(pattern)
                if looking_back
                else scores.induction_score(pattern, start.n_bos)
            )

        stream = start.base.resid_pre[first].repeat(len(sets), 1, 1)
        with masked(self.decomposition, self._masks(sets, names)):
            for at in range(first, len(model.layers)):
                taps = Taps(watch=watch if at in found else None)
                stream = through(model, at, start.calls[at], stream, taps)
        read = [torch.cat(each) for each in found.values() if each]
        every = torch.cat([*read, self._losses(stream)[:, None]], dim=1)
        values = every.unflatten(0, (len(sets), -1)).double().cpu().numpy()
        if first == self.previous:
            return values
        before = self.base[..., : len(self.columns) - values.shape[-1]]
        return np.concatenate([before.repeat(len(sets), axis=0), values], axis=-1)

    def _masks(self, sets: Sequence[Parts], names: Iterable[str]) -> dict[str, Mask]:
        """Masks of 1 but for each set's components in its rows."""
        n_rows, model = len(self.start.tokens), self.start.model
        masks: dict[str, Mask] = {}
        for name in names:
            kept = torch.ones(len(sets), 1, self.decomposition.components[name].n)
            for i, parts in enumerate(sets):
                kept[i, 0, [part.component for part in parts if part.layer == name]] = 0
            rows = kept.repeat_interleave(n_rows, dim=0).to(model.device)
            masks[name] = Mask(components=rows, delta=torch.ones((), device=model.device))
        return masks

    def _losses(self, stream: Float[Tensor, "row pos d_model"]) -> Float[Tensor, " row"]:
        """Mean over the second copy without its first token, which nothing predicts."""
        start, model = self.start, self.start.model
        cut = (stream.shape[1] + start.n_bos) // 2
        hidden = model.final_norm(stream[:, cut:-1])
        ids = start.tokens[:, cut + 1 :].repeat(len(stream) // len(start.tokens), 1)
        blocks = zip(
            hidden.flatten(0, 1).split(_LOSSES_AT_ONCE),
            ids.flatten().split(_LOSSES_AT_ONCE),
            strict=True,
        )
        losses = [
            F.cross_entropy(unembed(model, some), following, reduction="none")
            for some, following in blocks
        ]
        return torch.cat(losses).unflatten(0, ids.shape).mean(1)


def frobenius(parts: Components) -> Float[Tensor, " component"]:
    """Frobenius norm of every component's rank-one weight."""
    return parts.V.detach().norm(dim=0) * parts.U.detach().norm(dim=1)


def matched_sets(
    chosen: Parts, norms: Mapping[Part, float], n_draws: int, seed: int
) -> list[Parts]:
    """Random components of the same weights, and of about the same Frobenius norms.

    Args:
        chosen: The set to match.
        norms: Of all components to draw from; chosen ones are left out.
        n_draws: How many sets.
        seed: Of the draws.

    Returns:
        For every chosen component one of those of its weight whose norms are nearest, in each set
        another one; none where the weight has no others left.
    """
    rng, others = Random(f"matched components/{seed}"), sorted(set(norms).difference(chosen))

    def draw() -> Parts:
        found: list[Part] = []
        for part in chosen:
            free = [o for o in others if o.layer == part.layer and o not in found]
            near = sorted(free, key=lambda other: abs(norms[other] - norms[part]))[:N_NEAREST]
            found += rng.sample(near, k=min(1, len(near)))
        return tuple(found)

    return [draw() for _ in range(n_draws)]
