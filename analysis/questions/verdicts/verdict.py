"""What numbers say of a claim: intervals, a threshold, a control and p make one verdict."""

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What the numbers say about a claim that a statistic is larger than a bar."""

    SUPPORTED = "supported"
    """The whole interval lies beyond the threshold, the statistic is more than its control, and
    p is below .025 where there is a null."""

    REFUTED = "refuted"
    """The whole interval lies on the other side of the threshold."""

    NOT_SHOWN = "not shown"
    """The control has more, or the interval lies beyond the threshold and p is not below .025: that
    it is anything special is not shown."""

    UNDECIDED = "undecided"
    """The interval includes the threshold, or its distance to the control includes 0."""

    NOT_TESTABLE = "not testable"
    """Not refuted, and the null is too small for any p below .025."""


LEVEL = 0.025
"""One-sided; as strict as an interval of 95 %."""


@dataclass(frozen=True, kw_only=True)
class Null:
    """What a statistic would be if the claim were wrong, many times over."""

    p: float
    """How probable as large a statistic is, in (0, 1]."""
    size: int
    """How many times: p is at least 1 / (size + 1). Of sets, how many are different."""

    @property
    def allows(self) -> bool:
        """Whether p could be small enough."""
        return 1 / (self.size + 1) < LEVEL


def verdict(
    interval: tuple[float, float],
    threshold: float,
    beyond: tuple[float, float],
    null: Null | None = None,
) -> Verdict:
    """Judge a claim that a statistic is larger than a threshold and than its control.

    Args:
        interval: 95 % interval of the statistic.
        threshold: What it must exceed.
        beyond: 95 % interval of the statistic minus its control.
        null: What it must stand out from, if there is one.

    Returns:
        The verdict. An end that is NaN is beyond nothing: without an interval, or without one of
        the distance to the control, a claim can be neither supported nor, by it, refuted or not
        shown.
    """
    lower, upper = interval
    if upper < threshold:
        return Verdict.REFUTED
    if null is not None and not null.allows:
        return Verdict.NOT_TESTABLE
    rare = null is None or null.p < LEVEL
    if lower > threshold and beyond[0] > 0 and rare:
        return Verdict.SUPPORTED
    if beyond[1] < 0 or (lower > threshold and not rare):
        return Verdict.NOT_SHOWN
    return Verdict.UNDECIDED
