"""Lists of different words, shuffled and shown again: what lag profiles are measured on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from random import Random

import numpy as np
from jaxtyping import Int

from analysis.errors import UserError

from .pool import Pool
from .tokens import Tokens, Vocabulary
from .words import SEQUENCES

MIN_WORDS = 4
"""The shortest list: an item with both neighbours, and one that is no neighbour."""
_MIN_LETTERS = 3
_ORDERED = {word.lower() for words in SEQUENCES.values() for word in words}


class Design(Enum):
    """How a list is shown again. No default: what is recalled depends on it."""

    PROBE = "probe"
    """After the list one of its items, the probe; its slot varies evenly over all but the last."""

    SERIAL = "serial"
    """The whole list in the same order: recall of item k + 1 from item k, for all but the last."""


class Shown(Enum):
    """What is shown after the list."""

    ITEMS = "items"
    """Items of the list."""

    OTHERS = "other words"
    """Words that are not in the list, in the items' stead: the control. They have no successor."""


@dataclass(frozen=True, kw_only=True)
class ListQuestion:
    """Which lists."""

    design: Design
    shown: Shown
    n_words: int
    """Words in a list, n."""
    n_permutations: int
    """Orders of the same words, one a sequence."""
    seed: int
    """Of the words and their orders."""


@dataclass(frozen=True, kw_only=True)
class Lists:
    """Permutations of one list, each shown again, and the positions that are read.

    The lag of an item from a query is its slot minus the query's: 0 is the item that is shown
    again, +1 its successor, -1 its predecessor. Slots are those of the first showing alone.
    """

    tokens: Tokens
    """`BOS, list, probe` or `BOS, list, list`; its targets are the positions that are read."""
    items: Int[np.ndarray, "sequence slot"]
    """Token ids of the list, in the order of the sequence."""
    slots: Int[np.ndarray, "sequence query"]
    """The slot of the item that is shown again at each position that is read."""

    def part(self, rows: slice) -> "Lists":
        """Some of the permutations."""
        tokens = replace(self.tokens, ids=self.tokens.ids[rows])
        return Lists(tokens=tokens, items=self.items[rows], slots=self.slots[rows])


def list_words(vocabulary: Vocabulary) -> tuple[int, ...]:
    """Token ids of all words that a list may hold, ascending.

    Args:
        vocabulary: The model's tokenizer.

    Returns:
        Words of at least three letters that are one token after a space; of two that differ in
        case only, the first. Ordered words (weekdays, months, numbers) are left out: they have
        successors of their own.

    Raises:
        UserError: The model has no tokenizer.
    """
    vocabulary.require()
    return _list_words(vocabulary)


@lru_cache(maxsize=4)
def _list_words(vocabulary: Vocabulary) -> tuple[int, ...]:
    texts = {vocabulary.display(token).strip() for token in vocabulary.ordinary}
    words = sorted(text for text in texts if text.isalpha() and len(text) >= _MIN_LETTERS)
    known = set(vocabulary.ordinary)
    chosen: dict[str, int] = {}
    for token, word in sorted((token, word) for word, token in vocabulary.single(words).items()):
        if token in known and word.lower() not in _ORDERED:
            chosen.setdefault(word.lower(), token)
    return tuple(chosen.values())


def max_words(vocabulary: Vocabulary, design: Design, n_ctx: int) -> int:
    """The longest list that fits a model's context, and its vocabulary with as many others.

    Args:
        vocabulary: The model's tokenizer.
        design: How the list is shown again.
        n_ctx: The model's context.

    Returns:
        Words in a list.
    """
    room = n_ctx - len(vocabulary.bos)
    fitting = room - 1 if design is Design.PROBE else room // 2
    return min(fitting, len(list_words(vocabulary)) // 2)


def shown_lists(vocabulary: Vocabulary, pool: Pool, n_ctx: int, asked: ListQuestion) -> Lists:
    """Draw a list and show its permutations.

    The words and their orders depend on the seed and the length alone: both designs, and items and
    other words, go over the same permutations, and fewer permutations are the first of more.

    Args:
        vocabulary: The model's tokenizer.
        pool: Where words are drawn from; of a pool with too few, those that come next in its order
            are taken besides.
        n_ctx: The model's context.
        asked: Which lists.

    Returns:
        The permutations.

    Raises:
        UserError: The list does not fit the context, the vocabulary has too few words, or there
            are not two permutations.
    """
    _check(vocabulary, n_ctx, asked)
    n, rng = asked.n_words, Random(f"lists/{asked.seed}")
    known, inside = set(list_words(vocabulary)), set(pool.ids)
    ranked = [token for token in pool.ranked if token in known]
    n_words = max(2 * n, len(inside.intersection(ranked)))
    words = rng.sample(sorted(ranked[:n_words]), 2 * n)
    orders = [rng.sample(words[:n], n) for _ in range(asked.n_permutations)]
    again = Random(f"other words/{asked.seed}")
    others = [again.sample(words[n:], n) for _ in orders]
    items, probes = np.array(orders), np.array(probe_slots(n, asked.n_permutations))[:, None]
    source = items if asked.shown is Shown.ITEMS else np.array(others)
    serial = asked.design is Design.SERIAL
    shown = source if serial else np.take_along_axis(source, probes, 1)
    slots = np.tile(np.arange(n - 1), (len(orders), 1)) if serial else probes
    bos = np.array([vocabulary.bos] * len(orders), dtype=int).reshape(len(orders), -1)
    first = bos.shape[1] + n
    tokens = Tokens(
        np.concatenate([bos, items, shown], axis=1).astype(np.int32),
        f"{n} words, then {asked.shown.value} ({asked.design.value})",
        f"words among {pool.said}, seed {asked.seed}",
        bool(vocabulary.bos),
        vocabulary.hash,
        targets=tuple(range(first, first + slots.shape[1])),
    )
    return Lists(tokens=tokens, items=items, slots=slots)


def probe_slots(n_words: int, n_permutations: int) -> Sequence[int]:
    """The slot of the probe in each permutation.

    Args:
        n_words: Slots of the list, n.
        n_permutations: How many.

    Returns:
        Slots from 0 to n - 2. Every n - 1 of them in a row hold each slot once, and any beginning
        of these is spread over the list, so that the lag says nothing of the position.

    Source:
        van der Corput 1935: the order of bits reversed.
    """
    n_slots = n_words - 1
    n_bits = n_slots.bit_length()
    order = sorted(range(n_slots), key=lambda slot: f"{slot:0{n_bits}b}"[::-1])
    return [order[i % n_slots] for i in range(n_permutations)]


def _check(vocabulary: Vocabulary, n_ctx: int, asked: ListQuestion) -> None:
    n, n_known = asked.n_words, len(list_words(vocabulary))
    n_shown = n if asked.design is Design.SERIAL else 1
    n_pos = len(vocabulary.bos) + n + n_shown
    if n < MIN_WORDS or n_pos > n_ctx:
        longest = (n_ctx - len(vocabulary.bos)) // 2 if n_shown > 1 else n_ctx - n_pos + n
        raise UserError(
            f"expected lists of {MIN_WORDS} to {longest} words, which a context of {n_ctx} tokens "
            f"holds with what is shown again ({asked.design.value}), got {n}; "
            "choose another length"
        )
    if n_known < 2 * n:
        raise UserError(
            f"expected {2 * n} words of one token each, {n} for the list and {n} for its control, "
            f"found {n_known} in the vocabulary; ask for lists of at most {n_known // 2} words"
        )
    if asked.n_permutations < 2:
        raise UserError(
            f"expected at least 2 permutations for an interval, got {asked.n_permutations}; "
            "ask for more"
        )
