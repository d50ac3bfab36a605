"""Text with BOS or a word at position 0 and in the middle, and random blocks shown again."""

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from analysis.text.pool import Pool
from analysis.text.repeats import random_block
from analysis.text.tokens import Tokens

from .measures import has_earlier_copy

BOS_FIRST, WORD_FIRST, BOS_MOVED, BOS_TWICE = DESIGNS = (
    *("bos_first", "word_first"),
    *("bos_moved", "bos_twice"),
)
"""The 2 x 2: BOS or an ordinary word at position 0, and at a position in the middle."""


def two_by_two(text: Tokens, moved_to: int) -> dict[str, Tokens]:
    """The same text in four designs that differ at position 0 and in the middle only.

    Args:
        text: Rows `BOS, w_0, w_1, ...`.
        moved_to: The position in the middle, m.

    Returns:
        Rows `w_0, w_1, ...` by design, with BOS instead of w_0, of w_m, of both, or of neither.
    """
    bos, words = text.ids[0, 0], text.ids[:, 1:]
    rows = {name: words.copy() for name in DESIGNS}
    for name in (BOS_FIRST, BOS_TWICE):
        rows[name][:, 0] = bos
    for name in (BOS_MOVED, BOS_TWICE):
        rows[name][:, moved_to] = bos
    starts = (BOS_FIRST, BOS_TWICE)
    return {
        name: Tokens(ids, text.name, text.source, name in starts, text.tokenizer)
        for name, ids in rows.items()
    }


def repeated_and_fresh(
    pool: Pool, bos: Sequence[int], shape: tuple[int, int], seed: int
) -> dict[str, Tokens]:
    """Rows `bos, s, s` and, as the control, `bos, s, t` with the same s and a fresh t.

    Args:
        pool: Ids that both blocks of a pair are drawn from, as `random_block` does.
        bos: The token at position 0, or nothing.
        shape: Sequences, and tokens in each block.
        seed: Of the draw.

    Returns:
        `repeated` and `fresh`.
    """
    rng = Random(f"sink repeats/{seed}")
    n_sequences, block_len = shape
    pairs = [random_block(rng, pool.ids, 2 * block_len) for _ in range(n_sequences)]
    rows = {
        "repeated": [[*bos, *pair[:block_len], *pair[:block_len]] for pair in pairs],
        "fresh": [[*bos, *pair] for pair in pairs],
    }
    names = {"repeated": "random block twice", "fresh": "random block, then a fresh one"}
    return {
        data: pool.tokens(ids, names[data], seed, bos=bool(bos), block_len=1)
        for data, ids in rows.items()
    }


def queries(
    ids: Int[np.ndarray, "sequence pos"], n_bos: int, block_len: int
) -> tuple[Bool[Tensor, "sequence pos"], Bool[Tensor, "sequence pos"]]:
    """Queries of the first block, and those of the second that are compared with them.

    Args:
        ids: Rows of one of the two data sets.
        n_bos: Tokens before the first block, 0 or 1.
        block_len: Tokens in a block.

    Returns:
        Queries of the first block but position 0 whose token has no earlier copy; and queries of
        the second block, which have one if the block was repeated and have none if it is fresh.
    """
    rows = torch.from_numpy(ids)
    copied, second = has_earlier_copy(rows), torch.zeros_like(rows, dtype=torch.bool)
    second[:, n_bos + block_len :] = True
    first = ~second & ~copied
    first[:, 0] = False
    repeated = bool(np.array_equal(ids[:, -block_len:], ids[:, -2 * block_len : -block_len]))
    return first, second & (copied if repeated else ~copied)
