"""Is the value a few tokens back all that a head carried?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.interventions import (
    Condition,
    Endings,
    Head,
    Intervention,
    Method,
    Pooling,
    StandIns,
    endings,
    means,
    opening,
)
from analysis.interventions.sweep import on_device
from analysis.models.load import Model, load_model, unembed
from analysis.statistics import Estimate, bootstrap, ratio_of_sums

from .ablation_sweep import TextSweep
from .experiment import Report
from .heads import parse_heads
from .redundancy_measures import FLOOR, FLOOR_KL, distance2, kl, nip, redundancy
from .tables import Labels

MAX_TOKENS = 128
"""Positions are drawn from the first so many tokens."""

SCOPES = ("all", "specific")
"""Whose values B ablates: those of all heads of the layer, or of the head alone."""

Key = tuple[int | None, str, str, int | None, str]
"""Lag, reference, condition, layer and metric; no layer means the predictions."""


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
        (found,) = parse_heads([self.head], self.card)
        return Head(*found)

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
        every = tuple(Head(layer, head) for head in range(self.card.n_heads))
        heads = every if scope == "all" else (self.ablated,)
        return Intervention(method=method, heads=heads, positions=(position,))


@dataclass(frozen=True, kw_only=True)
class ValueRedundancy(AtPosition):
    """Does ablating a head at t make the value at t - o redundant: was that all it carried?

    Six conditions: base; A, the head's z is 0 at t; B(all) and B(specific), values at t - o are
    ablated in that layer; and A with either B. The index R compares what B removes after A with
    what it removes alone. For B(specific) at the head's own layer R is 1 by construction.
    """

    version: ClassVar[int] = 1

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

        Args:
            report: Told the progress.

        Returns:
            `comparisons`: aggregates of all, and the index on every sequence at the head's own
            layer and in the predictions.
        """
        model = load_model(self.model, self.device)
        average = None
        if Method(self.method) is Method.MEAN_VALUE:
            average = means(model, self.reference.ids, Pooling.PER_POSITION)
        stand_ins = StandIns(means=average, donors=None)
        found: dict[Key, np.ndarray] = {}
        n_done, n_sequences = 0, len(self.tokens.ids)
        for t, rows in self.groups():
            with torch.inference_mode():
                start = opening(model, self.opened(model, t, rows))
                ended = endings(start, self.conditions(t), stand_ins)
                measured = self._compared(model, start.endings, ended, t)
            for key, values in measured.items():
                column = found.setdefault(key, np.full(n_sequences, np.nan))
                column[rows] = values.double().cpu().numpy()
            n_done += len(rows)
            report(n_done, n_sequences, "positions")
        return {"comparisons": self._rows(found)}

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

    def _compared(self, model: Model, base: Endings, ended: Endings, t: int) -> dict[Key, Tensor]:
        """Every number of one position, one value a sequence."""
        found: dict[Key, Tensor] = {}
        x, p = base.attn_out[0].double(), unembed(model, base.hidden[0]).double()
        attn_out, logits = ended.attn_out.double(), unembed(model, ended.hidden).double()
        found |= _pair((None, "base", "A"), (x, attn_out[0]), (p, logits[0]))
        index = 1
        for lag in self.lags(t):
            for scope in SCOPES:
                b, ab = (index, index + 1)
                index += 2
                for reference, name, i, start, first in (
                    ("base", f"B({scope})", b, x, p),
                    ("base", f"A+B({scope})", ab, x, p),
                    ("A", f"A+B({scope})", ab, attn_out[0], logits[0]),
                ):
                    key = (lag, reference, name)
                    found |= _pair(key, (start, attn_out[i]), (first, logits[i]))
                found |= self._indices(found, lag, scope, x)
        return found

    def _indices(
        self, found: dict[Key, Tensor], lag: int, scope: str, x: Tensor
    ) -> dict[Key, Tensor]:
        """The redundancy index in every layer from the head's on, and in the predictions."""
        whole, left = (lag, "base", f"B({scope})"), (lag, "A", f"A+B({scope})")
        indices: dict[Key, Tensor] = {}
        for layer in range(self.ablated.layer, self.card.n_layers):
            floor = FLOOR**2 * x[layer].square().sum(-1)
            after, alone = found[*left, layer, "distance2"], found[*whole, layer, "distance2"]
            indices[*left, layer, "redundancy"] = redundancy(after, alone, floor)
        after, alone = found[*left, None, "kl"], found[*whole, None, "kl"]
        indices[*left, None, "redundancy"] = redundancy(after, alone, FLOOR_KL)
        return indices

    def _rows(self, found: dict[Key, np.ndarray]) -> pl.DataFrame:
        """Rows of `comparisons`."""
        labels = Labels(card=self.card, tokens=self.tokens, data="text", seed=self.seed)
        keys = list(found)
        frames = [_aggregates(keys, bootstrap(np.stack(list(found.values()), 1), self.seed))]
        indices = [key for key in keys if key[4] == "redundancy"]
        frames.append(self._pooled(indices, found))
        for key in indices:
            if key[3] in (None, self.ablated.layer):
                each = pl.DataFrame({"sequence": np.arange(len(found[key])), "value": found[key]})
                frames.append(_keyed([key], each.with_columns(place=pl.lit(0))))
        constants = {
            **{name: labels.columns()[name] for name in ("model", "text")},
            "head": self.head,
            "components": None,
            "mode": None,
            "method": self.method,
        }
        rows = pl.concat(frames, how="diagonal").filter(pl.col("value").is_not_nan())
        return rows.with_columns(
            pl.col("lower", "upper").fill_nan(None),
            **{name: pl.lit(value, pl.String) for name, value in constants.items()},
        )

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


def _pair(
    key: tuple[int | None, str, str], outputs: tuple[Tensor, Tensor], logits: tuple[Tensor, Tensor]
) -> dict[Key, Tensor]:
    """One comparison: attention outputs (layer, row, d_model) and logits (row, d_vocab)."""
    x, y = outputs
    metrics = {
        "nip": nip(x, y),
        "cosine": F.cosine_similarity(x, y, dim=-1),
        "distance2": distance2(x, y),
    }
    found: dict[Key, Tensor] = {
        (*key, layer, name): values[layer]
        for name, values in metrics.items()
        for layer in range(len(x))
    }
    found[*key, None, "kl"] = kl(*logits)
    return found


def _aggregates(keys: Sequence[Key], estimate: Estimate) -> pl.DataFrame:
    rows = pl.DataFrame(
        {
            "place": np.arange(len(keys)),
            "value": estimate.mean,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "n": estimate.n,
        }
    )
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
