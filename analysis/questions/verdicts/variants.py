"""Several verdicts together: a claim that is tested in several ways, or that has several parts."""

from collections.abc import Mapping
from typing import Any

from .verdict import Verdict

WEAKEST_FIRST = (
    Verdict.REFUTED,
    Verdict.NOT_SHOWN,
    Verdict.NOT_TESTABLE,
    Verdict.UNDECIDED,
    Verdict.SUPPORTED,
)
"""What was found against a claim comes first, then what no data of this size could tell, then what
more data may."""


def weaker(*verdicts: Verdict) -> Verdict:
    """The verdict on several claims together: the first in `WEAKEST_FIRST`."""
    return min(verdicts, key=WEAKEST_FIRST.index)


def given(claim: Verdict, presumed: Verdict) -> Verdict:
    """The verdict on a claim that takes another one for granted."""
    lost = presumed in {Verdict.REFUTED, Verdict.NOT_SHOWN}
    return Verdict.NOT_TESTABLE if lost else weaker(claim, presumed)


def weakest(variants: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The row of a claim that was tested in several ways.

    Args:
        variants: Rows of `claims` by what tells them apart, at least one; claim and statement are
            those of all of them.

    Returns:
        The row that decides: that of the weakest verdict and, among equal ones, of the lowest end
        above the threshold. Its statistic says every estimate.
    """

    def strength(name: str) -> tuple[int, float]:
        row = variants[name]
        low = float("-inf") if row["lower"] is None else row["lower"] - row["threshold"]
        return WEAKEST_FIRST.index(Verdict(row["verdict"])), low

    decides = min(variants, key=strength)
    row = dict(variants[decides])
    if len(variants) > 1:
        each = ", ".join(f"{name} {_told(one)}" for name, one in variants.items())
        row["statistic"] = f"{row['statistic']}; {decides} decides: {each}"
    return row


def _told(row: Mapping[str, Any]) -> str:
    value = "unknown" if row["estimate"] is None else f"{row['estimate']:.3g}"
    return f"{value} ({row['verdict']})"


def turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a claim that a statistic is smaller than a bar.

    Smaller is larger with the signs turned, which leaves one rule for all verdicts.

    Args:
        row: A row of `claims` that was judged with statistic, control and threshold negated.

    Returns:
        The row with their own signs, and the same verdict.
    """
    ends = {"lower": "upper", "control_lower": "control_upper"}
    sources = {name: name for name in ("estimate", "control", "threshold")}
    sources |= ends | {upper: lower for lower, upper in ends.items()}
    return {**row, **{n: None if row[s] is None else -row[s] for n, s in sources.items()}}
