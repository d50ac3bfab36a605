"""A user's items: one JSON object a line, each checked; what is refused is named and counted."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.errors import UserError, printable, reason
from analysis.files import regular_bytes
from analysis.settings import strict_json
from analysis.text.tokens import Vocabulary

from .answering.answers import normalised
from .answering.items import MAX_NEW, Item
from .answering.prompts import Prompt, prompt

FIELDS = ("id", "context", "question", "answer", "answer_span")
"""What every line holds; `wrong`, a list of other records' answers, may be given besides."""
LARGEST = 64 * 2**20
"""Bytes of a file that is read."""
_DIGITS = 18
_ENDS = re.compile(r"[.!?]\s+|\n+")


@dataclass(frozen=True)
class Refused:
    """An item that is not asked."""

    line: int | None
    """Line of the file, from 1; None where the file was fine and the model is the reason."""
    id: str
    """The item's id; empty where the line has none."""
    reason: str
    """What was expected, and what was found."""

    @property
    def place(self) -> str:
        """Which item it is: its line and its id, as far as they are known."""
        line = "" if self.line is None else f"line {self.line}"
        return ", ".join(filter(None, (line, f"item {self.id}" if self.id else "")))

    def __str__(self) -> str:
        return printable(f"{self.place}: {self.reason}")


def read_items(path: Path) -> tuple[list[Item], list[Refused]]:
    """Read items, keeping those that are whole.

    Args:
        path: A file of lines `{id, context, question, answer, answer_span}`, where the span is the
            start and end of the answer's characters in the context. The question is fed as it is
            after a newline, so it ends as the model expects, such as `Question: ... Answer:`;
            space at its end is dropped, since one stands before the answer. Empty lines are
            skipped.

    Returns:
        Items in their order, and the lines that were refused.

    Raises:
        UserError: There is no such file, or it is larger than 64 MiB.
    """
    items: dict[str, Item] = {}
    refused: list[Refused] = []
    for number, raw in enumerate(regular_bytes(path, LARGEST).splitlines(), start=1):
        if not raw.strip():
            continue
        name = ""
        try:
            record = _record(raw)
            name = str(record.get("id", ""))
            item = _item(record)
            if item.id in items:
                raise _ItemError("expected an id of its own, another item before has the same")
            items[item.id] = item
        except _ItemError as error:
            refused.append(Refused(number, name, str(error)))
    return list(items.values()), refused


def fitting(
    items: Sequence[Item], vocabulary: Vocabulary, *, n_ctx: int, bos: bool
) -> tuple[list[Prompt], list[Refused]]:
    """Tokenise items, keeping those that a model can read and answer.

    Args:
        items: Any items.
        vocabulary: The model's tokenizer.
        n_ctx: Tokens in the model's context.
        bos: Whether a BOS stands before each context.

    Returns:
        Prompts in the items' order, and the items that were refused.
    """
    prompts: list[Prompt] = []
    refused: list[Refused] = []
    for item in items:
        try:
            found = prompt(item, vocabulary, bos=bos)
        except UserError as error:
            refused.append(Refused(None, item.id, str(error)))
            continue
        if reason := _misfit(found, n_ctx):
            refused.append(Refused(None, item.id, reason))
        else:
            prompts.append(found)
    return prompts, refused


def _misfit(found: Prompt, n_ctx: int) -> str:
    """Why a model cannot answer a prompt; empty if it can."""
    if len(found.ids) + MAX_NEW > n_ctx:
        return (
            f"expected a prompt of at most {n_ctx - MAX_NEW} tokens, the model's context less "
            f"{MAX_NEW} for the answer, got {len(found.ids)}"
        )
    if len(found.answer) > MAX_NEW:
        return f"expected an answer of at most {MAX_NEW} tokens, got {len(found.answer)}"
    return ""


class _ItemError(Exception):
    """Why a line is not an item."""


def _record(raw: bytes) -> dict[str, Any]:
    try:
        found: Any = strict_json(raw.decode("utf-8"), _DIGITS)
    except UnicodeDecodeError as error:
        raise _ItemError(f"expected UTF-8, got another byte at {error.start}") from None
    except json.JSONDecodeError as error:
        raise _ItemError(f"expected JSON, got {error.msg} at column {error.colno}") from None
    except ValueError as error:
        raise _ItemError(reason(error)) from None
    if not isinstance(found, dict):
        raise _ItemError(f"expected a JSON object, got {type(found).__name__}")
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _ItemError(
            "expected text of whole characters, got half of a surrogate pair; remove it"
        ) from None
    return found


def _item(record: dict[str, Any]) -> Item:
    if missing := [field for field in FIELDS if field not in record]:
        raise _ItemError(f"expected {', '.join(FIELDS)}, found no {', '.join(missing)}")
    texts = [record[field] for field in FIELDS[1:4]]
    for field, text in zip(FIELDS[1:4], texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise _ItemError(f"expected text as {field}, got {text!r}")
    context, question, answer = texts
    if not isinstance(record["id"], (str, int)) or not str(record["id"]):
        raise _ItemError(f"expected a text or a number as id, got {record['id']!r}")
    wrong = record.get("wrong", [])
    if not isinstance(wrong, list) or not all(isinstance(w, str) and normalised(w) for w in wrong):
        raise _ItemError(f"expected a list of answers as wrong, got {wrong!r}")
    if not normalised(answer):
        raise _ItemError(f"expected an answer with a word or a number, got {answer!r}")
    said = Counter(map(normalised, (answer, *wrong)))
    if twice := [w for w in wrong if said[normalised(w)] > 1]:
        raise _ItemError(
            "expected wrong answers that all differ from each other and from the right one, got "
            f"{twice[0]!r} twice"
        )
    start, end = _span(record["answer_span"], context, answer)
    sentence = _sentence(context, start, end)
    return Item(
        id=str(record["id"]),
        context=context,
        question=question.rstrip(),
        answer=answer,
        answer_span=(start, end),
        sentence_span=sentence,
        documents=(sentence,),
        wrong=tuple(wrong),
        fact="",
        depth=start / max(1, len(context) - len(answer)),
    )


def _span(span: Any, context: str, answer: str) -> tuple[int, int]:
    """The span, if the answer really stands there."""
    if answer not in context:
        raise _ItemError(f"expected an answer that stands in the context, {answer!r} does not")
    if not isinstance(span, list) or [type(end) for end in span] != [int, int]:
        raise _ItemError(f"expected answer_span as [start, end], got {span!r}")
    start, end = span
    if not 0 <= start < end <= len(context):
        raise _ItemError(
            f"expected answer_span inside the context's {len(context)} characters, got {span}"
        )
    if context[start:end] != answer:
        raise _ItemError(f"expected {answer!r} at {span}, found {context[start:end]!r}")
    return start, end


def _sentence(context: str, start: int, end: int) -> tuple[int, int]:
    """The sentence around a span, up to the nearest ends on either side."""
    breaks = [match.span() for match in _ENDS.finditer(context)]
    first = max((stop for _, stop in breaks if stop <= start), default=0)
    last = min((begin for begin, _ in breaks if begin >= end - 1), default=len(context))
    return first, min(len(context), max(end, last + 1))
