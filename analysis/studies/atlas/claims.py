"""Claims about a model: estimates on held-out sequences, controls, and computed verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.halves import EVEN, odd_values, strongest_head
from analysis.questions.judgement import Bar, Evidence, Judgement, Statement, Verdict, verdict
from analysis.statistics.resampling import N_RESAMPLES, Interval

FIGURES = {
    "induction_head": "02_induction_circuit#induction_against_shuffled",
    "model_copies": "02_induction_circuit#copy_losses",
    "previous_token_head": "02_induction_circuit#previous_against_random",
    "previous_token_positional": "02_induction_circuit#previous_against_random",
    "previous_token_below_induction": "00_claims#circuit_picture",
}

__all__ = ["Evidence", "HeadClaims", "Verdict", "verdict"]


@dataclass(frozen=True, kw_only=True)
class HeadClaims(Judgement):
    """Has the model a previous-token head and an induction head?

    The strongest head of each kind is chosen on the even sequences and judged on the odd ones, so
    that the choice does not flatter the estimate.
    """

    version: ClassVar[int] = 4
    chapter: ClassVar[str] = "02_induction_circuit"

    text: Evidence
    """Answer of `TextScores`."""
    induction: Evidence
    """Answer of `InductionScores`."""

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`."""
        induction = self.induction["head_scores"]
        copier = strongest_head(induction, "induction", "repeated")
        rows = [
            self._claim(
                "induction_head",
                f"{copier}, the strongest induction head on the even sequences, looks one past "
                "the previous copy with more than half of its attention",
                "induction score, odd sequences",
                (odd_values(induction, "induction", "repeated", copier), 0.5),
                (odd_values(induction, "induction", "shuffled", copier), "second copy shuffled"),
            ),
            self._copying(),
        ]
        if not _lacks(self.text, "previous_token"):
            rows = [*self._text_claims(copier), *rows]
        return rows

    def _text_claims(self, copier: Head) -> list[dict[str, Any]]:
        scores = self.text["head_scores"]
        previous = strongest_head(scores, "previous_token", "text")
        on_text = odd_values(scores, "previous_token", "text", previous)
        on_random = odd_values(scores, "previous_token", "random", previous)
        by_chance = odd_values(scores, "previous_token", "text", previous, "chance")
        return [
            self._claim(
                "previous_token_head",
                f"{previous}, the strongest previous-token head on the even sequences, looks at "
                "the token before with more than half of its attention",
                "previous-token score on text, odd sequences",
                (on_text, 0.5),
                (by_chance, "uniform attention"),
            ),
            self._claim(
                "previous_token_positional",
                f"{previous} looks at the token before with more than half of its attention even "
                "when all tokens are random",
                "previous-token score on random tokens, odd sequences",
                (on_random, 0.5),
                (by_chance, "uniform attention"),
            ),
            self._order(previous, copier),
        ]

    def _order(self, previous: Head, copier: Head) -> dict[str, Any]:
        """Which head comes first; the interval is over choices of heads on resampled sequences."""
        gaps = _choices(self.induction["head_scores"], ("induction", "repeated"), self.seed)
        gaps = gaps - _choices(self.text["head_scores"], ("previous_token", "text"), self.seed + 1)
        lower, upper = np.quantile(gaps, (0.025, 0.975))
        said = Statement(
            claim="previous_token_below_induction",
            statement=f"The strongest previous-token head, {previous}, lies in a lower layer than "
            f"the strongest induction head, {copier}",
            statistic="layers from the one to the other, heads chosen anew on resampled even "
            "sequences",
        )
        estimate = Interval(copier.layer - previous.layer, float(lower), float(upper))
        note = f"n = {len(gaps)} choices; control: the same layer"
        return self.decided(said, estimate, Interval.exactly(0.0), (0.5, note))

    def _copying(self) -> dict[str, Any]:
        scores = self.induction["model_scores"].filter(pl.col("sequence").is_not_null())

        def gain(data: str) -> np.ndarray:
            rows = scores.filter(score="second_minus_first_loss", data=data).sort("sequence")
            return -rows["value"].to_numpy()

        return self._claim(
            "model_copies",
            "The model predicts a random block at least 1 nat per token better when it is shown "
            "again",
            "loss on the first copy minus loss on the second, nats per token",
            (gain("repeated"), 1.0),
            (gain("shuffled"), "second copy shuffled"),
        )

    def _claim(
        self,
        claim: str,
        statement: str,
        statistic: str,
        tested: tuple[np.ndarray, float],
        compared: tuple[np.ndarray, str],
    ) -> dict[str, Any]:
        said = Statement(claim=claim, statement=statement, statistic=statistic)
        bar = Bar(threshold=tested[1], control=compared[0], control_name=compared[1])
        return self.judged(said, tested[0], bar)


def _lacks(evidence: Evidence, score: str) -> bool:
    """Whether the data could not test a score."""
    return "absences" in evidence and not evidence["absences"].filter(score=score).is_empty()


def _choices(scores: pl.DataFrame, named: tuple[str, str], seed: int) -> np.ndarray:
    """The layer of the strongest head on resampled even sequences, once for each resample."""
    even = scores.filter(EVEN, score=named[0], data=named[1])
    table = even.sort("sequence", "layer", "head").partition_by("sequence", maintain_order=True)
    values = np.stack([rows["value"].to_numpy() for rows in table])
    n = len(values)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), N_RESAMPLES)
    return table[0]["layer"].to_numpy()[(draws @ values).argmax(axis=1)].astype(float)
