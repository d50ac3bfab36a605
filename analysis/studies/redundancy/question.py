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
from torch import Tensor

from analysis.interventions import (
    Condition,
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    endings,
    opening,
    stand_in_source,
)
from analysis.interventions.heads import parse_heads
from analysis.interventions.passes.sweep import on_device
from analysis.models.load import Model
from analysis.progress import Report
from analysis.questions.rows import Labels, interval_columns, literals
from analysis.questions.text_sweep import TextSweep
from analysis.statistics.resampling import Estimate, bootstrap, ratio_of_sums

from .measures import FLOOR, FLOOR_KL, Key, Measured, Read, over_draws, pair, read, redundancy

MAX_TOKENS = 128
"""Positions are drawn from the first so many tokens."""

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
        """Position t of every sequence, uniform over all but the first."""
        n_tokens = min(self.n_tokens, MAX_TOKENS)
        rng = np.random.default_rng([self.seed, self.n_sequences])
        return rng.integers(1, n_tokens, len(self.tokens.ids))

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
    ablated in that layer; and A with either B. The index R compares what B removes after A with
    what it removes alone. For B(specific) at the head's own layer R is 1 by construction.
    """

    version: ClassVar[int] = 2
    by_sequence: ClassVar[tuple[str, ...]] = ("redundancy",)
    """Metrics that are kept of every sequence, beside their means."""

    method: str
    """How B ablates values: `zero_value`, `mean_value` or `mask_key`."""
    max_lag: int
    """B is applied at t - o for o = 1 to this, where the sequence reaches so far back."""

    @property
    def n_passes(self) -> int:
        """About: conditions walk a few positions only."""
        return 2

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compare the conditions.

        Returns:
            `comparisons`: aggregates of all, and the index on every sequence at the head's own
            layer and in the predictions.
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
        """The redundancy index in every layer from the head's on, and in the predictions."""
        whole, left = (lag, "base", f"B({scope})"), (lag, "A", f"A+B({scope})")
        indices: Measured = {}
        for layer in range(self.ablated.layer, self.card.n_layers):
            floor = FLOOR**2 * over_draws(x[layer].square().sum(-1))
            after, alone = found[*left, layer, "distance2"], found[*whole, layer, "distance2"]
            indices[*left, layer, "redundancy"] = redundancy(after, alone, floor)
        after, alone = found[*left, None, "kl"], found[*whole, None, "kl"]
        indices[*left, None, "redundancy"] = redundancy(after, alone, FLOOR_KL)
        return indices

    def subject(self) -> dict[str, str | None]:
        """What all rows say of A and B."""
        return {"head": self.head, "components": None, "mode": None, "method": self.method}

    def rows(self, found: dict[Key, np.ndarray]) -> pl.DataFrame:
        """Rows of `comparisons`."""
        labels = Labels(card=self.card, tokens=self.tokens, data="text", seed=self.seed)
        keys = list(found)
        frames = [_aggregates(keys, bootstrap(np.stack(list(found.values()), 1), self.seed))]
        frames.append(self._pooled([key for key in keys if key[4] == "redundancy"], found))
        for key in keys:
            if key[4] in self.by_sequence and key[3] in (None, self.ablated.layer):
                each = pl.DataFrame({"sequence": np.arange(len(found[key])), "value": found[key]})
                frames.append(_keyed([key], each.with_columns(place=pl.lit(0))))
        constants = {
            **{name: labels.columns()[name] for name in ("model", "text")},
            **self.subject(),
        }
        rows = pl.concat(frames, how="diagonal").filter(pl.col("value").is_not_nan())
        return rows.with_columns(**literals(constants))

    def _pooled(self, indices: Sequence[Key], found: dict[Key, np.ndarray]) -> pl.DataFrame:
        """The index of all sequences together, and the share on which it is undefined."""
        tops: list[np.ndarray] = []
        bottoms: list[np.ndarray] = []
        undefined: list[np.ndarray] = []
        for key in indices:
            lag, _, name, layer, _ = key
            metric = "kl" if layer is None else "distance2"
            whole = found[lag, "base", name.removeprefix("A+"), layer, metric]
            left = found[lag, "A", name, layer, metric]
            known = ~np.isnan(whole)
            tops.append(np.where(known, whole - left, 0.0))
            bottoms.append(np.where(known, whole, 0.0))
            undefined.append(np.where(known, np.isnan(found[key]), np.nan))
        pooled = ratio_of_sums(np.stack(tops, 1), np.stack(bottoms, 1), self.seed)
        shares = bootstrap(np.stack(undefined, 1), self.seed)
        named = [
            ([(*key[:4], metric) for key in indices], estimate)
            for metric, estimate in (("redundancy_pooled", pooled), ("undefined", shares))
        ]
        return pl.concat(_aggregates(keys, estimate) for keys, estimate in named)


def _aggregates(keys: Sequence[Key], estimate: Estimate) -> pl.DataFrame:
    rows = interval_columns(estimate).with_row_index("place")
    return _keyed(keys, rows.with_columns(sequence=pl.lit(None, pl.Int32)))


def _keyed(keys: Sequence[Key], rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose `place` among the keys is spelled out."""
    columns = pl.DataFrame(
        [(i, *key) for i, key in enumerate(keys)],
        schema={
            "place": pl.Int64,
            "lag": pl.Int32,
            "reference": pl.String,
            "condition": pl.String,
            "layer": pl.Int16,
            "metric": pl.String,
        },
        orient="row",
    )
    typed = rows.with_columns(pl.col("place").cast(pl.Int64), pl.col("sequence").cast(pl.Int32))
    return columns.join(typed, on="place").drop("place")
