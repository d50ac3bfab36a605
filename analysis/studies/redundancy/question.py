"""Is the value a few tokens back all that a head carried?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from jaxtyping import Int
from torch import Tensor

from analysis.interventions import (
    Condition,
    Head,
    Intervention,
    Method,
    Needs,
    Pooling,
    StandIns,
    endings,
    opening,
    stand_in_source,
)
from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.endings import first_position
from analysis.interventions.passes.sweep import on_device
from analysis.models.load import Model
from analysis.precision import Precision
from analysis.progress import Report
from analysis.questions.rows import Labels, literals
from analysis.questions.text_sweep import TextSweep
from analysis.questions.work import NO_WORK, Work, passes

from .measures import (
    FLOOR,
    FLOOR_KL,
    Key,
    Measured,
    Read,
    log_ratio,
    over_draws,
    pair,
    read,
    redundancy,
)
from .summaries import on_sequences, summaries

MAX_TOKENS = 128
"""Positions are drawn from the first so many tokens."""

N_STRATA = 32
"""Parts of the text that positions are drawn from, one each; a power of 2."""

SCOPES = ("all", "specific")
"""Whose values B ablates: those of all heads of the layer, or of the head alone."""


@dataclass(frozen=True, kw_only=True)
class AtPosition(TextSweep):
    """A question about one head at one random position of every sequence."""

    head: str
    """The head that condition A ablates, as `L1H4`."""

    @cached_property
    def ablated(self) -> Head:
        """The head.

        Raises:
            UserError: The model has no such head.
        """
        return parse_heads([self.head], self.card)[0]

    @cached_property
    def positions(self) -> np.ndarray:
        """Position t of every sequence: uniform over all but the first, and stratified.

        Each of `N_STRATA` equal parts of the text has one random position, and an equal share of
        the sequences; the first few of these are spread over all parts, too, from a random one on,
        so that few sequences favour no part.
        """
        n_positions = min(self.n_tokens, MAX_TOKENS) - 1
        rng = np.random.default_rng([self.seed, self.n_sequences])
        at = (np.arange(N_STRATA) + rng.random(N_STRATA)) / N_STRATA
        order = (strata(len(self.tokens.ids)) + rng.integers(N_STRATA)) % N_STRATA
        return 1 + (at * n_positions).astype(int)[order]

    def groups(self) -> Iterator[tuple[int, np.ndarray]]:
        """Positions, and the sequences that each was drawn for."""
        for t in np.unique(self.positions):
            yield int(t), np.flatnonzero(self.positions == t)

    def opened(self, model: Model, t: int, rows: np.ndarray) -> Tensor:
        """Some sequences up to a position: nothing behind it can matter there."""
        return on_device(model, self.tokens.ids[rows, : t + 1])

    def zeroed(self, t: int) -> Intervention:
        """A: the head writes nothing at t."""
        return Intervention(method=Method.ZERO, heads=(self.ablated,), positions=(t,))

    def unread(self, method: Method, position: int, scope: str) -> Intervention:
        """B: a value is ablated for the head, or for all heads of its layer."""
        layer = self.ablated.layer
        every = tuple(Head(layer, head) for head in range(self.card.heads_by_layer[layer]))
        heads = every if scope == "all" else (self.ablated,)
        return Intervention(method=method, heads=heads, positions=(position,))


@dataclass(frozen=True, kw_only=True)
class ValueRedundancy(AtPosition):
    """Does ablating a head at t make the value at t - o redundant: was that all it carried?

    Six conditions: base; A, the head's z is 0 at t; B(all) and B(specific), values at t - o are
    ablated in that layer; and A with either B. What B does after A is compared with what it
    does alone: by the index R in attention outputs, by the logarithm of the ratio in predictions.

    At the head's own layer R needs neither A nor B: without a norm between z and W_O it is
    1 - |C - c|^2 / |C|^2, where C is what the values at t - o bring to the attention output and c
    what they bring through the head. For B(specific) it is 1 whatever the model.
    """

    version: ClassVar[int] = 4
    by_sequence: ClassVar[tuple[str, ...]] = ("redundancy", "log_ratio")
    """Metrics that are kept of every sequence, beside their means."""

    method: str
    """How B ablates values: `zero_value`, `mean_value` or `mask_key`."""
    max_lag: int
    """B is applied at t - o for o = 1 to this, where the sequence reaches so far back."""

    def work(self) -> Work:
        """A pass up to every position, and each condition from the first position it touches."""
        means = Method(self.method).needs is Needs.MEANS
        found = passes(self.card, self.reference) if means else NO_WORK
        for t, rows in self.groups():
            conditions = self.conditions(t)
            found += self.opened_work(t, len(rows)) + self.ended_work(t, len(rows), conditions)
        return found

    def opened_work(self, t: int, n_rows: int) -> Work:
        """Sequences up to a position, and one row that shows how layers are called."""
        n = self.card.n_layers
        return Work(layers=n * (t + 1) * (1 + n_rows), logits=n_rows, calls=2 * n)

    def ended_work(self, t: int, n_rows: int, conditions: Sequence[Condition]) -> Work:
        """Conditions on some sequences, from the first position and layer that any touches."""
        n_pos = t + 1 - first_position(conditions, t + 1)
        n, n_layers = len(conditions) * n_rows, self.card.n_layers
        n_layers -= min(one.first_layer for one in conditions)
        return Work(layers=n_layers * n_pos * n, logits=n, calls=n_layers)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compare the conditions.

        Returns:
            `comparisons`: aggregates of all, and on every sequence the index at the head's own
            layer and the log-ratio in the predictions.
        """
        model = self.loaded_model()
        source = stand_in_source(
            model,
            {Method(self.method)},
            self.reference.ids,
            Pooling.PER_POSITION,
            len(self.tokens.ids),
            self.seed,
        )
        stand_ins = StandIns(means=source.means, donors=None)

        def measure(t: int, rows: np.ndarray) -> Measured:
            with torch.inference_mode():
                start = opening(model, self.opened(model, t, rows))
                ended = endings(start, self.conditions(t), stand_ins)
                base, changed = (read(model, each) for each in (start.endings, ended))
            # what changed is A, then B and A+B by turns
            plain = Read(
                torch.cat([base.attn_out, changed.attn_out[1::2]]),
                torch.cat([base.logits, changed.logits[1::2]]),
            )
            return self.compared(plain, Read(changed.attn_out[::2], changed.logits[::2]), t)

        return {"comparisons": self.rows(self.gathered(measure, report))}

    def gathered(
        self, measure: Callable[[int, np.ndarray], Measured], report: Report
    ) -> dict[Key, np.ndarray]:
        """Every number on every sequence, NaN where its position cannot show it.

        Args:
            measure: Called with every position and its sequences.
            report: Told the progress.

        Returns:
            One value a sequence.
        """
        found: dict[Key, np.ndarray] = {}
        n_done, n_sequences = 0, len(self.tokens.ids)
        for t, rows in self.groups():
            for key, values in measure(t, rows).items():
                column = found.setdefault(key, np.full(n_sequences, np.nan))
                column[rows] = values.double().cpu().numpy()
            n_done += len(rows)
            report(n_done, n_sequences, "positions")
        return found

    def conditions(self, t: int) -> list[Condition]:
        """A, then for every lag that fits B(all), A+B(all), B(specific) and A+B(specific)."""
        method, ablated = Method(self.method), self.zeroed(t)
        found = [Condition(name="A", family="redundancy", interventions=(ablated,))]
        for lag in self.lags(t):
            for scope in SCOPES:
                unread = self.unread(method, t - lag, scope)
                for name, both in (
                    (f"B({scope})", (unread,)),
                    (f"A+B({scope})", (ablated, unread)),
                ):
                    found.append(
                        Condition(name=f"{name} {lag}", family="redundancy", interventions=both)
                    )
        return found

    def lags(self, t: int) -> range:
        """How far back values are ablated from a position."""
        return range(1, min(self.max_lag, t) + 1)

    def compared(self, plain: Read, after: Read, t: int) -> Measured:
        """Every number of one position.

        Args:
            plain: The base, then B at every lag, all and specific.
            after: The same together with A.
            t: The position.

        Returns:
            Attention outputs compared in every layer, averaged over draws, and predictions.
        """
        found = pair((None, "base", "A"), plain[0], after[0])
        for i, (lag, scope) in enumerate(product(self.lags(t), SCOPES), start=1):
            found |= pair((lag, "base", f"B({scope})"), plain[0], plain[i])
            found |= pair((lag, "base", f"A+B({scope})"), plain[0], after[i])
            found |= pair((lag, "A", f"A+B({scope})"), after[0], after[i])
            found |= self._indices(found, lag, scope, plain.attn_out[0])
        return found

    def _indices(self, found: Measured, lag: int, scope: str, x: Tensor) -> Measured:
        """R in every layer from the head's on, and the log-ratio in the predictions."""
        whole, left = (lag, "base", f"B({scope})"), (lag, "A", f"A+B({scope})")
        indices: Measured = {}
        for layer in range(self.ablated.layer, self.card.n_layers):
            floor = FLOOR**2 * over_draws(x[layer].square().sum(-1))
            after, alone = found[*left, layer, "distance2"], found[*whole, layer, "distance2"]
            indices[*left, layer, "redundancy"] = redundancy(after, alone, floor)
        after, alone = found[*left, None, "kl"], found[*whole, None, "kl"]
        floor = FLOOR_KL[Precision(self.dtype)]
        indices[*left, None, "log_ratio"] = log_ratio(after, alone, floor)
        return indices

    def subject(self) -> dict[str, str | None]:
        """What all rows say of A and B."""
        return {"head": self.head, "components": None, "mode": None, "method": self.method}

    def rows(self, found: dict[Key, np.ndarray]) -> pl.DataFrame:
        """Rows of `comparisons`."""
        labels = Labels(card=self.card, tokens=self.tokens, data="text", seed=self.seed)
        frames = [summaries(found, FLOOR_KL[Precision(self.dtype)], self.seed)]
        frames += [
            on_sequences(key, values)
            for key, values in found.items()
            if key[4] in self.by_sequence and key[3] in (None, self.ablated.layer)
        ]
        constants = {
            **{name: labels.columns()[name] for name in ("model", "text")},
            **self.subject(),
        }
        rows = pl.concat(frames, how="diagonal").filter(pl.col("value").is_not_nan())
        return rows.with_columns(**literals(constants))


def strata(n: int) -> Int[np.ndarray, " sequence"]:
    """Which part of the text each of some sequences has its position in.

    Args:
        n: Sequences.

    Returns:
        Numbers below `N_STRATA`, over and over, with their binary digits reversed: of any first
        few, no half, quarter, ... of the text has more than one more than another.

    Source:
        van der Corput 1935, "Verteilungsfunktionen".
    """
    bits = N_STRATA.bit_length() - 1
    order = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(N_STRATA)]
    return np.resize(order, n)
