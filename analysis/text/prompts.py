"""Short prompts whose next token is interesting, and prompts as rows of tokens."""

import hashlib
from typing import NamedTuple

import numpy as np

from analysis.errors import UserError

from .tokens import Tokens, Vocabulary


class Prompt(NamedTuple):
    """A text whose continuation is asked for."""

    category: str
    text: str


_BY_CATEGORY = {
    "fixed phrase": (
        "once upon a",
        "happily ever",
        "ladies and gentle",
        "as a matter of",
        "in the middle of the",
        "on the other",
    ),
    "bigram": ("the United States of", "thank", "New", "for exam", "peanut butter and"),
    "code": (
        "for lamp in range(",
        "def add(left, right):\n    return left +",
        "if (count == 0) {",
        'print("hello',
        "import numpy as",
        "while True:\n   ",
    ),
    "html": (
        "<ul><li>tea</li><li>",
        '<a href="',
        "<b>bold</b> and <i>leaning</",
        "<p>Is this run?</p><script>alert(1)</script><p>No, it is",
    ),
    "url": (
        "https://www.",
        "see http://lamps.example/index.",
        "write to anna@post.example or tom@",
    ),
    "counting": ("one, two, three,", "1 2 3 4", "first, second, third,", "10, 20, 30,"),
    "weekday and month": ("Monday, Tuesday,", "After Thursday comes", "January, February, March,"),
    "alphabet": ("A B C D", "a, b, c, d,", "X, Y,"),
    "arithmetic": ("2 + 2 =", "three plus one is", "10 - 1 = 9, 9 - 1 ="),
    "repetition": (
        "red lamp, red lamp, red",
        "the fox met the owl. The fox met the",
        "Tom gave Anna a coin. Anna gave Tom a",
        "ha ha ha ha",
        "q7 zx q7 zx q7",
    ),
}

PROMPTS = tuple(
    Prompt(category, text) for category, texts in _BY_CATEGORY.items() for text in texts
)
"""Written for this project; categories stay together."""


def prompt_tokens(prompt: Prompt, vocabulary: Vocabulary, bos: bool) -> Tokens:
    """A prompt as one row of tokens: prompts of different lengths are data sets of their own.

    Args:
        prompt: The text; its category becomes part of the source.
        vocabulary: The model's tokenizer.
        bos: Whether it starts with the tokenizer's BOS, exactly once.

    Returns:
        One row.

    Raises:
        UserError: The text has no token or cannot be encoded, or a BOS is asked of a tokenizer
            that has none.
    """
    if bos and not vocabulary.bos:
        raise UserError(
            f"expected a BOS token, the tokenizer in {vocabulary.folder} has none; use --no-bos"
        )
    first = vocabulary.bos if bos else ()
    body = [token for token in vocabulary.encode(prompt.text) if token not in vocabulary.own_bos]
    if not body:
        raise UserError(
            f"expected a prompt of at least one token, got {prompt.text!r}; type some text"
        )
    return Tokens(
        ids=np.array([[*first, *body]], dtype=np.int32),
        name=f"prompt: {prompt.text}",
        source=f"{prompt.category} sha256:{hashlib.sha256(prompt.text.encode()).hexdigest()}",
        bos=bos,
        tokenizer=vocabulary.hash,
    )


def check_length(n_tokens: int, n_ctx: int, name: str) -> None:
    """Make sure that a prompt fits a model.

    Args:
        n_tokens: Length of the prompt, with its BOS.
        n_ctx: The model's context.
        name: The model's.

    Raises:
        UserError: It is longer.
    """
    if n_tokens > n_ctx:
        raise UserError(
            f"expected a prompt of at most {n_ctx} tokens, the context of {name}, got {n_tokens}; "
            "shorten it"
        )
