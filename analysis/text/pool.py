"""Which ids random tokens are drawn from: a model knows few things about ids that no text holds."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from analysis.errors import UserError

from .sources import Source, read_source, token_stream
from .tokens import Tokens, Vocabulary

DEFAULT_POOL = "text"
LEAST = 100
"""Ids that a pool has at least where the vocabulary has them: as many as the longest block."""
N_READ = 65_536
"""Tokens of a text that say which ids occur in it, and how often."""


@dataclass(frozen=True)
class Pool:
    """Ids that random tokens are drawn from."""

    rule: str
    """`text`, `frequent:N` or `all`."""
    said: str
    """What the ids are, in words."""
    ranked: tuple[int, ...]
    """Every id that is not special: those of the text first, the most frequent ones first; then
    those of the built-in text likewise; then the rest, ascending."""
    size: int
    """The first so many of them are the pool."""

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """The pool, ascending."""
        return tuple(sorted(self.ranked[: self.size]))

    def tokens(
        self, rows: Sequence[Sequence[int]], name: str, seed: int, *, bos: bool, block_len: int
    ) -> Tokens:
        """Rows that were drawn from the pool.

        Args:
            rows: Token ids.
            name: What the rows are.
            seed: Of the draw.
            bos: Whether they start with a BOS.
            block_len: Tokens of a block that are to differ, 1 if none: there is a note where the
                pool has fewer.
        """
        notes: tuple[str, ...] = ()
        if self.size < block_len:
            most = ceiling(self.size, block_len)
            notes = (
                f"blocks of {block_len} tokens are drawn with replacement from {self.said}: a "
                f"perfect induction head scores about {most:.2f}",
            )
        source = f"drawn from {self.said}, seed {seed}"
        return Tokens(np.array(rows, dtype=np.int32), name, source, bos, "", notes=notes)

    def key(self) -> dict[str, str | int]:
        """What a question that draws from it is stored under."""
        digest = hashlib.sha256(np.array(self.ids, dtype="<i4").tobytes()).hexdigest()
        return {"rule": self.rule, "size": self.size, "ids": digest}


def token_pool(rule: str, text: str, vocabulary: Vocabulary, seed: int) -> Pool:
    """The ids that random tokens are drawn from.

    Args:
        rule: `text`, the ids that occur in the text; `frequent:N`, its N most frequent ones; `all`,
            every id that is not special. Pools of fewer than `LEAST`, or N, ids are widened in the
            order of `Pool.ranked`.
        text: What `read_source` takes; its first `N_READ` tokens count.
        vocabulary: The model's tokenizer; without one the pool is all ids.
        seed: Of the generated text.

    Returns:
        The pool.

    Raises:
        UserError: There is no such rule, or the text cannot be read.
    """
    match = re.fullmatch(r"text|all|frequent:(\d{1,9})", rule)
    if match is None or (match[1] is not None and int(match[1]) < 2):
        raise UserError(
            f"expected --token-pool text, all, or frequent:N with N of at least 2, got {rule}; "
            "choose one of them"
        )
    ordinary = vocabulary.ordinary
    if rule == "all" or vocabulary.tokenizer is None:
        why = "" if rule == "all" else ": without a tokenizer no text says which occur"
        said = f"all {len(ordinary):,} ids that are not special{why}"
        return Pool(rule, said, ordinary, len(ordinary))
    sources = read_source(text, seed, N_READ), read_source("reference", 0, N_READ)
    n_occurring, ranked = _ranked(*sources, vocabulary, vocabulary.hash)
    wanted = n_occurring if match[1] is None else int(match[1])
    size = min(len(ranked), max(wanted, LEAST if match[1] is None else wanted))
    name = sources[0].name.rpartition("/")[2]
    which = "that occur" if size >= n_occurring else "that are most frequent"
    wider = "" if size <= n_occurring else f" and {size - n_occurring:,} others to fill up"
    n_inside = min(size, n_occurring)
    return Pool(rule, f"the {n_inside:,} ids {which} in the text {name!r}{wider}", ranked, size)


def ceiling(n_ids: int, block_len: int) -> float:
    """What a perfect induction head scores on random blocks.

    Args:
        n_ids: Ids in the pool, V.
        block_len: Tokens in a block, L.

    Returns:
        1 where blocks are drawn without replacement, else (1 - 1/V)^(L - 1), the chance that a
        token of a block has no other copy in it: with one, a head cannot know which to follow.
    """
    return 1.0 if n_ids >= block_len else (1 - 1 / n_ids) ** (block_len - 1)


@lru_cache(maxsize=16)
def _ranked(
    source: Source, built_in: Source, vocabulary: Vocabulary, _hash: str
) -> tuple[int, tuple[int, ...]]:
    """How many ids occur in a source, and all ids in the order of `Pool.ranked`."""
    ordinary = set(vocabulary.ordinary)
    first = [i for i in _by_frequency(source, vocabulary) if i in ordinary]
    order = dict.fromkeys(first)
    order.update(dict.fromkeys(i for i in _by_frequency(built_in, vocabulary) if i in ordinary))
    order.update(dict.fromkeys(vocabulary.ordinary))
    return len(first), tuple(order)


def _by_frequency(source: Source, vocabulary: Vocabulary) -> Iterator[int]:
    """Ids that occur, the most frequent first, equals ascending."""
    ids, counts = np.unique(token_stream(source, vocabulary)[0][:N_READ], return_counts=True)
    yield from ids[np.argsort(-counts, kind="stable")].tolist()
