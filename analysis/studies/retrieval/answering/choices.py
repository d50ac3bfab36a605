"""Which of the answers that the records give a model finds most probable, beside what it says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

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
    refuse_long,
)
from .items import MAX_NEW
from .prompts import Prompt, continuation


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One question, answered freely and by choice."""

    said: Baseline
    """The greedy answer."""
    answers: tuple[str, ...]
    """What the records answer, the right one first."""
    log_p: tuple[float, ...]
    """Log probability of all tokens of each, nats."""


def choices(
    model: Model, prompts: Sequence[Prompt], vocabulary: Vocabulary, report: Report
) -> list[Choice]:
    """Let the model answer every prompt, and ask how probable every record's answer is.

    Args:
        model: The model as it is.
        prompts: Of any lengths.
        vocabulary: The model's tokenizer.
        report: Told how many prompts are done.

    Returns:
        Choices in the order of the prompts.

    Raises:
        UserError: A prompt leaves no room for an answer, or logits are not finite.
    """
    found: dict[int, Choice] = {}
    stop = ending_ids(vocabulary)
    for places in batches(prompts, model):
        some = [prompts[i] for i in places]
        begin, talk = opened(model, some)
        n_asked = len(some[0].ids) - begin
        asked = [_candidates(each, vocabulary) for each in some]
        log_p = [[0.0] * len(each) for each in asked]
        logits: list[torch.Tensor] = []
        for i in range(max(map(len, asked))):
            # A row with fewer answers is asked its right one again.
            parts = [each[i if i < len(each) else 0] for each in asked]
            refuse_long(parts, model)
            hidden = talk.follow(answered_tails(parts, begin), None, n_asked)
            rows = answer_logits(model, parts, hidden, begin)
            logits = logits or rows
            for row, (part, each) in enumerate(zip(parts, rows, strict=True)):
                ids = torch.tensor(part.answer)[:, None]
                if i < len(asked[row]):
                    log_p[row][i] = float(each.log_softmax(-1).gather(1, ids).sum())
        ids = talk.answers(questions(model, some, begin), MAX_NEW, stop, None)
        for row, place in enumerate(places):
            item = some[row].item
            found[place] = Choice(
                said=baseline(some[row], ids[row], logits[row], vocabulary),
                answers=(item.answer, *item.wrong),
                log_p=tuple(log_p[row]),
            )
        report(len(found), len(prompts), "answers")
    return [found[i] for i in range(len(prompts))]


def _candidates(asked: Prompt, vocabulary: Vocabulary) -> list[Prompt]:
    """A prompt with every record's answer in the right one's stead, the right one first."""
    wrong = [continuation(asked.item, answer, vocabulary) for answer in asked.item.wrong]
    return [asked, *(replace(asked, answer=answer) for answer in wrong)]
