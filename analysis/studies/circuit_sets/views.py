"""Answers of `CircuitSets` arranged for a reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from analysis.interventions.heads import Head, every_name
from analysis.questions.verdicts.judgement import Evidence
from analysis.statistics.resampling import Interval, ratio_of_sums

from .conditions import (
    ALL,
    ALL_SHUFFLED,
    ATTENTION,
    CHANCE,
    CIRCUIT,
    CIRCUIT_ALONE,
    CIRCUIT_SHUFFLED,
    DOSES,
    GRADIENT,
    MATCHED,
    OTHER,
    PATH,
    Goal,
)
from .measures import SetRises, rises

_CURVES = {
    PATH: "cut one by one",
    GRADIENT: "first by gradient",
    ATTENTION: "first by attention",
    CHANCE: "in random order",
    MATCHED: "drawn as large",
}
_LISTED = 12
_AREAS = (PATH, GRADIENT, ATTENTION, CHANCE)
_CHOSEN = {"other half": pl.Boolean, "gates": pl.String}
_LINE = {"at": pl.Float64, "series": pl.String, "role": pl.String}
SHARES = {"value": pl.Float64, "lower": pl.Float64, "upper": pl.Float64, "n": pl.Int64}
"""A value with its 95 % interval, and sequences."""


def curve_rows(sets: Mapping[str, Evidence], seed: int) -> pl.DataFrame:
    """Shares of what all heads gain that sets keep, with every other head replaced.

    Args:
        sets: Answers by method.
        seed: Of the intervals.

    Returns:
        Columns `method`, `chosen`, `kept` (how many heads), `heads`, `value`, `lower`, `upper` and
        `n`: a row for each set, with a 95 % interval over sequences.
    """
    rows = [
        (method, words, len(kept), _listed(kept), *share, n)
        for method, answer in sets.items()
        for found in [rises(answer)]
        for family, words in _CURVES.items()
        for kept, share, n in _shares(found, family, seed)
    ]
    schema = {"method": pl.String, "chosen": pl.String, "kept": pl.Int64, "heads": pl.String}
    return pl.DataFrame(rows, schema=schema | SHARES, orient="row")


def _listed(names: Sequence[str]) -> str:
    """Heads by name; of many, neighbours together."""
    few = len(names) <= _LISTED
    return ", ".join(names) if few else every_name(Head.parse(name) for name in names)


def _shares(
    found: SetRises, family: str, seed: int
) -> Iterator[tuple[tuple[str, ...], Interval, int]]:
    floor = found.of[ALL][0]
    for kept, rise in zip(found.kept.get(family, ()), found.of[family], strict=True):
        yield kept, _ratio(found.share(rise), floor, seed), floor.size


def _ratio(part: np.ndarray, floor: np.ndarray, seed: int) -> Interval:
    return ratio_of_sums(part[:, None], floor[:, None], seed).intervals()[0]


def head_rows(sets: Mapping[str, Evidence], seed: int) -> pl.DataFrame:
    """What each head adds to the circuit: the share of the gain that is lost without it, too.

    Args:
        sets: Answers by method.
        seed: Of the intervals.

    Returns:
        Columns of `ablation_strip`, the largest first; `other half` says whether the circuit of
        that size that other sequences find has the head, `gates` in how many starts they choose
        it.
    """
    rows: list[tuple[object, ...]] = []
    for method, answer in sets.items():
        found = rises(answer)
        circuit, floor = found.of[CIRCUIT][0], found.of[ALL][0]
        (again,), gated = found.kept[OTHER], found.kept[Goal.ENOUGH.value]
        for head in found.kept[CIRCUIT][0]:
            share = _ratio(found.without(head) - circuit, floor, seed)
            opened = f"{sum(head in heads for heads in gated)} of {len(gated)}"
            rows.append((head, head, method, *share, floor.size, head in again, opened))
    schema = {"group": pl.String, "name": pl.String, "role": pl.String}
    told = pl.DataFrame(rows, schema=schema | SHARES | _CHOSEN, orient="row")
    largest = pl.col("value").max().over("group")
    return told.sort(largest, "group", "role", descending=[True, False, True])


def area_rows(sets: Mapping[str, Evidence], seed: int) -> pl.DataFrame:
    """What is kept on average over all numbers of heads: the area under each curve.

    Args:
        sets: Answers by method.
        seed: Of the intervals.

    Returns:
        Columns `chosen` and, for each method, `value (lower to upper)`: 1 where one head keeps all.
    """
    columns: dict[str, list[str]] = {}
    for method, answer in sets.items():
        found = rises(answer)
        areas = [_area(found, family) for family in _AREAS]
        columns[method] = [_told(_ratio(area, found.of[ALL][0], seed)) for area in areas]
    return pl.DataFrame({"chosen": [_CURVES[family] for family in _AREAS], **columns})


def _area(found: SetRises, family: str) -> np.ndarray:
    """Gain that is kept on average over 0 to all kept heads, by sequence."""
    floor, n_heads = found.of[ALL][0], found.n_heads
    sized = np.array([len(kept) for kept in found.kept.get(family, ())])
    places = sorted(set(sized.tolist()))
    means = [found.share(found.of[family][sized == n].mean(0)) for n in places]
    whole = np.stack([np.zeros_like(floor), *means, floor])
    return np.trapezoid(whole, [0, *places, n_heads], axis=0) / n_heads


def dose_rows(sets: Mapping[str, Evidence], seed: int) -> pl.DataFrame:
    """What of the gain is lost as the circuit is replaced little by little.

    Args:
        sets: Answers by method.
        seed: Of the intervals.

    Returns:
        Columns of `curves`: `at` is how far z went from what heads read to its stand-in.
    """
    rows: list[tuple[object, ...]] = []
    for method, answer in sets.items():
        found = rises(answer)
        floor = found.of[ALL][0]
        rows.append((0.0, method, method, 0.0, 0.0, 0.0, floor.size))
        for family, share in {**DOSES, CIRCUIT_ALONE: 1.0}.items():
            lost = _ratio(found.of[family][0], floor, seed)
            rows.append((share, method, method, *lost, floor.size))
    return pl.DataFrame(rows, schema=_LINE | SHARES, orient="row")


def rest_rows(sets: Mapping[str, Evidence], parts: Sequence[str], seed: int) -> pl.DataFrame:
    """What the circuit does not keep, by part of the second copy.

    Args:
        sets: Answers by method.
        parts: Scopes, such as `BY_PLACE`.
        seed: Of the intervals.

    Returns:
        Columns of `curves`: `at` is the part, from 1, and values are shares of what all heads gain
        in it. Parts without any predictable token have no rows.
    """
    rows: list[tuple[object, ...]] = []
    for method, answer in sets.items():
        measured = set(answer["ablation_effects"]["scope"])
        for at, scope in enumerate(parts, start=1):
            if scope in measured:
                found = rises(answer, scope)
                lost = _ratio(found.of[CIRCUIT][0], found.of[ALL][0], seed)
                rows.append((float(at), method, method, *lost, found.of[ALL][0].size))
    return pl.DataFrame(rows, schema=_LINE | SHARES, orient="row")


def gate_rows(sets: Mapping[str, Evidence], seed: int) -> pl.DataFrame:
    """The sets that gates choose, each time from other sequences.

    Args:
        sets: Answers by method.
        seed: Of the intervals.

    Returns:
        Columns `method`, `chosen for`, `heads`, `of the circuit` (`7 of 8`: heads that
        both have), and `share of the gain`: what is kept with all others replaced, or lost with
        these alone replaced.
    """
    rows: list[dict[str, object]] = []
    for method, answer in sets.items():
        found = rises(answer)
        floor, (circuit,) = found.of[ALL][0], found.kept[CIRCUIT]
        for goal in Goal:
            for heads, rise in zip(found.kept[goal.value], found.of[goal.value], strict=True):
                enough = goal is Goal.ENOUGH
                share = _ratio(found.share(rise) if enough else rise, floor, seed)
                rows.append(
                    {
                        "method": method,
                        "chosen for": "enough alone" if enough else "needed",
                        "heads": _listed(heads) or "none",
                        "of the circuit": f"{len(set(heads) & set(circuit))} of {len(circuit)}",
                        "share of the gain": f"{_told(share)} {'kept' if enough else 'lost'}",
                    }
                )
    return pl.DataFrame(rows)


def n_starts(sets: Mapping[str, Evidence]) -> str:
    """How often gates were learned, such as `3 starts`."""
    n = max(len(rises(answer).kept[Goal.ENOUGH.value]) for answer in sets.values())
    return f"{n} start{'s' if n > 1 else ''}"


def gates_said(sets: Mapping[str, Evidence], goal: Goal) -> str:
    """How many heads gates choose, and of the circuit from every start, by method, in words."""
    said: list[str] = []
    for method, answer in sets.items():
        found = rises(answer)
        (circuit,), chosen = found.kept[CIRCUIT], found.kept[goal.value]
        always = [head for head in circuit if all(head in heads for heads in chosen)]
        sizes = sorted({len(heads) for heads in chosen})
        many = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
        said.append(f"{many} heads, {len(always)} of the circuit's {len(circuit)} ({method})")
    return " and ".join(said)


def _told(share: Interval) -> str:
    return f"{share.estimate:.3f} ({share.lower:.3f} to {share.upper:.3f})"


def at(rows: pl.DataFrame, place: float) -> str:
    """Values of a curve at one place, such as `0.31 (resample) and 0.42 (mean)`."""
    own = rows.filter(at=place).select("value", "series")
    return " and ".join(f"{value:.2f} ({series})" for value, series in own.iter_rows())


def overlap(answer: Evidence) -> str:
    """How many heads the circuits of both halves share, such as `5 of 6`."""
    found = rises(answer)
    (own,), (other,) = found.kept[CIRCUIT], found.kept[OTHER]
    return f"{len(set(own) & set(other))} of {len(own)}"


def shuffled_said(sets: Mapping[str, Evidence], seed: int) -> str:
    """What circuits keep with stand-ins that say nothing of a copy, by method."""
    said: list[str] = []
    for method, answer in sets.items():
        of = rises(answer).of
        (floor,), (circuit,) = of[ALL_SHUFFLED], of[CIRCUIT_SHUFFLED]
        share = _ratio(floor - circuit, floor, seed)
        ends = f"{share.lower:.2f} to {share.upper:.2f}"
        said.append(f"{share.estimate:.2f} ({ends}, {method})")
    return " and ".join(said)


def needs(sets: Mapping[str, Evidence], method: str, seed: int) -> dict[str, float]:
    """By head the share that it adds to the circuit of a method; none where nothing was asked."""
    own = {method: sets[method]} if method in sets else {}
    return dict(head_rows(own, seed).select("name", "value").iter_rows())


def kept_said(sets: Mapping[str, Evidence], seed: int) -> str:
    """What the circuits keep of what all heads gain, in a sentence; empty without any."""
    said: list[str] = []
    for method, answer in sets.items():
        found = rises(answer)
        ((kept, share, _),) = _shares(found, CIRCUIT, seed)
        ends = f"{share.lower:.2f} to {share.upper:.2f}"
        said.append(f"{_listed(kept)} keep {share.estimate:.2f} ({ends}, {method})")
    return f"With every other head replaced, {'; '.join(said)} of what all gain." if said else ""
