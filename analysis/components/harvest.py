"""One pass over text: how often each component fires, on what, and with which others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .decomposed import Decomposition, logits, reading
from .importance import ImportanceFunction
from .losses import lower

WINDOW = 20
"""Tokens shown on each side of an example."""
N_EXAMPLES = 8
FIRES = 0.0
"""A component fires where its importance is above this."""
BATCH = 8

Report = Callable[[int, int, str], None]


@dataclass
class Firing:
    """What one layer's components did over a text."""

    importance: Float[Tensor, " component"]
    """Sum of causal importances."""
    count: Float[Tensor, " component"]
    """Tokens at which it fired."""
    activation: Float[Tensor, " component"]
    """Sum of activations where it fired, signed."""
    magnitude: Float[Tensor, " component"]
    """Sum of their absolute values."""
    by_token: Float[Tensor, "d_vocab component"]
    """Tokens at which it fired, by the token."""
    example_keys: Float[Tensor, "example component"]
    """Random numbers of the examples kept, the largest of all; below 0 where there is none."""
    example_places: Int[Tensor, "example component"]
    """Place of each example: row times length plus position."""

    @classmethod
    def nothing(cls, n: int, vocab: int) -> "Firing":
        """Before any text."""
        return cls(
            importance=torch.zeros(n, dtype=torch.double),
            count=torch.zeros(n, dtype=torch.double),
            activation=torch.zeros(n, dtype=torch.double),
            magnitude=torch.zeros(n, dtype=torch.double),
            by_token=torch.zeros(vocab, n),
            example_keys=torch.full((N_EXAMPLES, n), -1.0),
            example_places=torch.zeros(N_EXAMPLES, n, dtype=torch.long),
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

    def mean_importance(self, layer: str) -> Float[Tensor, " component"]:
        """Mean over all tokens."""
        return self.firing[layer].importance / self.tokens.size

    def density(self, layer: str) -> Float[Tensor, " component"]:
        """Share of tokens at which each fires."""
        return self.firing[layer].count / self.tokens.size

    def mean_activation(self, layer: str) -> Float[Tensor, " component"]:
        """Mean activation where it fires, signed; 0 for one that never does."""
        found = self.firing[layer]
        return found.activation / found.count.clamp(min=1)

    def mean_magnitude(self, layer: str) -> Float[Tensor, " component"]:
        """Mean absolute activation where it fires."""
        found = self.firing[layer]
        return found.magnitude / found.count.clamp(min=1)

    def pmi(self, layer: str) -> Float[Tensor, "d_vocab component"]:
        """Pointwise mutual information of a token and a component's firing at it, in nats.

        Returns:
            `ln(P(token, fires) / (P(token) P(fires)))`; -inf where they never met.
        """
        found = self.firing[layer].by_token.double()
        counts = np.bincount(self.tokens.reshape(-1), minlength=len(found))
        token = torch.from_numpy(counts).double()
        expected = token[:, None] * self.firing[layer].count
        return torch.log(found * self.tokens.size / expected.clamp(min=1e-30))

    def examples(self, layer: str, component: int) -> list[tuple[int, int]]:
        """Row and position of examples, drawn evenly from everywhere that it fired."""
        found = self.firing[layer]
        kept = found.example_keys[:, component] >= 0
        length = self.tokens.shape[1]
        return [divmod(int(place), length) for place in found.example_places[:, component][kept]]


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
    vocab, device = decomposition.model.card.vocab, decomposition.model.device
    parts = decomposition.components
    found = Harvest(tokens, {name: Firing.nothing(p.n, vocab) for name, p in parts.items()})
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(tokens), BATCH):
        rows = torch.from_numpy(tokens[start : start + BATCH].astype(np.int64))
        with torch.no_grad(), reading(decomposition.model, parts) as inputs:
            logits(decomposition, rows.to(device), {})
            importances = lower(function(inputs, parts))
            fires: dict[str, Tensor] = {}
            for name, g in importances.items():
                activation = parts[name].activations(inputs[name]).cpu()
                fires[name] = g.cpu() > FIRES
                _count(found.firing[name], rows, g.cpu(), activation)
                _choose(found.firing[name], fires[name], start * tokens.shape[1], generator)
        for pairing in pairings:
            _pair(found.together, pairing, fires)
        report(min(start + BATCH, len(tokens)), len(tokens), "harvest")
    return found


def _count(
    found: Firing,
    rows: Int[Tensor, "batch pos"],
    g: Float[Tensor, "batch pos component"],
    activation: Float[Tensor, "batch pos component"],
) -> None:
    fires = g > FIRES
    fired = torch.where(fires, activation, 0.0).double()
    found.importance += g.double().sum((0, 1))
    found.count += fires.double().sum((0, 1))
    found.activation += fired.sum((0, 1))
    found.magnitude += fired.abs().sum((0, 1))
    found.by_token.index_add_(0, rows.flatten(), fires.flatten(0, 1).float())


def _choose(
    found: Firing,
    fires: Bool[Tensor, "batch pos component"],
    first: int,
    generator: torch.Generator,
) -> None:
    """Keep, for every component, the places with the largest random numbers so far."""
    flat = fires.flatten(0, 1)
    drawn = torch.rand(flat.shape, generator=generator)
    keys = torch.cat([found.example_keys, torch.where(flat, drawn, -1.0)])
    places = (first + torch.arange(len(flat)))[:, None].expand(flat.shape)
    every = torch.cat([found.example_places, places])
    found.example_keys, best = keys.topk(N_EXAMPLES, dim=0)
    found.example_places = every.gather(0, best)


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
