"""What a model's predictions lose when sets of heads are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl

from analysis.batches import rows_at_once
from analysis.errors import UserError
from analysis.interventions import (
    Condition,
    Head,
    Intervention,
    Measurement,
    Method,
    Metrics,
    Pooling,
    Source,
    derangement,
    means,
    sweep,
)
from analysis.text.sources import read_source, windows
from analysis.text.tokens import Tokens

from .effect_tables import effect_rows
from .experiment import Experiment, Report
from .heads import parse_heads
from .tables import Labels

UNIT = 64
"""Conditions that are stored together: what an interruption can lose."""
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
        n_rows = 2 * self.n_sequences
        source = read_source(self.text, self.seed, n_rows * self.n_tokens)
        rows = windows(
            source,
            self.vocabulary,
            n_sequences=n_rows,
            n_tokens=self.n_tokens,
            bos=self.bos,
            seed=self.seed,
        )
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


@dataclass(frozen=True, kw_only=True)
class AblationSweep(TextSweep):
    """What does replacing each of some sets of heads do to predictions on text?"""

    version: ClassVar[int] = 1

    method: str
    """A value of `Method`."""
    pooling: str
    """A value of `Pooling`: over what the means are taken, for methods that use them."""
    positions: tuple[int, ...] | None
    """Of queries or keys, as the method says; None for all."""
    family: str
    """What the sets are for: `single`, `top`, `random`, `layer_matched`."""
    sets: tuple[tuple[str, ...], ...]
    """Heads such as `L1H4`, replaced together."""
    first_draw: int | None
    """Number of the first set among random draws; None where nothing was drawn."""

    @property
    def n_passes(self) -> int:
        """One pass a set at most, of which the layers below its first head are saved."""
        return 1 + len(self.sets)

    def conditions(self) -> tuple[Condition, ...]:
        """One condition a set.

        Raises:
            UserError: A head is not of this model.
        """
        found: list[Condition] = []
        for i, names in enumerate(self.sets):
            heads = tuple(Head(*head) for head in parse_heads(names, self.card))
            one = Intervention(method=Method(self.method), heads=heads, positions=self.positions)
            place = "" if self.positions is None else f" @{','.join(map(str, self.positions))}"
            draw = None if self.first_draw is None else self.first_draw + i
            which = "" if draw is None else f" {self.family} {draw}"
            name = f"{self.method}{place} {','.join(names)}{which}"
            found.append(Condition(name=name, family=self.family, interventions=(one,), draw=draw))
        return tuple(found)

    def units(self) -> Sequence[Experiment]:
        """Up to `UNIT` sets at a time."""
        return [
            replace(
                self,
                sets=self.sets[start : start + UNIT],
                first_draw=None if self.first_draw is None else self.first_draw + start,
            )
            for start in range(0, len(self.sets), UNIT)
        ]

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Measure every set.

        Args:
            report: Told the progress.

        Returns:
            `ablations`, `ablation_effects` and `ablation_means`.
        """
        model = self.loaded_model()
        method = Method(self.method)
        average = None
        if method in {Method.MEAN, Method.MEAN_VALUE}:
            average = means(model, self.reference.ids, Pooling(self.pooling))
        donors = derangement(len(self.tokens.ids), self.seed) if method is Method.RESAMPLE else None
        effects = sweep(
            model,
            self.tokens.ids,
            self.conditions(),
            Source(means=average, donor_of=donors),
            Measurement(
                scopes={"all": np.ones(self.tokens.ids.shape, dtype=bool)},
                metrics=Metrics.FULL,
                max_rows=batch_rows(self.n_tokens, model.device.type),
            ),
            report,
        )
        return effect_rows(effects, self.labels())
