"""What the model as it is answers, and how sure it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.batches import alike, rows_at_once
from analysis.errors import UserError
from analysis.models.load import Model, unembed
from analysis.text.tokens import Vocabulary

from .answers import correct, spoken
from .conversation import Conversation
from .items import MAX_NEW
from .prompts import Prompt

_TOKENS_AT_ONCE = {"cpu": 8_192, "cuda": 65_536}


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An answer of the model as it is."""

    ids: tuple[int, ...]
    """Tokens of the greedy answer, at most `MAX_NEW`, up to and with the end of the line."""
    generated: str
    """The same as text, without the end of the line."""
    correct: bool
    log_p: float
    """Log probability of all the right answer's tokens, nats."""
    logit_difference: float | None
    """Logit of the right answer minus that of the named wrong one, at the first token where they
    differ; None without a wrong one."""
    answer_rank: int
    """Rank of the right answer's first token, from 1."""


def batches(prompts: Sequence[Prompt], model: Model) -> Iterator[list[int]]:
    """Places of prompts of the same length, as many as memory is meant to hold."""
    for places in alike(len(found.ids) for found in prompts):
        n_tokens = len(prompts[places[0]].ids)
        step = rows_at_once(_TOKENS_AT_ONCE.get(model.device.type, 8_192), n_tokens)
        for start in range(0, len(places), step):
            yield places[start : start + step]


def opened(model: Model, prompts: Sequence[Prompt]) -> tuple[int, Conversation]:
    """Read the contexts of prompts of one length, up to where the first question begins.

    Returns:
        How many positions were read, and what can follow them.

    Raises:
        UserError: A prompt leaves no room for its answer.
    """
    refuse_long(prompts, model)
    begin = min(found.query[0] for found in prompts)
    contexts = torch.tensor([found.ids[:begin] for found in prompts], device=model.device)
    return begin, Conversation(model, contexts)


def refuse_long(prompts: Sequence[Prompt], model: Model) -> None:
    """Name the first prompt that leaves no room for its answer, if there is one."""
    for found in prompts:
        n_new = max(MAX_NEW, len(found.answer))
        if len(found.ids) + n_new > model.card.n_ctx:
            raise UserError(
                f"expected prompts of at most {model.card.n_ctx - n_new} tokens, the context of "
                f"{model.card.name} less {n_new} for the answer, got {len(found.ids)} in "
                f"{found.item.id}; use shorter ones"
            )


def questions(model: Model, prompts: Sequence[Prompt], begin: int) -> Tensor:
    """What follows the contexts: ids (row, pos) from `begin` on."""
    return torch.tensor([found.ids[begin:] for found in prompts], device=model.device)


def answered_tails(prompts: Sequence[Prompt], begin: int) -> list[tuple[int, ...]]:
    """The same with the right answers."""
    return [(*found.ids[begin:], *found.answer) for found in prompts]


def answer_logits(
    model: Model,
    prompts: Sequence[Prompt],
    hidden: Float[Tensor, "row tail_pos d_model"],
    begin: int,
) -> list[Float[Tensor, "answer_token d_vocab"]]:
    """Logits that predict each token of the right answers, given those before it.

    Raises:
        UserError: They are not finite.
    """
    rows: list[Tensor] = []
    for found, row in zip(prompts, hidden, strict=True):
        first = len(found.ids) - 1 - begin
        with torch.inference_mode():
            logits = unembed(model, row[first : first + len(found.answer)]).double().cpu()
        if not logits.isfinite().all():
            raise UserError(
                f"expected finite logits of the model as it is, got others on {found.item.id}; "
                "leave it out, or check the weights"
            )
        rows.append(logits)
    return rows


def ending_ids(vocabulary: Vocabulary) -> list[int]:
    """Tokens that end an answer: a new line, or the end of the text."""
    ordinary = set(vocabulary.ordinary)
    return [
        i for i in range(vocabulary.vocab) if i not in ordinary or "\n" in vocabulary.display(i)
    ]


def baseline(
    asked: Prompt,
    ids: tuple[int, ...],
    logits: Float[Tensor, "answer_token d_vocab"],
    vocabulary: Vocabulary,
) -> Baseline:
    """Judge an answer.

    Args:
        asked: The prompt.
        ids: What was generated.
        logits: Those that predict each token of the right answer, given those before it.
        vocabulary: The tokenizer.
    """
    gold, difference = torch.tensor(asked.answer), None
    if asked.fork is not None:
        step, right, wrong = asked.fork
        difference = float(logits[step, right] - logits[step, wrong])
    text = spoken(ids, vocabulary)
    return Baseline(
        ids=ids,
        generated=text,
        correct=correct(text, asked.item.answer),
        log_p=float(logits.log_softmax(-1).gather(1, gold[:, None]).sum()),
        logit_difference=difference,
        answer_rank=1 + int((logits[0] > logits[0, gold[0]]).sum()),
    )
