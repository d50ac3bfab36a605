"""When an answer is right: the gold answer, whole, is the first that is said."""

import re
import unicodedata

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WORDS = re.compile(r"(?<!\w)-?\d+(?:[.,:/-]\d+)*(?:[^\W\d_]+)?|[^\W_]+(?:['\u2019][^\W_]+)*")


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
