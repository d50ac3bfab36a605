"""Prompts that begin alike are read once: a context, and then whatever follows it.

Where the keys of a context change when it is continued, whole sequences are read anew, each as
long as it is when its last token is predicted from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from analysis.attention import Taps, Where
from analysis.models.load import Model, hidden_states, unembed

from .decoding import finished
from .growing import caches, keys_stay

if TYPE_CHECKING:
    from transformers import Cache

Watch = Callable[[Where, Tensor], None]
"""Sees patterns (row, head, query, key) of the queries at hand, over the keys of all positions."""


class Conversation:
    """Some contexts of one length, which questions and answers follow."""

    def __init__(self, model: Model, contexts: Int[Tensor, "row pos"]) -> None:
        """Read the contexts.

        Args:
            model: The model, as it is.
            contexts: Rows of one length, at least 1, without padding.
        """
        from transformers import DynamicCache  # noqa: PLC0415 - slow to import

        self._model, self._contexts, self._cache = model, contexts, DynamicCache()
        if caches(model):
            self._feed(contexts, None)

    def follow(
        self, tails: Sequence[Sequence[int]], watch: Watch | None, n_asked: int | None = None
    ) -> Float[Tensor, "row tail_pos d_model"]:
        """What the unembedding reads at what follows each context.

        Args:
            tails: Token ids behind each context; shorter ones are filled on the right, where
                causal attention does not see it.
            watch: Sees the patterns of these positions.
            n_asked: Positions of every tail that are read together, each further one when the
                sequence ends there: the question, which an answer follows. By default all.

        Returns:
            Hidden states, also where it was filled.
        """
        longest = max(map(len, tails))
        rows = [[*tail, *[tail[-1]] * (longest - len(tail))] for tail in tails]
        tokens = torch.tensor(rows, device=self._model.device)
        if not self._keeps(longest):
            sizes = [len(tail) if n_asked is None else n_asked for tail in tails]
            return self._anew(tokens, sizes, watch, to_the_end=n_asked is not None)
        hidden = self._feed(tokens, watch)
        self._cache.crop(-longest)
        return hidden

    def answers(
        self,
        questions: Int[Tensor, "row pos"],
        n_new: int,
        stop: Sequence[int],
        watch: Watch | None,
    ) -> list[tuple[int, ...]]:
        """Greedy answers, one token at a time.

        Args:
            questions: What follows each context, of one length.
            n_new: Tokens at most.
            stop: Ids after which a row is finished; they are kept.
            watch: Sees the patterns of the questions, and then those of each new token but the
                last: the last query of every call generates a token.

        Returns:
            New token ids of every row, up to and with the first that ends it.
        """
        ending = torch.tensor(list(stop), device=questions.device, dtype=torch.long)
        tokens, new = questions, questions[:, :0]
        kept = self._keeps(questions.shape[1] + n_new - 1)
        while True:
            if kept:
                last = self._feed(tokens, watch)[:, -1]
            else:
                last = self._read(torch.cat([self._contexts, questions, new], dim=1), watch)[:, -1]
            with torch.inference_mode():
                tokens = unembed(self._model, last).argmax(-1, keepdim=True)
            new = torch.cat([new, tokens], dim=1)
            if new.shape[1] == n_new or torch.isin(new, ending).any(1).all():
                break
        if kept:
            self._cache.crop(-(questions.shape[1] + new.shape[1] - 1))
        ends = set(stop)
        return [finished(row, ends) for row in new.tolist()]

    def _keeps(self, n_more: int) -> bool:
        """Whether the contexts' keys stay what they are when so many positions follow."""
        return caches(self._model) and keys_stay(
            self._model, self._contexts[0], self._contexts.shape[1] + n_more
        )

    def _anew(
        self,
        tails: Int[Tensor, "row pos"],
        sizes: Sequence[int],
        watch: Watch | None,
        *,
        to_the_end: bool,
    ) -> Float[Tensor, "row tail_pos d_model"]:
        """The same as `follow` without anything kept: rows of one size together, or each alone."""
        begin, (n_rows, longest) = self._contexts.shape[1], tails.shape
        hidden = torch.zeros(n_rows, longest, self._model.card.d_model, device=tails.device)
        step = n_rows if len(set(sizes)) == 1 else 1
        for start in range(0, n_rows, step):
            rows, size = slice(start, start + step), sizes[start]

            def seen(where: Where, pattern: Tensor, start: int = start, size: int = size) -> None:
                if watch is not None:
                    ahead = longest - size
                    inside = slice(start + where.rows.start, start + where.rows.stop)
                    grown = F.pad(pattern[:, :, begin:], (0, ahead, 0, ahead))
                    watch(Where(where.layer, inside), grown)

            for end in range(size, (longest if to_the_end else size) + 1):
                first = end == size
                whole = torch.cat([self._contexts[rows], tails[rows, :end]], dim=1)
                fresh = slice(0 if first else end - 1, end)
                hidden[rows, fresh] = self._read(whole, seen if first else None)[:, begin:][
                    :, fresh
                ]
        return hidden

    def _feed(
        self, tokens: Int[Tensor, "row pos"], watch: Watch | None
    ) -> Float[Tensor, "row pos d_model"]:
        """Hidden states of further positions, whose keys and values are kept; no logits."""
        return self._read(tokens, watch, self._cache)

    def _read(
        self, tokens: Int[Tensor, "row pos"], watch: Watch | None, cache: Cache | None = None
    ) -> Float[Tensor, "row pos d_model"]:
        with torch.inference_mode():
            return hidden_states(self._model, tokens, Taps(watch=watch), cache)
