"""Token lists shown again: what an induction head is trained on and measured with.

A repeat never has one constant period over the data: a model with rotary positions would then
copy from a fixed distance, without any induction head.
"""

from collections.abc import Sequence
from random import Random


def log_uniform(rng: Random, low: int, high: int) -> int:
    """An integer in [low, high] whose logarithm is uniform."""
    return min(high, int(low * ((high + 1) / low) ** rng.random()))


def shown_again(rng: Random, block: Sequence[int], length: int) -> list[int]:
    """The block, then the block again and again until `length` tokens are filled.

    Half of the time it is repeated whole; otherwise each repeat starts at a random offset, is cut
    at a random length, and may be set apart by a few tokens of the block in random order.

    Args:
        rng: Where offsets and cuts are drawn from.
        block: Token ids, at least two.
        length: How many tokens to return.

    Returns:
        `length` token ids that start with the block.
    """
    row = list(block)
    whole, apart = rng.random() < 0.5, rng.random() < 0.2
    while len(row) < length:
        if apart:
            row += rng.choices(block, k=rng.randrange(1, 6))
        offset = 0 if whole else rng.randrange(len(block))
        rotated = [*block[offset:], *block[:offset]]
        cut = len(block) if whole else rng.randrange(max(2, len(block) // 2), len(block) + 1)
        row += rotated[:cut]
    return row[:length]


def random_block(rng: Random, ids: Sequence[int], length: int) -> list[int]:
    """Random tokens, all different where there are enough of them.

    Args:
        rng: Draws.
        ids: Token ids to draw from.
        length: How many to draw.

    Returns:
        Token ids, drawn without replacement if there are at least `length`.
    """
    return rng.sample(ids, length) if len(ids) >= length else rng.choices(ids, k=length)


def repeated_tokens(
    rng: Random, ids: Sequence[int], bos: Sequence[int], block_len: int, *, shuffled: bool
) -> list[int]:
    """`bos, s, s` for a random block `s`, or `bos, s, shuffled s` as its control.

    Args:
        rng: Draws the block, as `random_block` does.
        ids: Token ids to draw from; no special tokens.
        bos: The token at position 0, or nothing.
        block_len: Tokens in the block, L.
        shuffled: Whether the second copy is in random order.

    Returns:
        `len(bos) + 2 L` token ids.
    """
    block = random_block(rng, ids, block_len)
    again = rng.sample(block, k=block_len) if shuffled else block
    return [*bos, *block, *again]


def at_another_lag(rng: Random, block: Sequence[int]) -> list[int]:
    """The start of a block again and again, as long as the block twice.

    Args:
        rng: Draws how much of it: from half of it to all but one token.
        block: L token ids, at least two.

    Returns:
        2 L token ids; from L on, each stands where it stood fewer than L tokens before.
    """
    length = len(block)
    lag = rng.randrange((length + 1) // 2, length) if length > 1 else 1
    return [block[i % lag] for i in range(2 * length)]
