"""What a training has learnt at the steps whose weights it kept: losses, and the heads for them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float

from analysis import scores
from analysis.interventions import NOTHING, Head, Intervention, Method, taps
from analysis.interventions.passes.stream import Score, stream_scores, token_losses
from analysis.models.load import Model, hidden_states
from analysis.progress import silent
from analysis.questions.halves import strongest_first
from analysis.scores.registry import registered
from analysis.statistics.resampling import bootstrap

from .evaluation import Figure, Subject, mean, strongest

N_BATCHES = 25
"""Batches of 8 blocks shown twice: of those that the card's losses are measured on, the first."""
EVERY_ROW = 3
"""Of the held-out prose that the card is measured on, every third row."""
RESTS = next(score.threshold for score in registered() if score.label == "BOS sink")
"""A head whose attention lies on BOS by more than this share: the atlas calls it a sink."""

STATISTICS = {
    "prose_loss": "loss on held-out prose, nats per token",
    "first_copy_loss": "loss on a block of 10 to 200 random tokens, nats per token",
    "second_copy_loss": "loss on the same block shown again, nats per token",
    "copy_gain": "loss on a block less the loss on it shown again, nats per token",
    "previous_token": "previous-token score of the strongest head, held-out prose",
    "bos": "attention to BOS of the strongest head, held-out prose",
    "bos_heads": "heads that put more than the label's share of attention on BOS, held-out prose",
    "induction": "induction score of the strongest head, blocks of random tokens",
    "copier_need": "what the block shown again costs more without that head (zero), nats per token",
}
"""What is measured of every kept model."""
COUNTS = ("bos_heads",)
"""Those of `STATISTICS` that count heads."""
SCHEMA = {
    "seed": pl.Int64,
    "step": pl.Int64,
    "weights": pl.String,
    "statistic": pl.String,
    "head": pl.String,
    "value": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "n": pl.Int64,
}
"""Columns of what is measured: `weights` is the hash of the model; `head` names the strongest one,
null where a number is of none; for `bos_heads` the value counts means above the bar, `lower` whole
intervals above it, and `upper` intervals that reach above it."""


def formed(subject: Subject) -> dict[str, Figure]:
    """Measure a model.

    Args:
        subject: The model, in evaluation mode, and the corpus whose held-out part is read.

    Returns:
        A figure for each of `STATISTICS`. Heads are chosen on every second sequence and measured
        on the others; all else is measured on all.

    Raises:
        UserError: There is no corpus.
    """
    return {**_on_prose(subject), **_on_blocks(subject)}


def _on_prose(subject: Subject) -> dict[str, Figure]:
    rows = np.ascontiguousarray(subject.prose[::EVERY_ROW])
    keep, losses = token_losses(subject.model, rows)
    wanted: dict[str, Score] = {
        "previous": lambda p, _: scores.previous_token_score(p),
        "bos": lambda p, _: scores.bos_score(p),
    }
    found = stream_scores(subject.model, rows, wanted, silent, also=[keep])
    return {
        "prose_loss": mean(losses.mean(1)),
        "previous_token": strongest(found["previous"]),
        "bos": strongest(found["bos"]),
        "bos_heads": resting(found["bos"]),
    }


def resting(values: Float[np.ndarray, "sequence layer head"]) -> Figure:
    """How many heads put more than `RESTS` of their attention on BOS.

    Args:
        values: Attention to BOS.

    Returns:
        Heads whose mean lies above; whose whole interval does; whose interval reaches above.
    """
    every = bootstrap(values.reshape(len(values), -1), seed=0).intervals()
    estimate, lower, upper = (sum(end > RESTS for end in ends) for ends in zip(*every, strict=True))
    return {"estimate": estimate, "lower": lower, "upper": upper, "n": len(values)}


def _on_blocks(subject: Subject) -> dict[str, Figure]:
    model, batches = subject.model, subject.repeats("repeats")[:N_BATCHES]
    wanted: dict[str, Score] = {"induction": lambda p, _: scores.induction_score(p, 1)}
    found: list[np.ndarray] = []
    losses: list[np.ndarray] = []
    for rows in batches:
        keep, each = token_losses(model, rows)
        found.append(stream_scores(model, rows, wanted, silent, also=[keep])["induction"])
        losses.append(_copies(each))
    first, second = np.concatenate(losses).T
    induction = np.concatenate(found)
    place = int(strongest_first(induction)[0])
    head = Head(*divmod(place, induction.shape[2]))
    without = np.concatenate([_without(model, rows[1::2], head) for rows in batches])
    return {
        "first_copy_loss": mean(first),
        "second_copy_loss": mean(second),
        "copy_gain": mean(first - second),
        "induction": strongest(induction),
        "copier_need": {**mean(without - second[1::2]), "head": str(head)},
    }


def _copies(losses: Float[np.ndarray, "sequence pos"]) -> Float[np.ndarray, "sequence copy"]:
    """Mean losses on both copies of a block; the second's first token cannot be foreseen."""
    block_len = losses.shape[1] // 2
    return np.stack((losses[:, :block_len].mean(1), losses[:, block_len + 1 :].mean(1)), axis=1)


def _without(model: Model, rows: np.ndarray, head: Head) -> Float[np.ndarray, " sequence"]:
    """Losses on the second copy with a head zeroed."""
    zeroed = Intervention(method=Method.ZERO, heads=(head,), positions=None)
    keep, losses = token_losses(model, rows)
    tokens = torch.from_numpy(rows.astype(np.int64)).to(model.device)
    with torch.inference_mode():
        hidden = hidden_states(model, tokens, taps([zeroed], NOTHING, len(rows)))
        keep(slice(0, len(rows)), hidden)
    return _copies(losses)[:, 1]


def tidy(
    figures: dict[str, Figure], seed: int, step: int, weights: str
) -> Iterator[dict[str, Any]]:
    """Rows of `SCHEMA`.

    Args:
        figures: Of `formed`.
        seed: Of the training.
        step: Steps done.
        weights: Hash of the model.
    """
    for statistic, figure in figures.items():
        numbers = (figure["estimate"], figure["lower"], figure["upper"])
        told = (seed, step, weights, statistic, figure.get("head"), *numbers, figure["n"])
        yield dict(zip(SCHEMA, told, strict=True))
