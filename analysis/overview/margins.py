"""How far verdicts are from changing: by how much, and with wider intervals which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.questions.verdicts.verdict import Null, verdict
from analysis.statistics.resampling import Interval

FACTORS = (0.5, 0.71, 1.0, 1.41, 2.0)
"""How much wider intervals are taken to be: of a quarter to four times as many sequences."""

_INTERVALS = {
    "threshold": ("estimate", "lower", "upper"),
    "control": ("beyond", "beyond_lower", "beyond_upper"),
}
"""What a verdict is made of, by the bar that it turns on."""


@dataclass(frozen=True)
class _Weighed:
    """A claim's numbers, turned so that larger ones speak for it."""

    estimate: Interval
    """Minus the threshold."""
    beyond: Interval
    """Minus the control."""
    null: Null | None

    @classmethod
    def of(cls, claim: Mapping[str, Any]) -> "_Weighed | None":
        """None where the verdict does not follow from these numbers alone."""
        if any(claim[name] is None for names in _INTERVALS.values() for name in names):
            return None
        at, beyond = (
            Interval(*(float(claim[name]) for name in names)) for names in _INTERVALS.values()
        )
        threshold = claim["threshold"]
        rising = Interval(*(end - threshold for end in at))
        null = None if claim["p"] is None else Null(p=claim["p"], size=claim["n_null"])
        # The distance to the control speaks for a claim of a small number, too.
        falls = claim["control"] is not None and (at.estimate - claim["control"]) * beyond[0] < 0
        told = cls(-rising if falls else rising, beyond, null)
        return told if told.verdict() == claim["verdict"] else None

    def verdict(self, factor: float = 1.0, shift: float = 0.0) -> str:
        """With intervals wider by a factor, and all moved by so many of their half-widths."""
        ends = [
            (middle - factor * (middle - lower) + by, middle + factor * (upper - middle) + by)
            for middle, lower, upper in (self.estimate, self.beyond)
            for by in [shift * (upper - lower) / 2]
        ]
        return verdict(ends[0], 0.0, ends[1], self.null).value

    def margin(self) -> tuple[float, str] | None:
        """Half-widths to another verdict, and the bar at which that is."""
        found: list[tuple[float, str]] = []
        for bar, (_, lower, upper) in zip(_INTERVALS, (self.estimate, self.beyond), strict=True):
            half = (upper - lower) / 2
            found += [(-end / half, bar) for end in (lower, upper) if half > 0]
        for shift, bar in sorted(found, key=lambda each: abs(each[0])):
            aside = 1e-9 * (1 + abs(shift))
            changed = (self.verdict(shift=shift + by) for by in (-aside, aside))
            if any(told != self.verdict() for told in changed):
                return abs(shift), bar
        return None


def margins(claims: pl.DataFrame) -> pl.DataFrame:
    """How far every verdict is from changing.

    A verdict turns on an end of the claim's interval and the threshold, or on an end of the
    interval of its distance to the control and 0. The margin is the distance between the two, in
    half-widths of that interval: both intervals are moved by as many of theirs. What is known of
    p stays.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        The rows with `margin` (null where no move changes the verdict, where intervals are
        missing, and for a verdict that rests on other evidence too) and `nearest`: `threshold` or
        `control`. The nearest comes first.
    """
    weighed = [_Weighed.of(claim) for claim in claims.to_dicts()]
    found = [None if one is None else one.margin() for one in weighed]
    return claims.with_columns(
        margin=pl.Series([None if one is None else one[0] for one in found], dtype=pl.Float64),
        nearest=pl.Series([None if one is None else one[1] for one in found], dtype=pl.String),
    ).sort("margin", "claim", nulls_last=True)


def nearest_said(rows: pl.DataFrame) -> str:
    """Which verdict is nearest to changing, in a sentence.

    Args:
        rows: Of `margins`.
    """
    told = rows.drop_nulls("margin")
    if told.is_empty():
        return "None turns on an interval alone."
    claim, margin, nearest = told.select("claim", "margin", "nearest").row(0)
    return (
        f"The nearest to changing is *{claim.replace('_', ' ')}*: its interval ends {margin:.2f} "
        f"half-widths from its {nearest}."
    )


def margin_table(rows: pl.DataFrame) -> pl.DataFrame:
    """Margins as a reader sees them.

    Args:
        rows: Of `margins`.

    Returns:
        `claim`, `verdict`, `margin`, `nearest`, `estimate`, `95 %`, `threshold`, `control`, and the
        `run`, which links to it.
    """
    return rows.select(
        pl.col("claim").str.replace_all("_", " "),
        "verdict",
        pl.col("margin").round(2),
        "nearest",
        pl.col("estimate").round(3),
        pl.format("{} to {}", *(pl.col(end).round(3) for end in ("lower", "upper"))).alias("95 %"),
        "threshold",
        pl.col("control").round(3),
        run=pl.lit("run"),
        run_link=pl.format("run:{}", "run"),
    )


def widened(claims: pl.DataFrame, factor: float) -> pl.DataFrame:
    """The verdicts if every interval were wider or narrower around its estimate.

    Args:
        claims: Rows of the table `claims`.
        factor: How much, of the claim's interval and of that of its distance to the control.

    Returns:
        The rows whose verdict changes: `claim`, `verdict`, and what it would be, `then`.
    """
    rows: list[dict[str, str]] = []
    for claim in claims.to_dicts():
        weighed = _Weighed.of(claim)
        if weighed is not None:
            told = {"claim": claim["claim"].replace("_", " "), "verdict": claim["verdict"]}
            rows.append({**told, "then": weighed.verdict(factor)})
    schema = {"claim": pl.String, "verdict": pl.String, "then": pl.String}
    return pl.DataFrame(rows, schema=schema).filter(pl.col("verdict") != pl.col("then"))
