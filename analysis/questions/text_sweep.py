"""What sweeps over a text share: its rows, a reference set of others, and how many run at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from analysis.batches import rows_at_once
from analysis.errors import UserError
from analysis.text.sources import text_rows
from analysis.text.tokens import Tokens

from .experiment import Experiment
from .rows import Labels

_TOKENS_AT_ONCE = {"cpu": 2_048, "cuda": 65_536}
"""Tokens stacked in one batch: what a CPU's caches hold, and what keeps a GPU busy."""


def batch_rows(n_tokens: int, device: str) -> int:
    """How many sequences a sweep stacks in one batch.

    Args:
        n_tokens: Length of a sequence.
        device: `cpu`, `cuda` or another.

    Returns:
        At least 1; memory grows with it, results do not change.
    """
    return rows_at_once(_TOKENS_AT_ONCE.get(device, 2_048), n_tokens)


@dataclass(frozen=True, kw_only=True)
class TextSweep(Experiment):
    """A question about effects on text, with a reference set of other rows of the same text."""

    text: str
    """What `read_source` takes."""
    bos: bool
    """Whether every sequence starts with the tokenizer's BOS."""
    n_sequences: int
    n_tokens: int
    """Length of each sequence, with the BOS."""

    @cached_property
    def _windows(self) -> Tokens:
        shape = 2 * self.n_sequences, self.n_tokens
        rows = text_rows(self.text, self.vocabulary, shape, bos=self.bos, seed=self.seed, room=1)
        if len(rows.ids) < 4:
            raise UserError(
                f"expected at least 4 rows of {self.n_tokens} tokens in {self.text}, found "
                f"{len(rows.ids)}: half of them are the reference set; give a longer text or a "
                "smaller --tokens"
            )
        return rows

    @cached_property
    def tokens(self) -> Tokens:
        """The rows that effects are measured on: every second one."""
        return replace(self._windows, ids=self._windows.ids[::2])

    @cached_property
    def reference(self) -> Tokens:
        """The other rows: what means are taken over."""
        return replace(self._windows, ids=self._windows.ids[1::2])

    def data(self) -> Sequence[Tokens]:
        """The measured rows and the reference set."""
        return [self.tokens, self.reference]

    def labels(self) -> Labels:
        """What all rows say alike."""
        return Labels(card=self.card, tokens=self.tokens, data="text", seed=self.seed)
