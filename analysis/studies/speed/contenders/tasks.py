"""What is timed: the zero ablation of every head (A), and the scores of every head (S)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from math import ceil

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis import scores
from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Draws,
    Head,
    Intervention,
    Measurement,
    Method,
    Metrics,
    Source,
    sweep,
)
from analysis.interventions.passes.staircase import walks
from analysis.interventions.passes.stream import Score, stream_scores
from analysis.memory import check_fits
from analysis.models.files.card import ModelCard
from analysis.models.load import Model
from analysis.progress import silent
from analysis.questions.text_sweep import batch_rows

from .models import SEED

Answer = dict[str, np.ndarray]
"""A: (head,) by metric. S: (layer, head) by score. Means over sequences."""


class Task(Enum):
    """What is asked of every contender."""

    A = "every-head zero ablation: mean KL(base || ablated), top-1 changed, loss change"
    S = "all head scores: previous token, BOS, duplicate token, induction"

    @property
    def n_sequences(self) -> int:
        """How many, unless said otherwise."""
        return 16 if self is Task.A else 64

    @property
    def tolerance(self) -> float:
        """How far float32 contenders may differ: nats of KL, or attention."""
        return 1e-4 if self is Task.A else 1e-5


@dataclass(frozen=True, kw_only=True)
class Work:
    """The question of one lap."""

    ids: Int[np.ndarray, "sequence pos"]
    heads: tuple[Head, ...]
    """Which to ablate."""
    scale: float
    """All heads over these, for A; otherwise 1."""
    batch: int
    """S: sequences in one call of a model."""


Run = Callable[[Work], Answer]

DRAWN_TOKENS = 256
"""At every position, where the vocabulary is not compared whole."""

BYTES_PER_TOKEN = 100
"""Of memory that a token of the work takes whoever does it, at least."""


def tokens(task: Task, card: ModelCard, shape: tuple[int, int]) -> Int[np.ndarray, "sequence pos"]:
    """Random tokens: any for A, a block shown twice for S.

    Args:
        task: What they are for.
        card: The model's sizes.
        shape: Sequences, and tokens in each.

    Returns:
        Token ids, the same for the same shape and vocabulary.

    Raises:
        UserError: They do not fit the model, or are too few for a score.
    """
    n_sequences, n_pos = shape
    if not 5 <= n_pos <= card.n_ctx:
        raise UserError(
            f"expected from 5 to {card.n_ctx} tokens for {card.name}, got {n_pos}; "
            "choose another --tokens"
        )
    check_fits("--sequences", n_sequences, n_pos * BYTES_PER_TOKEN)
    rng = np.random.default_rng(SEED)
    ids = rng.integers(0, card.vocab, (n_sequences, n_pos))
    if task is Task.S:
        half = n_pos // 2
        ids[:, n_pos - half :] = ids[:, n_pos % 2 : n_pos - half]
    return ids


def sampled_heads(card: ModelCard, at_least: int | None) -> tuple[Head, ...]:
    """Heads to ablate, as many in every layer that attends, since a layer's depth sets the cost.

    Args:
        card: The model's sizes.
        at_least: How many in all; None for every head.

    Returns:
        Heads, evenly spaced within each layer.
    """
    attend = {layer: n_heads for layer, n_heads in enumerate(card.heads_by_layer) if n_heads}
    fewest = min(attend.values())
    wanted = fewest if at_least is None else ceil(at_least / len(attend))
    each = min(fewest, max(1, wanted))
    return tuple(
        Head(layer, n_heads * place // each)
        for layer, n_heads in attend.items()
        for place in range(each)
    )


def our_sweep(model: Model, draws: Draws | None = None) -> Run:
    """Task A by our engine; what is measured of a model once is no part of it.

    Args:
        model: The model.
        draws: How tokens are drawn, without the top-1 change; None to compare all of them.
    """
    walks(model)

    def run(work: Work) -> Answer:
        conditions = [
            Condition(
                name=f"zero {head}",
                family="single",
                interventions=(Intervention(method=Method.ZERO, heads=(head,), positions=None),),
            )
            for head in work.heads
        ]
        asked = Measurement(
            scopes={"all": np.ones(work.ids.shape, dtype=bool)},
            metrics=Metrics.LEAN if draws is None else Metrics.DRAWN,
            max_rows=batch_rows(work.ids.shape[1], model.device.type),
            draws=draws,
        )
        source = Source(means=None, donor_of=None)
        effects = sweep(model, work.ids, conditions, source, asked, silent)
        return {metric: values[:, 0].mean(-1) for metric, values in effects.values.items()}

    return run


def our_scores(model: Model) -> Run:
    """Task S by our engine: patterns are scored and dropped layer by layer."""

    def run(work: Work) -> Answer:
        batches = [
            stream_scores(model, ids, score_functions(ids, model.device), silent)
            for ids in batches_of(work)
        ]
        return {
            name: np.concatenate([batch[name] for batch in batches]).mean(0) for name in batches[0]
        }

    return run


def score_functions(ids: Int[np.ndarray, "sequence pos"], device: torch.device) -> dict[str, Score]:
    """What every contender computes of a pattern, alike."""
    on_device = torch.from_numpy(ids).to(device)
    n_bos = ids.shape[1] % 2

    def duplicate(pattern: Tensor, rows: slice) -> Float[Tensor, "batch head"]:
        return scores.duplicate_token_score(pattern, on_device[rows])

    return {
        "previous_token": lambda pattern, _rows: scores.previous_token_score(pattern),
        "bos": lambda pattern, _rows: scores.bos_score(pattern),
        "duplicate_token": duplicate,
        "induction": lambda pattern, _rows: scores.induction_score(pattern, n_bos),
    }


def batches_of(work: Work) -> Iterator[Int[np.ndarray, "sequence pos"]]:
    """The sequences of each call of a model in task S."""
    for start in range(0, len(work.ids), work.batch):
        yield work.ids[start : start + work.batch]
