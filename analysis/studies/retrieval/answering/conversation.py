"""Prompts that begin alike are read once: a context, and then whatever follows it."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Taps, Where
from analysis.models.load import Model, hidden_states, unembed

from .decoding import finished

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

        self._model, self._cache = model, DynamicCache()
        self._feed(contexts, None)

    def follow(
        self, tails: Sequence[Sequence[int]], watch: Watch | None
    ) -> Float[Tensor, "row tail_pos d_model"]:
        """What the unembedding reads at what follows each context.

        Args:
            tails: Token ids behind each context; shorter ones are filled on the right, where
                causal attention does not see it.
            watch: Sees the patterns of these positions.

        Returns:
            Hidden states, also where it was filled.
        """
        longest = max(map(len, tails))
        rows = [[*tail, *[tail[-1]] * (longest - len(tail))] for tail in tails]
        hidden = self._feed(torch.tensor(rows, device=self._model.device), watch)
        self._cache.crop(-longest)
        return hidden

    def answers(
        self, questions: Int[Tensor, "row pos"], n_new: int, stop: Sequence[int], watch: Watch
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
        while True:
            last = self._feed(tokens, watch)[:, -1]
            with torch.inference_mode():
                tokens = unembed(self._model, last).argmax(-1, keepdim=True)
            new = torch.cat([new, tokens], dim=1)
            if new.shape[1] == n_new or torch.isin(new, ending).any(1).all():
                break
        self._cache.crop(-(questions.shape[1] + new.shape[1] - 1))
        ends = set(stop)
        return [finished(row, ends) for row in new.tolist()]

    def _feed(
        self, tokens: Int[Tensor, "row pos"], watch: Watch | None
    ) -> Float[Tensor, "row pos d_model"]:
        """Hidden states of further positions, whose keys and values are kept; no logits."""
        with torch.inference_mode():
            return hidden_states(self._model, tokens, Taps(watch=watch), self._cache)
