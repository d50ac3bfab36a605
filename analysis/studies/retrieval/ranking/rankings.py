"""Which heads fetch an answer from its context: three scores, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.errors import UserError
from analysis.interventions import Head
from analysis.interventions.heads import heads_of, listed
from analysis.progress import Report
from analysis.questions.rows import Labels, absence, head_scores, model_scores
from analysis.questions.verdicts.judgement import Evidence
from analysis.questions.work import Work
from analysis.scores import retrieval as scores
from analysis.statistics.stability import SIZES, Check, jaccard, split_half, validity
from analysis.studies.retrieval.answering.observations import Observation, observations
from analysis.studies.retrieval.answering.prompts import Prompt, null_prompt
from analysis.studies.retrieval.questions import Asking, FileQuestions, RecordQuestions
from analysis.text.english import Split

from .chances import NDCG, by_chance, visible_keys

SCORES = ("summed_attention", "retrieval_score", "qr_score")
"""What heads are ranked by."""
EVERY = "all"
"""The data that scores of single items are kept of: all facts together."""
MEASURED = pl.col("sequence").is_not_null()
"""Rows of single items, of all of them."""

PerHead = Float[np.ndarray, "item layer head"]


@dataclass(frozen=True, kw_only=True)
class HeadDetection(Asking):
    """What every head looks at while the model answers."""

    def work(self) -> Work:
        """The question and the null question are read behind every context."""
        return self.asked_work(2)

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Ask every question and score every head.

        Returns:
            `retrieval_items`; `head_scores` (of single items for all facts together, and in
            aggregate for each fact too), `model_scores` (the needle's share of visible tokens)
            and `ranking_checks`, or `absences` where nothing was answered correctly.
        """
        model, prompts = self.loaded_model(), self.prompts
        nulls = [null_prompt(asked, self.vocabulary, bos=self.bos) for asked in prompts]
        seen = observations(model, prompts, nulls, self.vocabulary, report)
        items = self.item_rows([one.baseline for one in seen])
        values, chance = _scored(prompts, nulls, seen, visible_keys(model, [*prompts, *nulls]))
        right = items["correct"].to_numpy()
        facts = items["fact"].to_numpy()
        frames, gaps = self._rows(values, chance, right, facts)
        shares = {"needle_share": np.array([len(p.needle) / len(p.ids) for p in prompts])}
        found = {"retrieval_items": items, "model_scores": model_scores(shares, {}, self.labels())}
        if frames:
            found["head_scores"] = pl.concat(frames)
            found["ranking_checks"] = self._checks(values)
        gaps += self.refusals()
        return {**found, "absences": pl.concat(gaps)} if gaps else found

    def labels(self, data: str = EVERY) -> Labels:
        """What all rows of some data say alike."""
        return Labels(card=self.card, tokens=self.tokens, data=data, seed=self.seed)

    def refusals(self) -> list[pl.DataFrame]:
        """Rows of `absences` for items that could not be asked: none."""
        return []

    def _rows(
        self,
        values: dict[str, PerHead],
        chance: dict[str, PerHead],
        right: np.ndarray,
        facts: np.ndarray,
    ) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
        """Scores of all items and of each fact, and why some have none."""
        groups = {EVERY: np.ones(len(right), dtype=bool)}
        groups |= {fact: facts == fact for fact in dict.fromkeys(facts.tolist()) if fact}
        frames: list[pl.DataFrame] = []
        gaps: list[pl.DataFrame] = []
        for data, inside in groups.items():
            for score, of_items in values.items():
                reason = _untestable(of_items[inside], right[inside])
                if reason:
                    gaps.append(absence(self.card, score, data, reason))
                    continue
                rows = head_scores(
                    of_items[inside], chance[score][inside], score, self.labels(data)
                )
                keep = pl.lit(True) if data == EVERY else pl.col("sequence").is_null()
                frames.append(rows.filter(keep))
        return frames, gaps

    def _checks(self, values: dict[str, PerHead]) -> pl.DataFrame:
        """Stability of every ranking."""
        n_heads = len(heads_of(self.card))
        rows: list[dict[str, Any]] = []
        for score in SCORES:
            flat = listed(values[score], self.card)
            known = flat[~np.isnan(flat).any(1)]
            sizes = [size for size in SIZES if size <= max(1, n_heads // 3)]
            checks = [
                ("split_half", None, split_half(known, self.seed)),
                *(("jaccard", size, jaccard(known, size, self.seed)) for size in sizes),
            ]
            rows += [
                _check_row(check, score, measure, size)
                for measure, size, check in checks
                if check is not None
            ]
        frame = pl.DataFrame(rows, schema=_CHECKS)
        return frame.with_columns(model=pl.lit(self.card.model), data=pl.lit(EVERY))


_CHECKS = {
    **{"score": pl.String(), "measure": pl.String(), "size": pl.Int32()},
    **dict.fromkeys(("value", "lower", "upper", "chance"), pl.Float64()),
    "n": pl.Int32(),
}


@dataclass(frozen=True, kw_only=True)
class RetrievalScores(RecordQuestions, HeadDetection):
    """Which heads fetch answers from generated records, on the items for detection?"""

    version: ClassVar[int] = 3

    @property
    def split_name(self) -> str:
        """Names, values and templates that heads are never tested on."""
        return Split.TRAIN.value


@dataclass(frozen=True, kw_only=True)
class FileRetrievalScores(FileQuestions, HeadDetection):
    """Which heads fetch answers from a user's own contexts?"""

    version: ClassVar[int] = 3


def item_values(answer: Evidence, score: str) -> tuple[list[Head], Float[np.ndarray, "item head"]]:
    """Scores of single items.

    Args:
        answer: Of `RetrievalScores`.
        score: One of `SCORES`.

    Returns:
        Heads by layer, and their scores on every item that has them, in the items' order.

    Raises:
        UserError: The score has no rows, with the reason that the run gives.
    """
    rows = _of_items(answer, score, MEASURED).sort("sequence", "layer", "head")
    heads = rows.select("layer", "head").unique().sort("layer", "head").rows()
    values = rows["value"].to_numpy().reshape(-1, len(heads))
    return [Head(*head) for head in heads], values


def ranking(answer: Evidence, score: str, chosen: pl.Expr) -> list[Head]:
    """Heads by their mean over some items, the highest first; equal ones by layer and head.

    Args:
        answer: Of `RetrievalScores`.
        score: One of `SCORES`.
        chosen: Which items: all that were measured, where the heads are ablated on other ones.

    Returns:
        All heads.

    Raises:
        UserError: The score has no rows on these items.
    """
    known = _of_items(answer, score, MEASURED & chosen)
    means = known.group_by("layer", "head").agg(pl.col("value").mean())
    ranked = means.sort("value", "layer", "head", descending=[True, False, False])
    return [Head(*head) for head in ranked.select("layer", "head").rows()]


def validity_row(
    answer: Evidence,
    score: str,
    effects: Float[np.ndarray, "item head"],
    heads: Sequence[str],
    seed: int,
) -> dict[str, Any] | None:
    """Whether heads of a high score matter: a row of `ranking_checks`.

    Args:
        answer: Of `RetrievalScores`.
        score: One of `SCORES`.
        effects: What ablating each head alone costs, larger for more, such as the loss of
            log p(answer) or KL(base || ablated) of an `AblationSweep`.
        heads: Names of its columns, as `L1H4`; all heads of the model.
        seed: Of the resampling.

    Returns:
        The row without `run` and `model`; None where all heads are equal.

    Raises:
        UserError: The score has no rows, or the effects are of other heads.
    """
    known, values = item_values(answer, score)
    names = list(map(str, known))
    if sorted(names) != sorted(heads):
        raise UserError(
            f"expected effects of the {len(names)} heads that have scores, got {len(heads)}; "
            "ablate every head alone"
        )
    order = [list(heads).index(name) for name in names]
    check = validity(values, effects[:, order], seed)
    return None if check is None else _check_row(check, score, "validity", None) | {"data": EVERY}


def _of_items(answer: Evidence, score: str, chosen: pl.Expr) -> pl.DataFrame:
    """Rows of a score on some items; refused where there are none."""
    known = answer["head_scores"] if "head_scores" in answer else pl.DataFrame()
    if known.height:
        known = known.filter(chosen, score=score, data=EVERY)
    if not known.height:
        raise UserError(f"expected scores of {score}, found none ({_reason(answer, score)})")
    return known


def _reason(answer: Evidence, score: str) -> str:
    """Why a score is absent, as its run says."""
    if "absences" in answer:
        for reason in answer["absences"].filter(score=score, data=EVERY)["reason"]:
            return reason
    return "the run has none; ask RetrievalScores"


def _check_row(check: Check, score: str, measure: str, size: int | None) -> dict[str, Any]:
    return {
        "score": score,
        "measure": measure,
        "size": size,
        "value": check.interval.estimate,
        "lower": check.interval.lower,
        "upper": check.interval.upper,
        "chance": check.chance,
        "n": check.n,
    }


def _untestable(values: PerHead, right: np.ndarray) -> str:
    """Why a group of items has no scores; empty if it has."""
    if not right.any():
        return f"0 of {len(right)} answered correctly: no scores"
    if np.isnan(values).all():
        return "contexts of a single document leave nothing to rank"
    return ""


def _scored(
    prompts: Sequence[Prompt],
    nulls: Sequence[Prompt],
    seen: Sequence[Observation],
    masks: Sequence[np.ndarray],
) -> tuple[dict[str, PerHead], dict[str, PerHead]]:
    """Scores (item, layer, head), NaN where an item cannot test them, and by chance."""
    rows = [_of_item(*each) for each in zip(prompts, seen, strict=True)]
    values = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    levels = [by_chance(*each, masks) for each in zip(prompts, nulls, seen, strict=True)]
    return values, {name: np.stack([row[name] for row in levels]) for name in values}


def _of_item(asked: Prompt, one: Observation) -> dict[str, np.ndarray]:
    """Scores (layer, head) of one item."""
    summed = scores.summed_attention(one.last, asked.needle)
    copied = scores.retrieval_score(one.place, asked.ids, asked.needle, one.baseline.ids)
    found = scores.document_scores(one.query, one.null, asked.documents)
    ranked = scores.ndcg(found, asked.gold)
    nothing = np.full(summed.shape, np.nan)
    return {
        "summed_attention": summed.double().numpy(),
        "retrieval_score": copied.numpy() if one.baseline.correct else nothing,
        "qr_score": found[..., asked.gold].numpy(),
        NDCG: ranked.numpy() if len(asked.documents) > 1 else nothing,
    }
