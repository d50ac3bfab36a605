"""Texts that come with the program: generated English, and passages of public-domain prose."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from random import Random

from analysis.files import LARGE, regular_bytes
from analysis.outputs import claim, write_text

from . import english, records

PER_TOKEN = 6
"""Characters that are generated for each token that is asked for."""
FOLDER = Path(__file__).resolve().parent.parent / "prose"
"""The sample, and what it was made of: `headbook sample-prose` writes both."""
PASSAGES, SOURCES = "passages.jsonl", "sources.json"
LENGTH = 1_500
"""Characters of a passage, at most; about as many lie between two of one file, at least."""
MOST = 10
"""Passages of one file."""
LEFT_OUT = {
    "oz_montecristo.txt": "its text is a list in JSON whose items overlap",
    "tinyshakespeare.txt": "verse",
}
"""Files of the corpus that are no prose as it is read."""
LICENCE = "Project Gutenberg"
"""Named behind the end of a book only: what follows is not of it."""
_SENTENCE = re.compile(r"[.!?][\"')\]]*\s+")
"""Where one ends."""


class BuiltIn(Enum):
    """A text by the name that it is asked for by."""

    REFERENCE = "reference"
    """Generated English: stories, gifts, lists and filings from a seeded grammar, as many as are
    asked for, from seeds that no training draws."""

    PROSE = "prose"
    """Passages of novels, stories and speeches in the public domain, a document each, all from the
    parts that the reference model's training held out."""

    @property
    def said(self) -> str:
        """What it is, in words."""
        return {"reference": "generated English", "prose": "public-domain prose"}[self.value]

    def documents(self, seed: int, n_tokens: int) -> tuple[str, ...]:
        """Its documents.

        Args:
            seed: Of the generated text; prose has none.
            n_tokens: About how many tokens are wanted; prose is as long as it is.
        """
        if self is BuiltIn.PROSE:
            return prose_documents()
        return generated_documents(seed, PER_TOKEN * n_tokens)


def built_in(name: str) -> BuiltIn | None:
    """The text of that name, if it comes with the program."""
    return next((text for text in BuiltIn if text.value == name), None)


def text_said(name: str) -> str:
    """A text in words: what a built-in one is, or the name of a file or data set."""
    found = built_in(name)
    return name.rpartition("/")[2] if found is None else found.said


@lru_cache(maxsize=8)
def generated_documents(seed: int, n_characters: int) -> tuple[str, ...]:
    """Stories, gifts, lists and filings from seeds that training never draws.

    Gifts and filings also have held-out names, values and templates; the rest has new draws of
    the same grammar.
    """
    rng, documents = Random(f"evaluation/{seed}"), list[str]()
    while n_characters > 0:
        documents.append(_generated_document(rng))
        n_characters -= len(documents[-1])
    return tuple(documents)


def _generated_document(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return english.story(rng, rng.randrange(4, 12)) + "\n"
    if kind < 0.7:
        gifts = [english.gift(rng, english.Split.TEST).text for _ in range(rng.randrange(1, 4))]
        return ". ".join(gifts) + ".\n"
    if kind < 0.85:
        asked = records.questions(rng, english.Split.TEST, n_records=2, n_filler=6)[:3]
        lines = [f"{item.question} {item.answer}." for item in asked]
        return "\n".join([asked[0].context, *lines]) + "\n"
    return english.paragraph(rng)


Passage = dict[str, str | int]
"""Its `text`, the `file` that it is of, and the character of that file at which it `start`s."""


@lru_cache(maxsize=1)
def prose_documents() -> tuple[str, ...]:
    """The passages of the sample, a document each, in the order of the file."""
    lines = regular_bytes(FOLDER / PASSAGES, LARGE).decode("utf-8").splitlines()
    return tuple(json.loads(line)["text"] + "\n" for line in lines)


def passages(held_out: Mapping[str, tuple[int, str]], seed: int) -> list[Passage]:
    """Whole sentences from places that are spread evenly over the held-out part of every file.

    Args:
        held_out: By file, the character at which its held-out part starts, and that part.
        seed: Of the order: each stretch of the sample has passages of many files.

    Returns:
        Passages of `LENGTH` characters at most, up to `MOST` a file, in random order.
    """
    found = [
        {"text": text, "file": name, "start": start + place}
        for name, (start, part) in held_out.items()
        if name not in LEFT_OUT
        for place, text in _spread(part.partition(LICENCE)[0])
    ]
    return Random(seed).sample(found, len(found))


def _spread(part: str) -> list[tuple[int, str]]:
    """Passages of a text and where they start; the broken sentence at its beginning is in none."""
    n = min(MOST, len(part) // (2 * LENGTH))
    ends = [match.end() for match in _SENTENCE.finditer(part)]
    found: list[tuple[int, str]] = []
    for first in (i * len(part) // n for i in range(n)):
        start = next((end for end in ends if end > first), len(part))
        end = max((end for end in ends if start < end <= start + LENGTH), default=start)
        found.append((start, part[start:end].rstrip()))
    return [(start, text) for start, text in found if text]


def write_sample(
    folder: Path, found: Sequence[Passage], files: Mapping[str, Mapping[str, str]]
) -> None:
    """Write passages and what they are of.

    Args:
        folder: Where to; it is made.
        found: Of `passages`.
        files: By name, the `sha256` and the public `source` of every file that some are of.

    Raises:
        UserError: The folder holds files of others.
    """
    claim(folder, (PASSAGES, SOURCES))
    lines = "".join(json.dumps(passage, ensure_ascii=False) + "\n" for passage in found)
    counts = {name: sum(each["file"] == name for each in found) for name in files}
    about = {
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "passages": len(found),
        "left_out": LEFT_OUT,
        "files": {
            name: {**said, "passages": counts[name]} for name, said in files.items() if counts[name]
        },
    }
    write_text(folder / PASSAGES, lines)
    write_text(folder / SOURCES, json.dumps(about, indent=1) + "\n")
