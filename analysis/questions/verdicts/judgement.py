"""From evidence to a verdict: a claim's estimate, interval, control and threshold."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import polars as pl

from analysis.models.files.card import ModelCard
from analysis.progress import Report
from analysis.questions.experiment import Question
from analysis.statistics.comparisons import sign_flip_p
from analysis.statistics.resampling import Interval, mean_interval

from .centres import Centre, each_number
from .verdict import Null, verdict

PAIRS = 6
"""Fewest pairs whose signs allow so small a p: 1 in 64."""
TOLERANCE = 1e-6
"""What is the same by definition may differ by so much, of numbers of order 1."""


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
    """What a statistic is compared with."""

    threshold: float
    """The interval must lie beyond it."""
    control: np.ndarray
    """The same statistic where the effect must be absent, one value a sequence: of the same
    sequences in the same order."""
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
            `claims` and `checks`, one row each; those that the model's data cannot test have none,
            and there is no table without any.
        """
        rows = {"claims": list(self.claims()), "checks": list(self.checks())}
        report(1, 1, "")
        return {
            table: pl.DataFrame(found, infer_schema_length=None)
            for table, found in rows.items()
            if found
        }

    def checks(self) -> Iterable[dict[str, Any]]:
        """Rows of `checks`: what holds by definition, and could only fail by a mistake."""
        return ()

    def checked(
        self, name: str, statement: str, difference: float, *, same: bool
    ) -> dict[str, Any]:
        """A row of `checks`.

        Args:
            name: Short name, stable over runs.
            statement: What must hold.
            difference: The largest between the two sides, in what the statement says.
            same: Whether it must be 0 but for rounding, or must not: that is the control.
        """
        return {
            "name": name,
            "statement": statement,
            "difference": difference,
            "tolerance": TOLERANCE,
            "holds": difference <= TOLERANCE if same else difference > TOLERANCE,
            "chapter": self.chapter,
        }

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
            bar: What it is compared with, sequence by sequence.

        Returns:
            The row, its verdict computed from bootstrap intervals, of the differences too, and from
            the p of a sign test of these.

        Raises:
            ValueError: The control has other sequences.
        """
        if values.shape != bar.control.shape:
            raise ValueError(
                f"expected {values.shape} values of the control of {said.claim}, "
                f"got {bar.control.shape}"
            )
        found, control = (mean_interval(each, self.seed) for each in (values, bar.control))
        note = f"n = {n_known(values)}; control: {bar.control_name}"
        gaps = values - bar.control
        p, size = sign_flip_p(gaps, self.seed)
        beyond = mean_interval(gaps, self.seed)
        null = Null(p=p, size=size)
        return self.decided(said, found, control, (bar.threshold, note), beyond=beyond, null=null)

    def judged_all(
        self,
        said: Statement,
        tested: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]],
        bar: tuple[float, str],
        centre: Centre,
    ) -> dict[str, Any]:
        """A row of `claims` that must hold in several variants, each against several controls.

        Args:
            said: The claim.
            tested: For each variant its values, and those of every control: one a sequence, of the
                same sequences in the same order, NaN where one has none.
            bar: The threshold, and a note that says what the controls are.
            centre: Which number of all sequences decides.

        Returns:
            The row. Of the variants it has the smallest estimate, lower and upper end; of the
            controls the largest; of all differences, which are paired, the smallest, and the
            largest p. Controls that share fewer than `PAIRS` sequences with their variant, or than
            half of its own, are left out: where a variant has none, the claim is not testable.
        """
        fit = [
            [one for one in controls if n_known(values - one) >= max(PAIRS, n_known(values) / 2)]
            for values, controls in tested
        ]
        pairs = [
            (values - control, control)
            for (values, _), controls in zip(tested, fit, strict=True)
            for control in controls
        ]
        nulls = [centre.p(gap, self.seed) for gap, _ in pairs]
        nulls += [(1.0, 0) for controls in fit if not controls]
        kinds = (
            [values for values, _ in tested],
            [gap for gap, _ in pairs],
            [control for _, control in pairs],
        )
        found = [[centre.interval(values, self.seed) for values in kind] for kind in kinds]
        threshold, note = bar
        n = min(n_known(values) for values, _ in tested)
        return self.decided(
            said,
            each_number(np.min, found[0]),
            each_number(np.max, found[2]),
            (threshold, f"n = {n}; {note}"),
            beyond=each_number(np.min, found[1]),
            null=Null(
                p=max((p for p, _ in nulls), default=1.0),
                size=min((size for _, size in nulls), default=0),
            ),
        )

    def decided(
        self,
        said: Statement,
        estimate: Interval,
        control: Interval,
        bar: tuple[float, str],
        *,
        beyond: Interval | None = None,
        null: Null | None = None,
    ) -> dict[str, Any]:
        """A row of `claims` whose intervals are known.

        Args:
            said: The claim.
            estimate: Its estimate; what is not a number becomes NULL.
            control: The same of the control.
            bar: The threshold, and a note of n and of what the control is.
            beyond: The estimate minus the control where they are paired; without it their
                intervals may not overlap.
            null: What the estimate must stand out from, if there is one.

        Returns:
            The row with its verdict, p and the size of its null.
        """
        threshold, note = bar
        numbers = {
            "estimate": estimate.estimate,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "control": control.estimate,
            "control_lower": control.lower,
            "control_upper": control.upper,
            "p": np.nan if null is None else null.p,
        }
        apart = beyond or Interval(
            estimate.estimate - control.estimate,
            estimate.lower - control.upper,
            estimate.upper - control.lower,
        )
        gap = dict(zip(("beyond", "beyond_lower", "beyond_upper"), apart, strict=True))
        return {
            "claim": said.claim,
            "statement": said.statement,
            "statistic": f"{said.statistic} ({note})",
            **{n: None if np.isnan(value) else value for n, value in (numbers | gap).items()},
            "n_null": None if null is None else null.size,
            "threshold": threshold,
            "verdict": verdict(estimate[1:], threshold, apart[1:], null).value,
            "chapter": self.chapter,
            "evidence": json.dumps(self.runs()),
        }
