"""How far verdicts are from changing: by how much, and with wider intervals which."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.questions.judgement import Verdict, verdict
from analysis.statistics.resampling import Interval

FACTORS = (0.5, 0.71, 1.0, 1.41, 2.0)
"""How much wider intervals are taken to be: of a quarter to four times as many sequences."""

_ESTIMATE = ("estimate", "lower", "upper")
_CONTROL = ("control", "control_lower", "control_upper")


@dataclass(frozen=True)
class _Weighed:
    """A claim's numbers, turned so that a larger estimate speaks for it."""

    estimate: Interval
    control: Interval
    threshold: float

    @classmethod
    def of(cls, claim: Mapping[str, Any]) -> "_Weighed | None":
        """None where the verdict does not follow from these numbers alone."""
        if any(claim[name] is None for name in (*_ESTIMATE, *_CONTROL)):
            return None
        estimate = Interval(*(claim[name] for name in _ESTIMATE))
        control = Interval(*(claim[name] for name in _CONTROL))
        rising = cls(estimate, control, claim["threshold"])
        falling = cls(-estimate, -control, -rising.threshold)
        told = (one for one in (rising, falling) if one.verdict(1.0) == claim["verdict"])
        return next(told, None)

    def verdict(self, factor: float) -> str:
        """With intervals that are wider by a factor."""
        interval, control = (
            (middle - factor * (middle - lower), middle + factor * (upper - middle))
            for middle, lower, upper in (self.estimate, self.control)
        )
        return verdict(interval, self.threshold, control).value

    def margin(self) -> tuple[float, str] | None:
        """Half-widths to the bar that the verdict turns on, and which that is."""
        _, lower, upper = self.estimate
        half = (upper - lower) / 2
        above = {"threshold": lower - self.threshold, "control": lower - self.control.upper}
        below = {"threshold": self.threshold - upper, "control": self.control.lower - upper}
        hard, easy = min(above, key=above.__getitem__), max(below, key=below.__getitem__)
        gaps = {abs(above[hard]): hard, abs(below[easy]): easy}
        told = self.verdict(1.0)
        gap = abs(above[hard]) if told == Verdict.SUPPORTED.value else abs(below[easy])
        if told == Verdict.UNDECIDED.value:
            gap = min(gaps)
        return (gap / half, gaps[gap]) if half > 0 else None


def margins(claims: pl.DataFrame) -> pl.DataFrame:
    """How far every verdict is from changing.

    A verdict turns on the end of the claim's interval, and on the threshold or the nearer end of
    the control's interval. The margin is the distance between the two, in half-widths of the
    claim's own interval.

    Args:
        claims: Rows of the table `claims`.

    Returns:
        The rows with `margin` (null for an interval without width, and for a verdict that rests
        on other evidence too) and `nearest`: `threshold` or `control`. The nearest comes first.
    """
    weighed = [_Weighed.of(claim) for claim in claims.to_dicts()]
    found = [None if one is None else one.margin() for one in weighed]
    return claims.with_columns(
        margin=pl.Series([None if one is None else one[0] for one in found], dtype=pl.Float64),
        nearest=pl.Series([None if one is None else one[1] for one in found], dtype=pl.String),
    ).sort("margin", "claim", nulls_last=True)


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
        factor: How much, of the claim's interval and of the control's.

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
