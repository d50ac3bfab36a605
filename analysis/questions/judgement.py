"""From evidence to a verdict: a claim's estimate, interval, control and threshold."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import polars as pl

from analysis.models.card import ModelCard
from analysis.progress import Report
from analysis.statistics.resampling import Interval, mean_interval

from .experiment import Question


class Verdict(Enum):
    """What an interval says about a claim."""

    SUPPORTED = "supported"
    """The whole interval lies beyond the threshold and beyond the control."""

    NOT_SUPPORTED = "not supported"
    """The whole interval lies on the other side of the threshold or within the control."""

    UNDECIDED = "undecided"
    """The interval includes the threshold, or overlaps the control."""


def verdict(
    interval: tuple[float, float], threshold: float, control: tuple[float, float]
) -> Verdict:
    """Judge a claim that a statistic is larger than a threshold and than its control.

    Args:
        interval: 95 % interval of the statistic.
        threshold: What it must exceed.
        control: 95 % interval of the control.

    Returns:
        The verdict; NaN anywhere in the intervals makes it undecided.
    """
    lower, upper = interval
    if lower > threshold and lower > control[1]:
        return Verdict.SUPPORTED
    if upper < threshold or upper < control[0]:
        return Verdict.NOT_SUPPORTED
    return Verdict.UNDECIDED


@runtime_checkable
class Evidence(Protocol):
    """Stored frames by table name, and the runs that they came from."""

    @property
    def runs(self) -> tuple[str, ...]:
        """Run ids."""
        ...

    def __getitem__(self, table: str, /) -> pl.DataFrame: ...

    def __contains__(self, table: object, /) -> bool: ...


Group = Evidence | Mapping[Any, Evidence]
"""An answer, or several by what tells them apart."""


def answers_of(holder: Any) -> dict[str, Group]:
    """The answers, and groups of them, among the fields of a dataclass."""
    values = {field.name: getattr(holder, field.name) for field in fields(holder)}
    return {n: value for n, value in values.items() if isinstance(value, (Evidence, Mapping))}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a statistic is compared with, fixed before it is measured."""

    threshold: float
    """The interval must lie beyond it."""
    control: np.ndarray
    """The same statistic, one value a sequence, where the effect must be absent."""
    control_name: str
    """What the control is, in words."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A claim in words."""

    claim: str
    """Short name, stable over runs."""
    statement: str
    """A sentence that could be false."""
    statistic: str
    """Which number decides."""


def n_known(values: np.ndarray) -> int:
    """How many sequences can test a statistic."""
    return int((~np.isnan(values)).sum())


@dataclass(frozen=True, kw_only=True)
class Judgement(Question):
    """Claims about what experiments measured; its evidence is in its fields."""

    chapter: ClassVar[str]
    """The notebook that argues the claims."""

    card: ModelCard
    """The model that they were about."""

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Judge every claim.

        Returns:
            `claims`, one row each; those that the model's data cannot test have none, and there
            is no table without any.
        """
        rows = list(self.claims())
        report(1, 1, "")
        return {"claims": pl.DataFrame(rows, infer_schema_length=None)} if rows else {}

    def claims(self) -> Iterable[dict[str, Any]]:
        """Rows of `claims`."""
        return ()

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return answers_of(self)

    def runs(self) -> list[str]:
        """The runs that are judged."""
        groups = self.groups().values()
        answers = (
            answer
            for group in groups
            for answer in ([group] if isinstance(group, Evidence) else group.values())
        )
        return [run for answer in answers for run in answer.runs]

    def question(self) -> dict[str, Any]:
        """The runs that are judged, by their role."""
        roles = {
            name: group.runs
            if isinstance(group, Evidence)
            else {str(role): answer.runs for role, answer in group.items()}
            for name, group in self.groups().items()
        }
        return {
            "model": self.card.identity,
            "tokens": [],
            "parameters": {"evidence": roles},
            "dtype": "float64",
            "seed": self.seed,
        }

    def subjects(self) -> dict[str, pl.DataFrame]:
        """The model; texts are those of the evidence."""
        return {"models": self.card.row()}

    def judged(self, said: Statement, values: np.ndarray, bar: Bar) -> dict[str, Any]:
        """A row of `claims` about a mean over sequences.

        Args:
            said: The claim.
            values: The statistic, one value a sequence.
            bar: What it is compared with.

        Returns:
            The row, its verdict computed from bootstrap intervals.
        """
        found, control = (mean_interval(each, self.seed) for each in (values, bar.control))
        note = f"n = {n_known(values)}; control: {bar.control_name}"
        return self.decided(said, found, control, (bar.threshold, note))

    def decided(
        self, said: Statement, estimate: Interval, control: Interval, bar: tuple[float, str]
    ) -> dict[str, Any]:
        """A row of `claims` whose intervals are known.

        Args:
            said: The claim.
            estimate: Its estimate; what is not a number becomes NULL.
            control: The same of the control.
            bar: The threshold, and a note of n and of what the control is.

        Returns:
            The row with its verdict.
        """
        threshold, note = bar
        numbers = {
            "estimate": estimate.estimate,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "control": control.estimate,
            "control_lower": control.lower,
            "control_upper": control.upper,
        }
        return {
            "claim": said.claim,
            "statement": said.statement,
            "statistic": f"{said.statistic} ({note})",
            **{name: None if np.isnan(number) else number for name, number in numbers.items()},
            "threshold": threshold,
            "verdict": verdict(estimate[1:], threshold, control[1:]).value,
            "chapter": self.chapter,
            "evidence": json.dumps(self.runs()),
        }
