"""Retrieval items through a tokenizer: where the needle is, by the tokenizer's own offsets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from analysis.errors import UserError
from analysis.text.tokens import Vocabulary

from .items import Item

NULL = "N/A"
"""The question without content."""
_FRAMED = re.compile(r"(Question: ).*( Answer:)", re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """An item through a tokenizer."""

    item: Item
    ids: tuple[int, ...]
    """BOS (if any), context, newline, question; ends with `Answer:`."""
    needle: tuple[int, ...]
    """Positions of the tokens that overlap the answer."""
    sentence: tuple[int, ...]
    """Positions of the tokens that overlap the sentence that holds it."""
    documents: tuple[tuple[int, ...], ...]
    """The same for the statements of all records."""
    gold: int
    """Which of them holds the answer."""
    query: tuple[int, ...]
    """Positions of the question."""
    answer: tuple[int, ...]
    """Token ids of a space and the answer, behind the question."""
    wrong: tuple[int, ...] | None
    """Token ids of a space and what the named wrong record, the first, answers; None without."""

    @property
    def fork(self) -> tuple[int, int, int] | None:
        """The first step at which right and named wrong answer differ, and both tokens there.

        None without a wrong answer, or where one begins with the other.
        """
        pairs = enumerate(zip(self.answer, self.wrong or (), strict=False))
        return next(((i, right, wrong) for i, (right, wrong) in pairs if right != wrong), None)


def prompts(items: Sequence[Item], vocabulary: Vocabulary, *, bos: bool) -> tuple[Prompt, ...]:
    """Tokenise several items, as `prompt` does; many experiments ask the same ones."""
    return _prompts(tuple(items), vocabulary, vocabulary.hash, bos)


@lru_cache(maxsize=64)
def _prompts(
    items: tuple[Item, ...], vocabulary: Vocabulary, _tokenizer: str, bos: bool
) -> tuple[Prompt, ...]:
    return tuple(prompt(item, vocabulary, bos=bos) for item in items)


def prompt(item: Item, vocabulary: Vocabulary, *, bos: bool) -> Prompt:
    """Tokenise an item once, as a whole.

    Args:
        item: The item.
        vocabulary: The model's tokenizer.
        bos: Whether the tokenizer's BOS stands before the context.

    Returns:
        Its ids, and where its parts are among them.

    Raises:
        UserError: A BOS is asked of a tokenizer that has none, the text cannot be encoded, or the
            tokenizer merges the question with what follows.
    """
    if bos and not vocabulary.bos:
        raise UserError(
            f"expected a BOS token, the tokenizer in {vocabulary.folder} has none; use --no-bos"
        )
    start = vocabulary.bos if bos else ()
    encoded = vocabulary.encoding(item.text)

    def overlapping(span: tuple[int, int]) -> tuple[int, ...]:
        return tuple(
            len(start) + i
            for i, (begin, end) in enumerate(encoded.offsets)
            if begin < span[1] and end > span[0]
        )

    n_context = len(item.context) + 1
    wrong = item.wrong[0] if item.wrong else None
    return Prompt(
        item=item,
        ids=(*start, *encoded.ids),
        needle=overlapping(item.answer_span),
        sentence=overlapping(item.sentence_span),
        documents=tuple(overlapping(span) for span in item.documents),
        gold=item.documents.index(item.sentence_span),
        query=overlapping((n_context, len(item.text))),
        answer=continuation(item, item.answer, vocabulary),
        wrong=None if wrong is None else continuation(item, wrong, vocabulary),
    )


def null_prompt(asked: Prompt, vocabulary: Vocabulary, *, bos: bool) -> Prompt:
    """The same context with a question without content, in the same frame.

    Args:
        asked: A prompt.
        vocabulary: The tokenizer that made it.
        bos: As it was for the prompt.

    Returns:
        A prompt that differs from the question on.

    Raises:
        UserError: The tokenizer splits the context otherwise when another question follows.
    """
    framed = _FRAMED.fullmatch(asked.item.question)
    question = f"{framed[1]}{NULL}{framed[2]}" if framed else NULL
    found = prompt(replace(asked.item, question=question), vocabulary, bos=bos)
    begin = asked.query[0]
    if found.query[0] != begin or found.ids[:begin] != asked.ids[:begin]:
        raise UserError(
            f"expected a tokenizer that keeps the context of {asked.item.id} apart from its "
            "question, it merges them; end the context with a full stop"
        )
    return found


def continuation(item: Item, answer: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Ids of a space and an answer behind a prompt.

    Raises:
        UserError: The tokenizer merges the question with what follows.
    """
    before, whole = (vocabulary.encode(text) for text in (item.text, f"{item.text} {answer}"))
    if whole[: len(before)] != before or len(whole) == len(before):
        raise UserError(
            f"expected a tokenizer that keeps the prompt of {item.id} apart from its answer, it "
            "merges them; end the question with `Answer:`"
        )
    return tuple(whole[len(before) :])
