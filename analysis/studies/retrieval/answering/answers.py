"""When an answer is right, the gold answer, whole, said first; and when its beginning says so."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from analysis.text.tokens import Vocabulary

from .decoding import Limit

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WORDS = re.compile(r"(?<!\w)-?\d+(?:[.,:/-]\d+)*(?:[^\W\d_]+)?|[^\W_]+(?:['\u2019][^\W_]+)*")
_FURTHER = ("", " ", "a", " a", "1", " 1", ".1", ",1", ",111", "-1", "/1", ":1", "'a", "\u0301")
"""Kinds of text that may follow, and so decide whether a word or number ends."""


def normalised(text: str) -> str:
    """What counts of a text: its words in lower case and its numbers, joined by single spaces.

    Args:
        text: Any text.

    Returns:
        No punctuation between words, no commas between thousands (`1,234` is `1234`); a number is
        one word with its sign, decimals or parts (`-5`, `12.5`, `1995-96`). Empty where nothing
        is said.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_WORDS.findall(_THOUSANDS.sub("", plain)))


def correct(generated: str, gold: str) -> bool:
    """Whether a text starts with the gold answer as a whole word or phrase.

    Args:
        generated: What the model says.
        gold: The answer.

    Returns:
        False also where the gold answer says nothing, so that nothing is right by default.
    """
    wanted = normalised(gold).split()
    return bool(wanted) and normalised(generated).split()[: len(wanted)] == wanted


def spoken(ids: Sequence[int], vocabulary: Vocabulary) -> str:
    """The text of generated tokens up to the end of the line."""
    return vocabulary.require().decode(list(ids)).split("\n")[0]


def said_first(best: Sequence[int], given: Sequence[int]) -> list[int]:
    """What greedy decoding says first, as far as it follows what was given, and one token on."""
    n = next((i for i, token in enumerate(given) if best[i] != token), len(given))
    return [*given[:n], best[n]] if n < len(best) else list(given[:n])


def settled_ids(
    said: Sequence[int], gold: str, vocabulary: Vocabulary, limit: Limit
) -> bool | None:
    """Whether an answer that begins so is right; None if that depends on what follows."""
    text = spoken(said, vocabulary)
    if said[-1] in limit.stop or len(said) >= limit.n_new:
        return correct(spoken(said[: limit.n_new], vocabulary), gold)
    return settled(text, gold)


@lru_cache(maxsize=2**16)
def settled(text: str, gold: str) -> bool | None:
    """Whether an answer that begins with a text is right, whatever follows.

    Args:
        text: What is said so far.
        gold: The right answer.

    Returns:
        The same as `correct` of every continuation that is tried: endings of the right answer,
        and a letter, digit or mark that would make the last word another one. None if they differ.
    """
    rests = [*_FURTHER, *(gold[i:] for i in range(len(gold))), *(f" {gold}", f"{gold} a")]
    verdicts = {correct(text + rest, gold) for rest in rests}
    return verdicts.pop() if len(verdicts) == 1 else None
