"""One pass over text: how often each component fires, on what, and with which others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attention import Taps
from analysis.models.load import hidden_states
from analysis.progress import Report

from .decomposed import Decomposition, reading
from .importance import ImportanceFunction
from .losses import lower

WINDOW = 20
"""Tokens shown on each side of an example."""
N_EXAMPLES = 8
FIRES = 0.0
"""A component fires where its importance is above this."""
BATCH = 8


@dataclass
class Firing:
    """What one layer's components did over a text."""

    importance: Float[Tensor, "row component"]
    """Sum of causal importances in every row."""
    count: Float[Tensor, "row component"]
    """Tokens at which it fired."""
    activation: Float[Tensor, "row component"]
    """Sum of activations where it fired, signed."""
    magnitude: Float[Tensor, "row component"]
    """Sum of their absolute values."""
    by_token: Float[Tensor, "token component"]
    """Tokens at which it fired, by the token: one of those of the text."""
    example_keys: Float[Tensor, "example component"]
    """Random numbers of the examples kept, the largest of all; below 0 where there is none."""
    example_places: Int[Tensor, "example component"]
    """Place of each example: row times length plus position."""
    example_importances: Float[Tensor, "example component"]

    @classmethod
    def nothing(cls, n: int, n_rows: int, n_distinct: int) -> "Firing":
        """Before any text."""
        importance, count, activation, magnitude = torch.zeros(4, n_rows, n, dtype=torch.double)
        return cls(
            *(importance, count, activation, magnitude),
            by_token=torch.zeros(n_distinct, n),
            example_keys=torch.full((N_EXAMPLES, n), -1.0),
            example_places=torch.zeros(N_EXAMPLES, n, dtype=torch.long),
            example_importances=torch.zeros(N_EXAMPLES, n),
        )


@dataclass
class Together:
    """How often components of two layers fire at tokens a fixed distance apart."""

    both: Float[Tensor, "query key"]
    query: Float[Tensor, " query"]
    """Tokens at which the first fired, of those that have a partner."""
    key: Float[Tensor, " key"]
    n: int
    """Pairs of tokens looked at."""


Pairing = tuple[str, str, int]
"""Two layers, and how far before the first one's token the second one's is."""


@dataclass
class Harvest:
    """What a pass over a text found."""

    tokens: Int[np.ndarray, "row pos"]
    firing: dict[str, Firing]
    together: dict[Pairing, Together] = field(default_factory=dict[Pairing, Together])

    @cached_property
    def distinct(self) -> Int[np.ndarray, " token"]:
        """Tokens that the text has, ascending."""
        return np.unique(self.tokens)

    def count(self, layer: str) -> Float[Tensor, " component"]:
        """Tokens at which each fires."""
        return self.firing[layer].count.sum(0)

    def mean_importance(self, layer: str) -> Float[Tensor, " component"]:
        """Mean over all tokens."""
        return self.firing[layer].importance.sum(0) / self.tokens.size

    def density(self, layer: str) -> Float[Tensor, " component"]:
        """Share of tokens at which each fires."""
        return self.count(layer) / self.tokens.size

    def mean_activation(self, layer: str) -> Float[Tensor, " component"]:
        """Mean activation where it fires, signed; 0 for one that never does."""
        return self.firing[layer].activation.sum(0) / self.count(layer).clamp(min=1)

    def mean_magnitude(self, layer: str) -> Float[Tensor, " component"]:
        """Mean absolute activation where it fires."""
        return self.firing[layer].magnitude.sum(0) / self.count(layer).clamp(min=1)

    def pmi(self, layer: str) -> Float[Tensor, "token component"]:
        """Pointwise mutual information of a token and a component's firing at it, in nats.

        Returns:
            `ln(P(token, fires) / (P(token) P(fires)))` for the `distinct` tokens; -inf where they
            never met.
        """
        found = self.firing[layer].by_token.double()
        token = torch.from_numpy(np.unique(self.tokens, return_counts=True)[1]).double()
        expected = token[:, None] * self.count(layer)
        return torch.log(found * self.tokens.size / expected.clamp(min=1e-30))

    def examples(self, layer: str, component: int) -> list[tuple[int, int, float]]:
        """Row, position and importance of examples, drawn evenly from everywhere that it fired."""
        found = self.firing[layer]
        kept = found.example_keys[:, component] >= 0
        places, length = found.example_places[:, component][kept].tolist(), self.tokens.shape[1]
        importances = found.example_importances[:, component][kept].tolist()
        return [
            (place // length, place % length, importance)
            for place, importance in zip(places, importances, strict=True)
        ]


def harvest(
    decomposition: Decomposition,
    function: ImportanceFunction,
    tokens: Int[np.ndarray, "row pos"],
    pairings: tuple[Pairing, ...],
    *,
    seed: int,
    report: Report,
) -> Harvest:
    """Watch all components over a text.

    Args:
        decomposition: The decomposed model.
        function: Its causal-importance function.
        tokens: The text's rows.
        pairings: Of which layers co-occurrence is counted, and at which distance.
        seed: Of the choice of examples.
        report: Told the progress.

    Returns:
        Everything that was counted.
    """
    model, parts, n_rows = decomposition.model, decomposition.components, len(tokens)
    found = Harvest(tokens, {})
    for name, each in parts.items():
        found.firing[name] = Firing.nothing(each.n, n_rows, len(found.distinct))
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, n_rows, BATCH):
        rows = slice(start, min(start + BATCH, n_rows))
        ids = torch.from_numpy(tokens[rows].astype(np.int64))
        with torch.no_grad(), reading(model, parts) as inputs:
            hidden_states(model, ids.to(model.device), Taps())
            importances = {name: g.cpu() for name, g in lower(function(inputs, parts)).items()}
            activations = {name: parts[name].activations(x).cpu() for name, x in inputs.items()}
        known = torch.from_numpy(np.searchsorted(found.distinct, tokens[rows])).flatten()
        for name, g in importances.items():
            _count(found.firing[name], rows, known, g, activations[name])
            _choose(found.firing[name], g.flatten(0, 1), start * tokens.shape[1], generator)
        fires = {name: g > FIRES for name, g in importances.items()}
        for pairing in pairings:
            _pair(found.together, pairing, fires)
        report(rows.stop, n_rows, "harvest")
    return found


def _count(
    found: Firing,
    rows: slice,
    known: Int[Tensor, " place"],
    g: Float[Tensor, "batch pos component"],
    activation: Float[Tensor, "batch pos component"],
) -> None:
    fires = g > FIRES
    fired = torch.where(fires, activation, 0.0).double()
    found.importance[rows] = g.double().sum(1)
    found.count[rows] = fires.double().sum(1)
    found.activation[rows] = fired.sum(1)
    found.magnitude[rows] = fired.abs().sum(1)
    found.by_token.index_add_(0, known, fires.flatten(0, 1).float())


def _choose(
    found: Firing, g: Float[Tensor, "place component"], first: int, generator: torch.Generator
) -> None:
    """Keep, for every component, the places with the largest random numbers so far."""
    drawn = torch.rand(g.shape, generator=generator)
    keys = torch.cat([found.example_keys, torch.where(g > FIRES, drawn, -1.0)])
    places = (first + torch.arange(len(g)))[:, None].expand(g.shape)
    found.example_keys, best = keys.topk(N_EXAMPLES, dim=0)
    found.example_places = torch.cat([found.example_places, places]).gather(0, best)
    found.example_importances = torch.cat([found.example_importances, g]).gather(0, best)


def _pair(together: dict[Pairing, Together], pairing: Pairing, fires: Mapping[str, Tensor]) -> None:
    first, second, lag = pairing
    n_pos = fires[first].shape[1]
    query = fires[first][:, lag:].flatten(0, 1).float()
    key = fires[second][:, : n_pos - lag].flatten(0, 1).float()
    both, n = (query.T @ key).double(), len(query)
    sums = query.sum(0).double(), key.sum(0).double()
    before = together.get(pairing)
    if before is None:
        together[pairing] = Together(both, *sums, n)
    else:
        before.both += both
        before.query += sums[0]
        before.key += sums[1]
        before.n += n


def association(found: Together) -> dict[str, Float[Tensor, "query key"]]:
    """Measures of how far two components fire together.

    Args:
        found: Counts.

    Returns:
        `count`; `phi`, the correlation of firing, in [-1, 1]; `jaccard`, both over either;
        `p_key`, P(second | first), and `p_query`, P(first | second). 0 where undefined.
    """
    both, n = found.both, found.n
    query, key = found.query[:, None], found.key[None]
    spread = (query * (n - query) * key * (n - key)).sqrt()
    return {
        "count": both,
        "phi": _ratio(n * both - query * key, spread),
        "jaccard": _ratio(both, query + key - both),
        "p_key": _ratio(both, query.expand_as(both)),
        "p_query": _ratio(both, key.expand_as(both)),
    }


def _ratio(top: Tensor, bottom: Tensor) -> Tensor:
    return torch.where(bottom > 0, top / bottom.clamp(min=1e-30), 0.0)
