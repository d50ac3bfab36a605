"""The second text: what depends on the text is asked of another one beside it."""

from __future__ import annotations

from dataclasses import replace

from analysis.text.builtin import BuiltIn, text_said
from analysis.text.sources import read_source, token_stream
from analysis.text.tokens import NO_TOKENIZER

from .asked import Asked

SECOND = "a second text"
"""What rows of `absences` call it."""
LEAST = 4
"""Rows that a text must fill: two that choose and two that judge."""


def second_text(asked: Asked) -> Asked:
    """The same asked of another text: built-in prose, or generated English where that is asked."""
    own = asked.text == BuiltIn.PROSE.value
    return replace(asked, text=(BuiltIn.REFERENCE if own else BuiltIn.PROSE).value)


def texts_said(asked: Asked) -> tuple[str, str]:
    """The text that is asked for, and the second one, in words."""
    return text_said(asked.text), text_said(second_text(asked).text)


def no_second_text(asked: Asked, n_tokens: int) -> str:
    """Why there is no second text; empty where there is.

    Args:
        asked: The model and its text.
        n_tokens: Length of the rows that are compared.
    """
    if asked.vocabulary.tokenizer is None:
        return NO_TOKENIZER
    other = second_text(asked)
    source = read_source(other.text, other.seed, LEAST * n_tokens)
    if len(token_stream(source, other.vocabulary)[0]) >= LEAST * n_tokens:
        return ""
    return f"{text_said(other.text)} fills no {LEAST} rows of {n_tokens:,} tokens"
