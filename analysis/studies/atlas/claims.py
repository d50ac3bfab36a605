"""Claims about a model: estimates on held-out sequences, controls, and computed verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.halves import EVEN, heads_by_score, odd_values, strongest_head
from analysis.questions.verdicts.judgement import Bar, Evidence, Judgement, Statement
from analysis.questions.verdicts.verdict import Verdict
from analysis.statistics.resampling import N_RESAMPLES, Interval, mean_interval

from .copy_lags import ELSEWHERE, SCORE
from .induction_scores import CEILING, GAIN, TEXT_SHUFFLED, TEXT_TWICE
from .writing import LOOKS, copying_heads
from .writing_claims import writing_claims

FIGURES = {
    "induction_head": "02_induction_circuit#induction_against_shuffled",
    "induction_head_writes": "02_induction_circuit#looking_heads",
    "decoys_write_nothing": "02_induction_circuit#looking_heads",
    "model_copies": "02_induction_circuit#copy_losses",
    "copies_otherwise": "02_induction_circuit#copy_lags",
    "previous_token_head": "02_induction_circuit#previous_against_random",
    "previous_token_positional": "02_induction_circuit#previous_against_random",
    "previous_token_below_induction": "00_claims#circuit_picture",
}

COPIES = 1.0
"""Nats per token that the second copy costs less, from which a model copies."""
_WRITES = " of those that write what copying uses"
CARRIES = 0.5
"""Rise of the loss on the second copy, nats per token, from which copying needs a key."""


@dataclass(frozen=True, kw_only=True)
class HeadClaims(Judgement):
    """Has the model a previous-token head and an induction head?

    The strongest head of each kind is chosen on the even sequences and judged on the odd ones, so
    that the choice does not flatter the estimate. An induction head looks at the target, and
    copying uses what it writes; without any, the one that looks there most is judged.
    """

    version: ClassVar[int] = 6
    chapter: ClassVar[str] = "02_induction_circuit"

    text: Evidence
    """Answer of `TextScores`."""
    induction: Evidence
    """Answer of `InductionScores`."""
    lags: Evidence
    """Answer of `CopyLags`."""

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`; a model that fails every copying task has one on copying."""
        found = self.induction["head_scores"]
        writing = copying_heads(self.induction)
        copier = writing[0] if writing else strongest_head(found, "induction", "repeated")
        canonical = odd_values(found, "induction", "repeated", copier)
        testable = copies(self.induction, self.seed)
        most = float(_losses(self.induction, CEILING, "repeated")[0])
        looks = testable and float(canonical.mean()) >= LOOKS * most
        rows: list[dict[str, Any]] = []
        if not _lacks(self.text, "previous_token"):
            rows += self._text_claims(copier if looks else None)
        if not testable:
            return [*rows, self._untestable()]
        shuffled = odd_values(found, "induction", "shuffled", copier)
        looking = self._claim(
            "induction_head",
            f"{copier}, the strongest induction head on the even sequences"
            f"{_WRITES if writing else ''}, looks one past the previous copy with more than half "
            "of its attention",
            f"induction score, odd sequences; a perfect head scores {most:.2f}",
            (canonical, 0.5),
            (shuffled, "second copy shuffled"),
        )
        rows += [
            looking if most > 0.5 else {**looking, "verdict": Verdict.NOT_TESTABLE.value},
            self._copying(
                f"The model predicts a random block at least {COPIES:g} nat per token better when "
                "it is shown again"
            ),
        ]
        rows += writing_claims(self, self.induction)
        return rows if looks else [*rows, self._otherwise()]

    def _text_claims(self, copier: Head | None) -> list[dict[str, Any]]:
        """On the previous-token head, and on its order where there is an induction head."""
        scores = self.text["head_scores"]
        previous = strongest_head(scores, "previous_token", "text")
        on_text = odd_values(scores, "previous_token", "text", previous)
        on_random = odd_values(scores, "previous_token", "random", previous)
        chances = [
            odd_values(scores, "previous_token", data, previous, "chance")
            for data in ("text", "random")
        ]
        return [
            self._claim(
                "previous_token_head",
                f"{previous}, the strongest previous-token head on the even sequences, looks at "
                "the token before with more than half of its attention",
                "previous-token score on text, odd sequences",
                (on_text, 0.5),
                (chances[0], "uniform attention"),
            ),
            self._claim(
                "previous_token_positional",
                f"{previous} looks at the token before with more than half of its attention even "
                "when all tokens are random",
                "previous-token score on random tokens, odd sequences",
                (on_random, 0.5),
                (chances[1], "uniform attention"),
            ),
            *([self._order(previous, copier)] if copier else []),
        ]

    def _order(self, previous: Head, copier: Head) -> dict[str, Any]:
        """Which head comes first; the interval is over choices of heads on resampled sequences."""
        scores, writing = self.induction["head_scores"], copying_heads(self.induction)
        others = [head for head, _ in heads_by_score(scores, "induction", "repeated")]
        back = [h for h, _ in heads_by_score(self.text["head_scores"], "previous_token", "text")]
        gaps = _choices(scores, "induction", "repeated", writing or others, self.seed)
        gaps = gaps - _choices(
            self.text["head_scores"], "previous_token", "text", back, self.seed + 1
        )
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

    def _copying(self, statement: str) -> dict[str, Any]:
        gain, control = (-_losses(self.induction, GAIN, data) for data in ("repeated", "shuffled"))
        return self._claim(
            "model_copies",
            statement,
            "loss on the first copy minus loss on the second, nats per token",
            (gain, COPIES),
            (control, "second copy shuffled"),
        )

    def _untestable(self) -> dict[str, Any]:
        """What is said once of a model that copies nothing."""
        row = self._copying(
            "The model copies by induction heads: there is nothing to test that on, since it "
            f"predicts neither random blocks nor pieces of its text {COPIES:g} nat per token "
            "better for the order in which it saw them before"
        )
        return {**row, "verdict": Verdict.NOT_TESTABLE.value}

    def _otherwise(self) -> dict[str, Any]:
        """By which keys a model copies that has no head for the canonical ones."""
        rises = lag_rises(self.lags)
        lag = max((lag for lag in rises if lag), key=lambda lag: float(rises[lag][::2].mean()))
        return self._claim(
            "copies_otherwise",
            "The model copies, but not by previous-token and induction heads: hiding the keys "
            f"{lag:+d} tokens from the induction target from all heads raises the loss on the "
            f"second copy by at least {CARRIES:g} nats per token, and by more than hiding the "
            "target itself",
            "rise of the loss on the second copy, odd sequences",
            (rises[lag][1::2], CARRIES),
            (rises[0][1::2], "the target hidden instead"),
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


def copies(induction: Evidence, seed: int) -> bool:
    """Whether a model copies anything that it is shown again, so that its heads can be tested.

    Args:
        induction: Answer of `InductionScores`.
        seed: Of the bootstrap.

    Returns:
        False if the gain by the order of the first copy is surely below `COPIES`, on random blocks
        and on pieces of text: what the second copy costs less than where one copy is shuffled.
    """
    on_random = _losses(induction, GAIN, "shuffled") - _losses(induction, GAIN, "repeated")
    again = (_losses(induction, "second_copy_loss", d) for d in (TEXT_SHUFFLED, TEXT_TWICE))
    gains = on_random, np.subtract(*again)
    return any(mean_interval(gain, seed).upper >= COPIES for gain in gains if gain.size)


def lag_rises(lags: Evidence) -> dict[int, np.ndarray]:
    """By lag from the induction target, what hiding it costs on each sequence, nats per token.

    Args:
        lags: Answer of `CopyLags`.
    """
    rows = lags["model_scores"].filter(pl.col("sequence").is_not_null(), score=SCORE)
    found = rows.sort("sequence").partition_by("data", as_dict=True, maintain_order=True)
    return {
        int(data): each["value"].to_numpy() for (data,), each in found.items() if data != ELSEWHERE
    }


def _losses(induction: Evidence, score: str, data: str) -> np.ndarray:
    """Losses of the model by sequence, nats per token; empty without such data."""
    rows = induction["model_scores"].filter(
        pl.col("sequence").is_not_null(), score=score, data=data
    )
    return rows.sort("sequence")["value"].to_numpy()


def _lacks(evidence: Evidence, score: str) -> bool:
    """Whether the data could not test a score."""
    return "absences" in evidence and not evidence["absences"].filter(score=score).is_empty()


def _choices(
    scores: pl.DataFrame, score: str, data: str, heads: Sequence[Head], seed: int
) -> np.ndarray:
    """The layer of the strongest head on resampled even sequences, once for each resample.

    Of heads that are equal there, the first of those given.
    """
    even = scores.filter(EVEN, score=score, data=data)
    table = even.sort("sequence", "layer", "head").partition_by("sequence", maintain_order=True)
    place = {Head(*row): i for i, row in enumerate(table[0].select("layer", "head").rows())}
    among = [place[head] for head in heads]
    values = np.stack([rows["value"].to_numpy()[among] for rows in table])
    n = len(values)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), N_RESAMPLES)
    layers = np.array([head.layer for head in heads], dtype=float)
    return layers[(draws @ values).argmax(axis=1)]
