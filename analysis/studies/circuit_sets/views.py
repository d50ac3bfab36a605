"""Answers of `CircuitSets` arranged for a reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from analysis.questions.verdicts.judgement import Evidence
from analysis.statistics.resampling import Interval, ratio_of_sums

from .measures import SetRises, rises
from .question import ALL, ATTENTION, CHANCE, CIRCUIT, GRADIENT, MATCHED, OTHER, PATH

_CURVES = {
    PATH: "cut one by one",
    GRADIENT: "first by gradient",
    ATTENTION: "first by attention",
    CHANCE: "in random order",
    MATCHED: "drawn as large",
}
_SHARES = {"value": pl.Float64, "lower": pl.Float64, "upper": pl.Float64, "n": pl.Int64}


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
        (method, words, len(kept), ", ".join(kept), *share, n)
        for method, answer in sets.items()
        for found in [rises(answer)]
        for family, words in _CURVES.items()
        for kept, share, n in _shares(found, family, seed)
    ]
    schema = {"method": pl.String, "chosen": pl.String, "kept": pl.Int64, "heads": pl.String}
    return pl.DataFrame(rows, schema=schema | _SHARES, orient="row")


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
        that size that other sequences find has the head.
    """
    rows: list[tuple[object, ...]] = []
    for method, answer in sets.items():
        found = rises(answer)
        circuit, floor = found.of[CIRCUIT][0], found.of[ALL][0]
        (again,) = found.kept[OTHER]
        for head in found.kept[CIRCUIT][0]:
            share = _ratio(found.without(head) - circuit, floor, seed)
            rows.append((head, head, method, *share, floor.size, head in again))
    schema = {"group": pl.String, "name": pl.String, "role": pl.String}
    told = pl.DataFrame(rows, schema=schema | _SHARES | {"other half": pl.Boolean}, orient="row")
    largest = pl.col("value").max().over("group")
    return told.sort(largest, "group", "role", descending=[True, False, True])


def overlap(answer: Evidence) -> str:
    """How many heads the circuits of both halves share, such as `5 of 6`."""
    found = rises(answer)
    (own,), (other,) = found.kept[CIRCUIT], found.kept[OTHER]
    return f"{len(set(own) & set(other))} of {len(own)}"


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
        said.append(f"{', '.join(kept)} keep {share.estimate:.2f} ({ends}, {method})")
    return f"With every other head replaced, {'; '.join(said)} of what all gain." if said else ""
