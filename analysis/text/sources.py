"""Text to evaluate on: one that comes with the program, a file, or a streamed data set."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from jaxtyping import Int

from analysis.errors import UserError

from .builtin import built_in
from .documents import Part, first_documents
from .tokens import Tokens, Vocabulary

PER_TOKEN = 8
"""Characters that are streamed for each token that is asked for."""
_SPARE = 200
"""Tokens that are read for each row beside twice its own: it has its documents to itself."""


@dataclass(frozen=True)
class Source:
    """Documents before tokenising, and the hash of their content."""

    name: str
    sha256: str
    documents: tuple[str | tuple[int, ...], ...]
    """Text, or token ids where the file holds those."""
    part: str = ""
    """Which part of a file they are; empty for all of it."""


def read_source(name: str, seed: int, n_tokens: int) -> Source:
    """Read or generate documents.

    Args:
        name: A value of `BuiltIn`, a `.txt`, `.jsonl` or `.parquet` file, or
            `hf:dataset[:split[:column]]`.
        seed: Of the generated text; files do not use it.
        n_tokens: About how many tokens are wanted: of streams and files no more is read than that
            takes, with room to spare, and of files 2 MiB at least.

    Returns:
        The documents.

    Raises:
        UserError: The file is missing, empty, not UTF-8, or has no such column.
    """
    found = Part([], "")
    if (known := built_in(name)) is not None:
        documents = known.documents(seed, n_tokens)
    elif name.startswith("hf:"):
        documents = _streamed(name, PER_TOKEN * n_tokens)
    else:
        found = first_documents(Path(name), n_tokens)
        documents = found.documents
    kept = tuple(document for document in documents if document)
    if not kept:
        empty = f"{name} has none in {found.said}" if found.said else f"{name} is empty"
        raise UserError(f"expected text, {empty}; give a file with text in it")
    digest = hashlib.sha256()
    for document in kept:
        part = document if isinstance(document, str) else " ".join(map(str, document))
        digest.update(part.encode() + b"\0")
    return Source(name, digest.hexdigest(), kept, found.said)


def text_rows(
    text: str, vocabulary: Vocabulary, shape: tuple[int, int], *, bos: bool, seed: int, room: int
) -> Tokens:
    """Read a text and choose rows of it, as `read_source` and `windows` do.

    Args:
        text: What `read_source` takes.
        vocabulary: The model's tokenizer.
        shape: Rows wanted, and their length with the BOS.
        bos: Whether each row starts with the tokenizer's BOS.
        seed: Of the generated text, and of the choice of rows.
        room: How many times as many tokens are read as the rows hold.
    """
    n_rows, n_tokens = shape
    source = read_source(text, seed, room * n_rows * (2 * n_tokens + _SPARE))
    return windows(source, vocabulary, n_sequences=n_rows, n_tokens=n_tokens, bos=bos, seed=seed)


def windows(
    source: Source,
    vocabulary: Vocabulary,
    *,
    n_sequences: int,
    n_tokens: int,
    bos: bool,
    seed: int,
) -> Tokens:
    """Cut the text into rows of one length and choose some at random, of different documents.

    Rows of one document are alike, and no interval over rows would know: what shares a document
    with another chosen row is taken only where there are too few others, and noted.

    Args:
        source: Documents, joined in order.
        vocabulary: The model's tokenizer.
        n_sequences: Rows wanted; fewer come back when the text is too short for them.
        n_tokens: Length of each row, with the BOS.
        bos: Whether each row starts with the tokenizer's BOS, exactly once.
        seed: Of the choice of rows.

    Returns:
        Rows of token ids, in the order of `halves_apart`.

    Raises:
        UserError: The text does not fill one row, has ids outside the vocabulary, or a BOS is
            asked of a tokenizer that has none.
    """
    if bos and not vocabulary.bos:
        raise UserError(
            f"expected a BOS token, the tokenizer in {vocabulary.folder} has none; use --no-bos"
        )
    start = vocabulary.bos if bos else ()
    stream, documents = token_stream(source, vocabulary)
    body = n_tokens - len(start)
    n_rows = len(stream) // body
    if n_rows == 0:
        raise UserError(
            f"expected at least {body} tokens in {source.name}, found {len(stream)}; "
            "give a longer text or a smaller --tokens"
        )
    outside = stream[(stream < 0) | (stream >= vocabulary.vocab)]
    if outside.size:
        raise UserError(
            f"expected token ids below {vocabulary.vocab} in {source.name}, found "
            f"{outside[0]}; give ids of this model's tokenizer"
        )
    whole = slice(n_rows * body)
    places, n_apart = _apart(documents[whole].reshape(n_rows, body), n_sequences, seed)
    chosen = halves_apart(sorted(places))
    rows = stream[whole].reshape(n_rows, body)[chosen].astype(np.int32)
    first = np.full((len(rows), len(start)), start, dtype=np.int32)
    name = Path(source.name).name.encode("utf-8", "replace").decode()
    return Tokens(
        ids=np.concatenate([first, rows], axis=1),
        name=name,
        source=f"{name}{f' ({source.part})' if source.part else ''} sha256:{source.sha256}",
        bos=bos,
        tokenizer=vocabulary.hash,
        notes=_notes(source, name, (n_rows, n_apart), (n_sequences, n_tokens)),
    )


def _apart(
    documents: Int[np.ndarray, "row pos"], n_wanted: int, seed: int
) -> tuple[list[int], int]:
    """Choose rows at random, those first that share no document with one before.

    Args:
        documents: Which document each token is of; they follow each other.
        n_wanted: How many rows.
        seed: Of the choice.

    Returns:
        The rows, all if there are no more, and how many of them share no document.
    """
    apart, rest, seen = list[int](), list[int](), set[int]()
    for row in Random(seed).sample(range(len(documents)), len(documents)):
        held = set(range(documents[row, 0], documents[row, -1] + 1))
        if held.isdisjoint(seen):
            apart.append(row)
            seen |= held
        else:
            rest.append(row)
        if len(apart) == n_wanted:
            break
    return [*apart, *rest][:n_wanted], len(apart)


def halves_apart(places: Sequence[int]) -> list[int]:
    """Order rows of a text so that every second one comes from another stretch of it.

    Neighbouring rows may share a document, and half of the rows must not choose what the other half
    judges. So rows 0, 4, 8, ... are the first quarter of the text, and 2, 6, 10, ... the
    second; the odd ones are the second half, in the same way. Halves of all rows, and of the even
    ones alone, share no more than the document at the border between them.

    Args:
        places: Rows in the order of the text.

    Returns:
        The same in the order in which they are used.
    """
    ordered, start = list(places), 0
    for first in (0, 2, 1, 3):
        n = len(range(first, len(places), 4))
        ordered[first::4] = places[start : start + n]
        start += n
    return ordered


def _notes(
    source: Source, name: str, found: tuple[int, int], asked: tuple[int, int]
) -> tuple[str, ...]:
    """What whoever asks should know: a part of the text, fewer rows, or rows of one document."""
    (n_rows, n_apart), (n_sequences, n_tokens) = found, asked
    part = f"{name} is read in part, {source.part}: what is asked takes no more"
    few = (
        f"{name} fills {n_rows:,} rows of {n_tokens} tokens, {n_sequences:,} were asked for: "
        "all of them are used"
    )
    n_used = min(n_rows, n_sequences)
    shared = (
        f"{name} has {n_apart:,} rows of {n_tokens} tokens that share no document, {n_used:,} are "
        "used: their intervals are of this text, not of others like it"
    )
    told = {part: bool(source.part), few: n_rows < n_sequences, shared: n_apart < n_used}
    return tuple(note for note, holds in told.items() if holds)


Stream = tuple[Int[np.ndarray, " token"], Int[np.ndarray, " token"]]
"""Token ids, and which document each is of."""


def token_stream(source: Source, vocabulary: Vocabulary) -> Stream:
    """All ids of a source in order, without any BOS in it; not to be written to."""
    return _stream(source, vocabulary, vocabulary.hash)


@lru_cache(maxsize=8)
def _stream(source: Source, vocabulary: Vocabulary, _hash: str | None) -> Stream:
    """All ids of a source, tokenised once for the many questions about it."""
    bos = set(vocabulary.own_bos)
    ids = [[i for i in _ids(each, vocabulary) if i not in bos] for each in source.documents]
    stream = np.array([i for document in ids for i in document], dtype=np.int64)
    documents = np.repeat(np.arange(len(ids)), [len(document) for document in ids])
    for each in (stream, documents):
        each.flags.writeable = False
    return stream, documents


def _ids(document: str | tuple[int, ...], vocabulary: Vocabulary) -> Sequence[int]:
    return vocabulary.encode(document) if isinstance(document, str) else document


def _streamed(name: str, n_characters: int) -> Iterator[str]:
    dataset, split, column = (*name.removeprefix("hf:").split(":"), "", "")[:3]
    try:
        import datasets  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise UserError(
            f"expected the package datasets for {name}, it is not installed; "
            "pip install 'headbook[datasets]'"
        ) from None
    try:
        load: Any = datasets.load_dataset  # pyright: ignore[reportUnknownMemberType]
        for row in load(dataset, split=split or "train", streaming=True):
            text: str = row[column or "text"]
            n_characters -= len(text)
            yield text
            if n_characters <= 0:
                return
    except Exception as error:
        raise UserError(
            f"expected hf:dataset[:split[:column]], reading {name} failed "
            f"({type(error).__name__}: {error}); check the name, the network and the column"
        ) from None
