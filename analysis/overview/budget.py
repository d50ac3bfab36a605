"""Plans that fit a time: chapters in the order of their value, at sizes that are halved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import accumulate

from analysis.questions.asked import Asked, with_own
from analysis.questions.cost import STARTS, UNIT_S, Rates
from analysis.questions.experiment import Experiment
from analysis.questions.work import total
from analysis.studies import named_chapters

from .forecast import everything
from .own_sizes import size_tables

VALUE = ("01", "10", "03", "02", "04", "05", "09", "08", "06", "07")
"""Chapters by what a reader of a new model learns first: what every head looks at and what goes
without one, the sink, the circuit, redundancy, whether kinds of ablation agree; then lists,
retrieval, and components."""

LEAST = {
    **dict.fromkeys(("n_sequences", "n_blocks", "n_ablated", "n_positions"), 12),
    **dict.fromkeys(("atlas.n_repeats", "atlas.n_lists", "atlas.n_gifts"), 12),
    **dict.fromkeys(("lags.n_permutations", "lags.n_longer"), 12),
    **dict.fromkeys(("retrieval.n_detection", "retrieval.n_items", "retrieval.n_per_length"), 4),
    **dict.fromkeys(("component_redundancy.n_stochastic", "component_redundancy.n_adversarial"), 6),
    **dict.fromkeys(("n_draws", "circuit_components.n_matched_sets"), 40),
    **dict.fromkeys(("n_tokens", "ablated_tokens"), 32),
    "block_len": 16,
}
"""What a budget halves, and how far: a verdict takes six pairs of the odd sequences, so twelve, and
40 draws for a p below .025; sequences keep 32 tokens, and blocks 16."""


@dataclass(frozen=True)
class BudgetPlan:
    """What fits a time."""

    asked: Asked
    """At the sizes of the plan, of its chapters."""
    halvings: int
    seconds: dict[str, float]
    """By chapter, in the order of `VALUE`, what it takes beside those before it, on one core."""
    capacity: float
    """Seconds of all cores together."""
    noted: bool = False
    """Whether an earlier budget chose the sizes, as the store has noted."""

    @property
    def inside(self) -> list[str]:
        """Chapters that fit: in the order of their value, up to the first that does not."""
        ends = accumulate(self.seconds.values())
        return [n for n, end in zip(self.seconds, ends, strict=True) if end <= self.capacity]

    @property
    def outside(self) -> dict[str, float]:
        """What each of the others would take."""
        return {n: s for n, s in self.seconds.items() if n not in self.inside}


def fitted(asked: Asked, rates: Rates, capacity: float) -> int:
    """How often sizes are halved so that all chapters fit a time; as often as can be if none do.

    Args:
        asked: At the sizes of its profile.
        rates: How fast the model is computed.
        capacity: Seconds of all cores together.
    """
    halvings = 0
    while sum(chapter_seconds(halved(asked, halvings), rates).values()) > capacity:
        if halved(asked, halvings + 1) == halved(asked, halvings):
            break
        halvings += 1
    return halvings


def planned(asked: Asked, rates: Rates, capacity: float, halvings: int) -> BudgetPlan:
    """The chapters that fit a time at some sizes. A longer time holds all that a shorter one does.

    Args:
        asked: At the sizes of its profile.
        rates: How fast the model is computed.
        capacity: Seconds of all cores together.
        halvings: How often sizes are halved.

    Returns:
        The plan; it may hold no chapter.
    """
    small = halved(asked, halvings)
    found = BudgetPlan(small, halvings, chapter_seconds(small, rates), capacity)
    return replace(found, asked=replace(small, chapters=tuple(sorted(found.inside))))


def chapter_seconds(asked: Asked, rates: Rates) -> dict[str, float]:
    """What every chapter takes beside those before it, on one core.

    Args:
        asked: Which model, on what text, how much.
        rates: How fast the model is computed.

    Returns:
        Seconds by number, in the order of `VALUE`; the first has the start in it.
    """
    numbers = {name[:2] for name in named_chapters(asked.chapters)}
    seen, found = set[Experiment](), dict[str, float]()
    for number in (n for n in VALUE if n in numbers):
        asking = everything(replace(asked, chapters=(number,)))
        units = [unit for one in asking if one not in seen for unit in one.units()]
        seen.update(asking)
        start = 0.0 if found else STARTS * rates.load
        work = total(unit.work() for unit in units)
        found[number] = start + rates.seconds(work) + UNIT_S * len(units)
    return found


def halved(asked: Asked, times: int) -> Asked:
    """What is asked with its sizes halved some times, but not below `LEAST`."""
    changed = {name: max(min(n, LEAST[name]), n >> times) for name, n in _sizes(asked)}
    usual = dict(_sizes(asked))
    own = {**dict(asked.own), **{n: v for n, v in changed.items() if v != usual[n]}}
    return replace(asked, own=tuple(sorted(own.items())))


def _sizes(asked: Asked) -> Iterator[tuple[str, int]]:
    """The sizes that a budget halves, as they are asked."""
    for room, table in size_tables().items():
        sizes = with_own(table[asked.profile], asked.own, room)
        for each in fields(sizes):
            name = f"{room}.{each.name}" if room else each.name
            if name in LEAST:
                yield name, getattr(sizes, each.name)
