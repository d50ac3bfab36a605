"""Interventions: every one says method, heads and positions; nothing has a scientific default."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from analysis.attention import Site
from analysis.errors import UserError
from analysis.models.files.card import ModelCard

from .heads import Head


class Needs(Enum):
    """What must be measured before a method can put it in."""

    NOTHING = "nothing"
    """The method knows what to put in."""

    MEANS = "means"
    """Means over a reference set."""

    DONORS = "donors"
    """What heads read on other sequences."""


class Method(Enum):
    """What stands in for a head, or for what it reads. No default: the choice is the science."""

    ZERO = "zero", Site.Z, Needs.NOTHING
    """z is 0: the head writes exactly nothing."""

    MEAN = "mean", Site.Z, Needs.MEANS
    """z is its mean over a reference set."""

    RESAMPLE = "resample", Site.Z, Needs.DONORS
    """z is what the head read on another sequence."""

    UNIFORM = "uniform", Site.PATTERN, Needs.NOTHING
    """The pattern is uniform over visible keys: the head writes the mean of the visible values."""

    ZERO_VALUE = "zero_value", Site.V, Needs.NOTHING
    """The pattern is unchanged; values at some keys are 0, in the head's own copy."""

    MEAN_VALUE = "mean_value", Site.V, Needs.MEANS
    """The pattern is unchanged; values at some keys are their mean over a reference set."""

    MASK_KEY = "mask_key", Site.SCORES, Needs.NOTHING
    """Some keys are invisible and the pattern is renormalised; a query left with no key reads 0."""

    def __new__(cls, value: str, site: Site, needs: Needs) -> "Method":
        """A member is called by its first value alone: `Method("zero")`."""
        member = object.__new__(cls)
        member._value_ = value
        member.site, member.needs = site, needs
        return member

    _value_: str
    site: Site
    """Where it acts."""
    needs: Needs
    """What it puts in, if that is measured first."""

    @property
    def of_queries(self) -> bool:
        """Whether positions are those of queries; otherwise they are those of keys."""
        return self.site in {Site.Z, Site.PATTERN}

    @property
    def at_z(self) -> bool:
        """Whether z itself is replaced: a gradient by z estimates it, and no layer runs anew."""
        return self.site is Site.Z


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """One method at some heads and positions."""

    method: Method
    heads: tuple[Head, ...]
    positions: tuple[int, ...] | None
    """Of queries or of keys, as the method says; None for all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple(Head(*head) for head in self.heads))

    @property
    def first_layer(self) -> int:
        """The first layer that can change; a very large one if there are no heads."""
        return min((layer for layer, _ in self.heads), default=2**31)

    def in_layer(self, layer: int) -> list[int]:
        """Its heads in one layer."""
        return [head for at, head in self.heads if at == layer]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What is done to a model, and why: one row of an ablation table."""

    name: str
    """Unique among the conditions of one experiment, such as `zero L1H4`."""
    family: str
    """What it is for: `single`, `top`, `random`, `layer_matched`, ..."""
    interventions: tuple[Intervention, ...]
    """Applied together; none leaves the model as it is."""
    draw: int | None = None
    """Which random draw it is, from 0."""

    @property
    def first_layer(self) -> int:
        """The first layer that can change."""
        return min((one.first_layer for one in self.interventions), default=2**31)


def check(interventions: Iterable[Intervention], card: ModelCard, n_pos: int) -> None:
    """Make sure that a model with sequences of a length has what is to be replaced.

    Args:
        interventions: What will be applied together.
        card: The model's sizes.
        n_pos: Positions of every sequence, BOS included.

    Raises:
        UserError: A head or position does not exist, or two methods claim the same z or value.
    """
    of_queries: dict[tuple[Head, int], Method] = {}
    of_keys: dict[tuple[Head, int], Method] = {}
    for one in interventions:
        for head in one.heads:
            there = 0 <= head.layer < card.n_layers
            if not there or not 0 <= head.head < card.heads_by_layer[head.layer]:
                raise UserError(
                    f"expected heads from L0H0 to L{card.n_layers - 1}H{card.n_heads - 1} of "
                    f"{card.name}, got {head}; choose heads of the model"
                )
        for position in one.positions or ():
            if not 0 <= position < n_pos:
                raise UserError(
                    f"expected positions from 0 to {n_pos - 1}, the last of a sequence of "
                    f"{n_pos} tokens, got {position}; choose positions inside it"
                )
        if one.method.site is not Site.SCORES:  # what is hidden has no stand-in
            _claim(one, n_pos, of_queries if one.method.of_queries else of_keys)


def _claim(one: Intervention, n_pos: int, claimed: dict[tuple[Head, int], Method]) -> None:
    """Note what is replaced; a second, different replacement is a contradiction."""
    positions: Sequence[int] = range(n_pos) if one.positions is None else one.positions
    for head in one.heads:
        for position in positions:
            other = claimed.setdefault((head, position), one.method)
            if other is not one.method:
                raise UserError(
                    f"expected one stand-in for {head} at position {position}, got both "
                    f"{other.value} and {one.method.value}; apply them apart"
                )
