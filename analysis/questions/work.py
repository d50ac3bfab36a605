"""How much of a model a question runs: counts of layers and logits, the same on every machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass

from analysis.interventions import Condition, Head, Metrics, Needs, methods_of
from analysis.interventions.heads import heads_of
from analysis.models.files.card import ModelCard
from analysis.text.tokens import Tokens

DRAWN = 0.2
"""Of what all logits take: those of tokens that are drawn, and how much logits change."""
PARTLY = 1 / 3
"""Of a layer's work, where only what heads read or look at is computed."""


@dataclass(frozen=True)
class Work:
    """What is run. Sums of several are what they take together."""

    layers: int | float = 0
    """Tokens that go through a layer, over all layers and passes."""
    gradients: int | float = 0
    """The same of passes that go back too."""
    logits: int | float = 0
    """Positions at which all logits are computed."""
    compared: int | float = 0
    """Positions at which two distributions are compared token by token."""
    calls: int | float = 0
    """Layers that are called on few tokens, where to fetch the weights takes longer."""

    def __add__(self, other: Work) -> Work:
        both = zip(astuple(self), astuple(other), strict=True)
        return Work(*(mine + theirs for mine, theirs in both))

    def __mul__(self, n: int | float) -> Work:
        return Work(*(count * n for count in astuple(self)))


NO_WORK = Work()


def total(parts: Iterable[Work]) -> Work:
    """The sum of some work."""
    return sum(parts, NO_WORK)


def passes(card: ModelCard, *data: Tokens) -> Work:
    """A pass over each of some data sets, without logits."""
    return Work(layers=card.n_layers * sum(tokens.ids.size for tokens in data))


def scored(card: ModelCard, *data: Tokens) -> Work:
    """The same with patterns scored: what is by chance is read off two rows of each."""
    return passes(card, *data) + Work(
        layers=card.n_layers * sum(2 * tokens.ids.shape[1] for tokens in data)
    )


def predicted(*data: Tokens) -> Work:
    """The logits that a loss of every token of some data sets takes."""
    return Work(logits=sum(tokens.ids.shape[0] * (tokens.ids.shape[1] - 1) for tokens in data))


def walked(conditions: Iterable[Condition], card: ModelCard) -> int:
    """Layers that conditions are run through, each from the first that it touches."""
    return sum(max(0, card.n_layers - condition.first_layer) for condition in conditions)


def read_under(
    conditions: Collection[Condition], card: ModelCard, shape: tuple[int, int], reference: int = 0
) -> Work:
    """Conditions that share the layers below them, as `readings` runs them; no logits.

    Args:
        conditions: What is replaced.
        card: The model.
        shape: Sequences, and tokens in each.
        reference: Tokens that means are taken over, if any method takes them.

    Returns:
        The base's pass, one row more that shows how layers are called, what stand-ins are read
        from, and every condition's own layers.
    """
    n_sequences, n_pos = shape
    needs = {method.needs for method in methods_of(list(conditions))}
    donors = card.n_layers if Needs.DONORS in needs else 0
    rows = n_sequences * (card.n_layers + donors + walked(conditions, card)) + card.n_layers
    means = card.n_layers * reference if Needs.MEANS in needs else 0
    return Work(layers=n_pos * rows + means)


def swept(
    conditions: Collection[Condition],
    card: ModelCard,
    shape: tuple[int, int],
    metrics: Metrics,
    reference: int = 0,
) -> Work:
    """The same with predictions compared at every position, as `sweep` does.

    Args:
        conditions: What is replaced.
        card: The model.
        shape: Sequences, and tokens in each.
        metrics: What is compared.
        reference: Tokens that means are taken over, if any method takes them.
    """
    positions = shape[0] * shape[1]
    acting = sum(condition.first_layer < card.n_layers for condition in conditions)
    # the base's own: logits twice, and the rows of W_U averaged with its probabilities
    base = Work(logits=3 * positions)
    each = {
        Metrics.DRAWN: Work(logits=DRAWN * positions),
        Metrics.LEAN: Work(logits=positions),
        Metrics.FULL: Work(logits=positions, compared=positions),
    }
    return read_under(conditions, card, shape, reference) + base + each[metrics] * acting


def usual_heads(card: ModelCard, n: int) -> tuple[Head, ...]:
    """Heads that stand for those that answers will single out: evenly spread over the model."""
    every = heads_of(card)
    step = max(1, len(every) // max(1, n))
    return tuple(every[step // 2 :: step][:n])


def spread_heads(card: ModelCard) -> tuple[Head, ...]:
    """All heads in an order that stands for a ranking: its top lies in a model's later half."""
    every, step = heads_of(card), 7
    half = len(every) // 2
    later, earlier = every[half:], every[:half]
    return tuple(h for part in (later, earlier) for i in range(step) for h in part[i::step])
