"""The induction circuit: which heads it is made of, and the data that it is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
import torch

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.layers import layer_calls
from analysis.interventions.passes.staircase import trace
from analysis.models.files.card import ModelCard
from analysis.models.load import Model
from analysis.questions.drawing import Drawing
from analysis.questions.halves import heads_by_score
from analysis.questions.verdicts.judgement import Evidence
from analysis.studies.atlas.writing import LOOKS, copying_heads
from analysis.text.repeats import at_another_lag, repeated_tokens
from analysis.text.tokens import Tokens

from .passes import Start

MIN_SCORE = LOOKS
"""Mean attention to the target from which a head counts as an induction head beside the first."""

MAX_RECEIVERS = 3
"""Induction heads into which paths are followed, at most."""


@dataclass(frozen=True)
class CircuitHeads:
    """A previous-token head and the induction heads above it."""

    previous: Head
    copiers: tuple[Head, ...]
    """The strongest first."""


def circuit_heads(text: Evidence, induction: Evidence) -> CircuitHeads:
    """Choose the heads that an induction circuit would be made of, on the even sequences.

    An induction head looks at the target with more than `MIN_SCORE`, and copying uses what it
    writes: see `copying_heads`. The strongest above the first layer that attends comes first; where
    there is none, the one that looks there most stands in its place, for claims that it cannot
    hold. The previous-token head is the strongest in the layers below it; further induction heads
    must lie above that one. Experiments on the circuit draw sequences of their own.

    Args:
        text: Answer of `TextScores`; without a tokenizer its scores on random tokens count.
        induction: Answer of `InductionScores`.

    Returns:
        The heads.

    Raises:
        UserError: The model has one layer that attends.
    """
    every = heads_by_score(induction["head_scores"], "induction", "repeated")
    lowest = min(head.layer for head, _ in every)
    looking = [head for head, _ in every if head.layer > lowest]
    if not looking:
        raise UserError(
            "expected a model of at least 2 layers that attend, got 1; "
            "an induction circuit takes a head that reads what an earlier one wrote"
        )
    copying = [head for head in copying_heads(induction) if head.layer > lowest]
    first, *others = copying or looking[:1]
    previous = next(head for head, _ in looking_back(text) if head.layer < first.layer)
    return CircuitHeads(previous, (first, *(h for h in others if h.layer > previous.layer)))


def usual_circuit(card: ModelCard) -> CircuitHeads:
    """Heads that stand for a circuit that is not known yet: it lies in the middle of a model."""
    at, n = card.attending, len(card.attending)
    first, second = at[n // 2], at[3 * n // 4]
    copiers = [Head(first, i) for i in range(min(2, card.heads_by_layer[first]))]
    others = [Head(second, 0)] if second > first else []
    return CircuitHeads(Head(at[min(n // 4, n // 2 - 1)], 0), (*copiers, *others))


def previous_token_head(text: Evidence) -> Head:
    """The strongest previous-token head, on the even sequences.

    Args:
        text: Answer of `TextScores`; without a tokenizer its scores on random tokens count.

    Returns:
        The head; in a circuit it would have to lie below an induction head besides.
    """
    return looking_back(text)[0][0]


def looking_back(text: Evidence) -> list[tuple[Head, float]]:
    """All heads by their mean attention to the token before, on the even sequences, from the top.

    Args:
        text: Answer of `TextScores`; without a tokenizer its scores on random tokens count.
    """
    scores = text["head_scores"]
    looking = heads_by_score(scores, "previous_token", "text")
    return looking or heads_by_score(scores, "previous_token", "random")


_NAMES = {
    "repeated": "random block twice",
    "shuffled": "random block, then shuffled",
    "other lag": "part of a random block again and again",
}


@dataclass(frozen=True, kw_only=True)
class BlockExperiment(Drawing):
    """A question about a random block that is shown twice.

    Blocks are drawn apart from those of `InductionScores`, so that heads are tested on sequences
    that did not choose them.
    """

    n_sequences: int
    block_len: int
    """Random tokens in the block that is shown twice, L."""

    @cached_property
    def repeated(self) -> Tokens:
        """The block twice."""
        return self.rows("repeated")

    @cached_property
    def shuffled(self) -> Tokens:
        """The control: the second copy in random order."""
        return self.rows("shuffled")

    def rows(self, what: str, *, apart: bool = False) -> Tokens:
        """Sequences apart from those of `InductionScores`.

        Args:
            what: `repeated`; `shuffled`, the same blocks with the second copy in random order; or
                `other lag`, their first half or more, as many tokens of each as are drawn, until
                as many tokens are filled: at none of them is the copy where `repeated` has it.
            apart: Whether the blocks are others, to take means over.
        """
        blocks = Random(f"circuit {'reference' if apart else 'blocks'}/{self.seed}")
        order = Random(f"circuit order/{self.seed}")
        pool, bos, length = self.pool, self.vocabulary.bos, self.block_len
        ids = [
            repeated_tokens(blocks, pool.ids, bos, length, shuffled=False)
            for _ in range(self.n_sequences)
        ]
        if what == "shuffled":
            ids = [[*row[:-length], *order.sample(row[-length:], k=length)] for row in ids]
        elif what == "other lag":
            ids = [[*bos, *at_another_lag(order, row[-length:])] for row in ids]
        name = f"{_NAMES[what]}, for {'the means of ' if apart else ''}the circuit"
        return pool.tokens(ids, name, self.seed, bos=bool(bos), block_len=length)

    def data(self) -> Sequence[Tokens]:
        """The block twice, and the control whose second copy is shuffled."""
        return [self.repeated, self.shuffled]

    def start(self, model: Model, tokens: Tokens, rows: slice) -> Start:
        """Run the model as it is on some sequences."""
        ids = torch.from_numpy(tokens.ids[rows].astype(np.int64)).to(model.device)
        calls = layer_calls(model, ids[:1])
        base = trace(model, ids, range(model.card.n_layers))
        return Start(model, calls, ids, base, len(self.vocabulary.bos))

    def by_scope(self, losses: np.ndarray) -> np.ndarray:
        """Losses (..., position) averaged over each of `SCOPES` (..., scope).

        The second copy's unpredictable first token counts for neither copy.
        """
        cut = len(self.vocabulary.bos) + self.block_len
        parts = (losses, losses[..., : cut - 1], losses[..., cut:])
        return np.stack([part.mean(-1) for part in parts], axis=-1)


@dataclass(frozen=True, kw_only=True)
class CircuitExperiment(BlockExperiment):
    """A question about a previous-token head and induction heads, on a block shown twice."""

    previous: str
    """The previous-token head, as `L1H4`."""
    copiers: tuple[str, ...]
    """The induction heads, the strongest first."""

    @cached_property
    def heads(self) -> CircuitHeads:
        """The heads.

        Raises:
            UserError: The model has no such head, or an induction head is not above the other.
        """
        (previous,) = parse_heads([self.previous], self.card)
        copiers = parse_heads(self.copiers, self.card)
        if not copiers or min(head.layer for head in copiers) <= previous[0]:
            raise UserError(
                f"expected induction heads in layers above {self.previous}, got "
                f"{', '.join(self.copiers) or 'none'}; choose an earlier previous-token head"
            )
        return CircuitHeads(previous, copiers)


SCOPES = ("all", "first copy", "second copy")
"""What `by_scope` averages over."""
