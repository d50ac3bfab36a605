"""What every head looks at while the model answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Where
from analysis.layered import layered
from analysis.models.load import Model
from analysis.progress import Report
from analysis.text.tokens import Vocabulary

from .baseline import (
    Baseline,
    answer_logits,
    answered_tails,
    baseline,
    batches,
    ending_ids,
    opened,
    questions,
)
from .conversation import Conversation
from .items import MAX_NEW
from .prompts import Prompt


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One answer of the model as it is, and what heads look at for it."""

    baseline: Baseline
    last: Float[Tensor, "layer head key"]
    """Attention from the last prompt token."""
    query: Float[Tensor, "layer head key"]
    """Mean attention from the question's tokens."""
    null: Float[Tensor, "layer head null_key"]
    """The same from those of the null question, behind the same context; its keys end there."""
    place: Int[Tensor, "layer head step"]
    """The position that is looked at most when each token of the answer is generated."""


def observations(
    model: Model,
    prompts: Sequence[Prompt],
    nulls: Sequence[Prompt],
    vocabulary: Vocabulary,
    report: Report,
) -> list[Observation]:
    """Let the model answer every prompt and watch all heads.

    Args:
        model: The model.
        prompts: Of any lengths.
        nulls: The same with the null question, one for each.
        vocabulary: The model's tokenizer.
        report: Told how many prompts are done.

    Returns:
        Observations in the order of the prompts, on the CPU.

    Raises:
        UserError: A prompt leaves no room for its answer, or logits are not finite.
    """
    found: dict[int, Observation] = {}
    stop = ending_ids(vocabulary)
    for places in batches(prompts, model):
        some, others = ([group[i] for i in places] for group in (prompts, nulls))
        begin, talk = opened(model, some)
        last, query, logits = _asked(model, talk, some, begin)
        null = _from_question(model, talk, others, begin)
        steps = _Steps(len(model.layers))
        said = talk.answers(questions(model, some, begin), MAX_NEW, stop, steps.watch)
        looked = steps.places()
        for row, i in enumerate(places):
            found[i] = Observation(
                baseline=baseline(prompts[i], said[row], logits[row], vocabulary),
                last=last[row],
                query=query[row],
                null=null[row],
                place=looked[row, ..., : len(said[row])],
            )
        report(len(found), len(prompts), "answers")
    return [found[i] for i in range(len(prompts))]


class _Steps:
    """The positions that heads look at most, from the last query of every call."""

    def __init__(self, n_layers: int) -> None:
        self._found: list[list[list[Tensor]]] = [[] for _ in range(n_layers)]

    def watch(self, where: Where, pattern: Tensor) -> None:
        """Keep a chunk of a layer's patterns; the first rows begin a new step."""
        if where.rows.start == 0:
            self._found[where.layer].append([])
        self._found[where.layer][-1].append(pattern[:, :, -1].argmax(-1).cpu())

    def places(self) -> Int[Tensor, "row layer head step"]:
        """All steps."""
        found = {
            layer: torch.stack([torch.cat(s) for s in steps], -1)
            for layer, steps in enumerate(self._found)
            if steps
        }
        return layered(found, len(self._found), 0.0, dim=1)


class _Averages:
    """Weighted means over the queries of one call."""

    def __init__(self, n_layers: int, weights: Float[Tensor, "row kind query"]) -> None:
        self._found: list[list[Tensor]] = [[] for _ in range(n_layers)]
        self._weights = weights

    def watch(self, where: Where, pattern: Tensor) -> None:
        """Average a chunk of a layer's patterns."""
        weights = self._weights[where.rows].to(pattern.dtype)
        mean = torch.einsum("rwq,rhqk->rwhk", weights, pattern)
        self._found[where.layer].append(mean.cpu())

    def stacked(self) -> Float[Tensor, "kind row layer head key"]:
        """All layers."""
        found = {i: torch.cat(chunks) for i, chunks in enumerate(self._found) if chunks}
        return layered(found, len(self._found), torch.nan, dim=2).transpose(0, 1)


def _asked(
    model: Model, talk: Conversation, prompts: Sequence[Prompt], begin: int
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """From the last token and from the question (row, layer, head, key), and answers' logits."""
    tails = answered_tails(prompts, begin)
    weights = torch.zeros(len(prompts), 2, max(map(len, tails)), device=model.device)
    for row, found in enumerate(prompts):
        weights[row, 0, len(found.ids) - 1 - begin] = 1
        _spread(weights[row, 1], found, begin)
    averages = _Averages(len(model.layers), weights)
    hidden = talk.follow(tails, averages.watch, len(prompts[0].ids) - begin)
    last, query = averages.stacked().unbind(0)
    return last, query, answer_logits(model, prompts, hidden, begin)


def _from_question(
    model: Model, talk: Conversation, prompts: Sequence[Prompt], begin: int
) -> Float[Tensor, "row layer head key"]:
    """Mean attention from the questions of other prompts behind the same contexts."""
    tails = [found.ids[begin:] for found in prompts]
    weights = torch.zeros(len(prompts), 1, max(map(len, tails)), device=model.device)
    for row, found in enumerate(prompts):
        _spread(weights[row, 0], found, begin)
    averages = _Averages(len(model.layers), weights)
    talk.follow(tails, averages.watch)
    return averages.stacked()[0]


def _spread(weights: Float[Tensor, " query"], asked: Prompt, begin: int) -> None:
    """Share a weight of 1 among the question's tokens, in place."""
    weights[[place - begin for place in asked.query]] = 1 / len(asked.query)
