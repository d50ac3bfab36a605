"""Which pairs of components of a layer are kept, and how they act and fire together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from analysis.components.decomposed import Components, Decomposition
from analysis.components.geometry import (
    PROJECTIONS,
    Rotation,
    head_vectors,
    pair_contributions,
    projections,
)
from analysis.components.harvest import Harvest, Pairing, association

OFFSETS = (0, 1, 2, 4, 8)
"""Query position minus key position: where partners are sought."""
MAX_OFFSET = 16
"""Contributions are kept at offsets 0 to this."""
LAGS = (0, 1)
"""At which distances firing is compared: the same token, and the token before."""
N_SHOWN = 10
"""Components of each weight that are shown with each other: those of largest mean importance."""
N_PARTNERS = 2
"""Keys that raise, and keys that lower, the scores of a shown query component most."""
N_VALUES = 3
"""Value components that fire most with a key component, by phi."""
N_STRONGEST = 40
"""Pairs of any query and key components that contribute most."""
N_RANDOM = 50
"""Random pairs of components that fire: what the strongest are compared with."""
ADDED, ADDED_BY_RANDOM = "contribution", "contribution_random"
"""Measures of what chosen pairs, and random ones, add to scores."""

Pair = tuple[int, int]


def pairings(decomposition: Decomposition) -> tuple[Pairing, ...]:
    """Which layers' firing is compared: queries with keys, and keys with values."""
    names = projections(decomposition)
    return tuple(
        (name, names[layer, second], lag)
        for first, second in (("q", "k"), ("k", "v"))
        for (layer, letter), name in names.items()
        if letter == first and (layer, second) in names
        for lag in LAGS
    )


@dataclass(frozen=True)
class LayerPairs:
    """Pairs of components of one layer."""

    decomposition: Decomposition
    found: Harvest
    layer: int
    rotation: Rotation | None
    """None where contributions to scores are not defined."""
    seed: int
    """Of random pairs."""

    @cached_property
    def names(self) -> dict[str, str]:
        """Names of the layer's decomposed weights by letter."""
        every = projections(self.decomposition)
        return {letter: name for (layer, letter), name in every.items() if layer == self.layer}

    def shown(self, letter: str) -> list[int]:
        """Components of largest mean importance, of those that fire."""
        if letter not in self.names:
            return []
        name = self.names[letter]
        order = self.found.mean_importance(name).argsort(descending=True, stable=True)
        fires = self.found.count(name) > 0
        return [int(c) for c in order[fires[order]][:N_SHOWN]]

    def _parts(self, letter: str) -> Components:
        return self.decomposition.components[self.names[letter]]

    def _usual(self, letter: str) -> Tensor:
        """What components usually write to each head: vectors at their mean activations."""
        card = self.decomposition.model.card
        vectors = head_vectors(self._parts(letter), PROJECTIONS[letter], card)
        mean = self.found.mean_activation(self.names[letter]).to(vectors)
        return vectors * mean[:, None, None]

    def _contributions(self, queries: Tensor, keys: Tensor, offsets: Iterable[int]) -> Tensor:
        """Of some query and some key components (head, offset, query, key)."""
        assert self.rotation is not None
        q, k = self._usual("q")[queries], self._usual("k")[keys]
        at = torch.tensor(list(offsets), device=q.device)
        return pair_contributions(q, k, at, self.rotation).cpu()

    @cached_property
    def _every(self) -> Tensor:
        """Contributions of all pairs at `OFFSETS`."""
        n_query, n_key = (torch.arange(self._parts(letter).n) for letter in "qk")
        return self._contributions(n_query, n_key, OFFSETS)

    @cached_property
    def partners(self) -> list[Pair]:
        """Each shown query component with the keys that raise and lower its scores most."""
        if self.rotation is None or not {"q", "k"} <= self.names.keys():
            return []
        total = self._every.sum(0)
        found: list[Pair] = []
        for query in self.shown("q"):
            for extreme in (total.amax(0)[query], -total.amin(0)[query]):
                values, keys = extreme.topk(min(N_PARTNERS, len(extreme)))
                found += [(query, int(key)) for key in keys[values > 0]]
        return found

    @property
    def keys(self) -> list[int]:
        """Shown key components, and partners."""
        return list(dict.fromkeys([*self.shown("k"), *(key for _, key in self.partners)]))

    def rows(self) -> list[pl.DataFrame]:
        """Rows of `component_pairs`."""
        frames = [*self._firing(), *self._cosines()]
        if self.rotation is None or not {"q", "k"} <= self.names.keys():
            return frames
        strength = self._every.abs().sum((0, 1)).flatten()
        best = strength.topk(min(N_STRONGEST, len(strength)))
        n_key = self._parts("k").n
        strongest = [divmod(int(i), n_key) for i in best.indices[best.values > 0]]
        block = _crossed(self.shown("q"), self.shown("k"))
        chosen = {*block, *self.partners, *strongest}
        return [*frames, *self._added(chosen, ADDED), *self._added(self._random(), ADDED_BY_RANDOM)]

    def _added(self, chosen: set[Pair], measure: str) -> Iterator[pl.DataFrame]:
        """What pairs add to the scores of every head, and to all together."""
        pairs = sorted(chosen)
        if not pairs:
            return
        query, key = np.array(pairs).T
        (some_q, at_q), (some_k, at_k) = (np.unique(x, return_inverse=True) for x in (query, key))
        places = torch.from_numpy(some_q), torch.from_numpy(some_k)
        found = self._contributions(*places, range(MAX_OFFSET + 1))[:, :, at_q, at_k]
        values = torch.cat([found.sum(0, keepdim=True), found]).double().numpy()
        head, lag, index = np.indices(values.shape).reshape(3, -1)
        heads = pl.Series([None, *(f"L{self.layer}H{h}" for h in range(len(found)))])
        yield self._rows("q", "k", [pairs[i] for i in index]).with_columns(
            head=heads.gather(head),
            lag=pl.Series(lag, dtype=pl.Int32),
            measure=pl.lit(measure),
            value=pl.Series(values.reshape(-1)),
        )

    def _random(self) -> set[Pair]:
        rng = np.random.default_rng([self.seed, self.layer])
        fire = [np.flatnonzero(self.found.count(self.names[letter]).numpy()) for letter in "qk"]
        if not all(map(len, fire)):
            return set()
        drawn = (rng.choice(components, N_RANDOM).tolist() for components in fire)
        return set(zip(*drawn, strict=True))

    @cached_property
    def value_partners(self) -> list[Pair]:
        """Each key component with the value components that fire most at the same token."""
        if not {"k", "v"} <= self.names.keys():
            return []
        phi = association(self.found.together[self.names["k"], self.names["v"], 0])["phi"]
        found: list[Pair] = []
        for key in self.keys:
            values, components = phi[key].topk(min(N_VALUES, phi.shape[1]))
            found += [(key, int(value)) for value in components[values > 0]]
        return found

    def _firing(self) -> Iterator[pl.DataFrame]:
        """How shown components and partners fire together."""
        wanted = {
            ("q", "k"): {*_crossed(self.shown("q"), self.shown("k")), *self.partners},
            ("k", "v"): {*_crossed(self.shown("k"), self.shown("v")), *self.value_partners},
        }
        for (first, second), chosen in wanted.items():
            pairs = sorted(chosen)
            for lag in LAGS if pairs else ():
                counted = self.found.together[self.names[first], self.names[second], lag]
                for measure, values in association(counted).items():
                    rows = self._measured(first, second, pairs, measure, values)
                    yield rows.with_columns(lag=pl.lit(lag))

    def _cosines(self) -> Iterator[pl.DataFrame]:
        """Whether key and value components read the same direction."""
        pairs = sorted({*_crossed(self.shown("k"), self.shown("v")), *self.value_partners})
        if not pairs:
            return
        k, v = (F.normalize(self._parts(letter).V.detach(), dim=0) for letter in "kv")
        cosines = (k.T @ v).cpu().double()
        yield self._measured("k", "v", pairs, "cosine", cosines).with_columns(lag=pl.lit(0))

    def _measured(
        self, first: str, second: str, pairs: list[Pair], measure: str, values: Tensor
    ) -> pl.DataFrame:
        """Rows of a measure of the whole layer at some pairs."""
        return self._rows(first, second, pairs).with_columns(
            head=pl.lit(None, pl.String),
            measure=pl.lit(measure),
            value=pl.Series([float(values[pair]) for pair in pairs]),
        )

    def _rows(self, first: str, second: str, pairs: list[Pair]) -> pl.DataFrame:
        columns = ("first_component", "second_component")
        rows = pl.DataFrame(pairs, schema=dict.fromkeys(columns, pl.Int32), orient="row")
        return rows.with_columns(
            layer=pl.lit(self.layer), first=pl.lit(first), second=pl.lit(second)
        )


def _crossed(first: list[int], second: list[int]) -> list[Pair]:
    return [(a, b) for a in first for b in second]
