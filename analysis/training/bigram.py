"""A bigram model of the training prose: what a loss on held-out prose is compared with."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


class Bigram:
    """Next-token probabilities from counts of pairs, smoothed by Witten and Bell's method.

    P(b | a) = (c(a, b) + t(a) P(b)) / (c(a) + t(a)), where t(a) counts the different tokens seen
    after a, and P(b) = (c(b) + 1) / (n + V).

    Source:
        Witten and Bell 1991, "The zero-frequency problem".
    """

    def __init__(self, ids: Sequence[int], n_vocab: int) -> None:
        array = np.asarray(ids, dtype=np.int64)
        counts = np.bincount(array, minlength=n_vocab)
        self.unigram: Float[np.ndarray, " vocab"] = (counts + 1) / (len(array) + n_vocab)
        self._n_vocab = n_vocab
        keys, self._pair_counts = np.unique(array[:-1] * n_vocab + array[1:], return_counts=True)
        self._pairs = keys
        self._kinds = np.bincount(keys // n_vocab, minlength=n_vocab)
        self._totals = np.bincount(array[:-1], minlength=n_vocab)

    def losses(
        self, before: Int[np.ndarray, "*row"], after: Int[np.ndarray, "*row"]
    ) -> Float[np.ndarray, "*row"]:
        """-log P(after | before) in nats.

        Args:
            before: Token ids.
            after: The tokens that follow them.

        Returns:
            Losses, finite for every pair.
        """
        key = before.astype(np.int64) * self._n_vocab + after
        place = np.searchsorted(self._pairs, key).clip(max=len(self._pairs) - 1)
        count = np.where(self._pairs[place] == key, self._pair_counts[place], 0)
        kinds, total = self._kinds[before], self._totals[before]
        backed_off = np.where(kinds > 0, kinds, 1) * self.unigram[after]
        return -np.log((count + backed_off) / (total + np.where(kinds > 0, kinds, 1)))
