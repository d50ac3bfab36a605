"""Claims about the induction circuit: which of its parts are needed, and by which path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.judgement import Evidence, Judgement, Statement
from analysis.statistics.comparisons import permutation_p
from analysis.statistics.resampling import Interval, central, mean_interval

from . import necessity, path_patching
from .heads import MIN_SCORE, CircuitHeads, circuit_heads

FIGURES = {
    "previous_needed_*": "02_induction_circuit#ablated",
    "key_path_loss": "02_induction_circuit#path_loss",
    "key_path_*": "02_induction_circuit#path_effects",
    "k_composition_outlier": "02_induction_circuit#weights",
    "copiers_needed": "02_induction_circuit#copying_loss",
    "copier_writes_next_token": "02_induction_circuit#direct_logits",
}

NEEDED = MIN_SCORE
"""Loss of attention to the target from which a head needs another: as much as makes a head an
induction head at all."""

BY_PATH = NEEDED / 2
"""The same along one path, since there may be others."""

OUTLYING = 2.0
"""Standard deviations above the mean of all pairs from which a composition is an outlier."""

COPYING = 0.5
"""Rise of the loss on the second copy, nats per token, from which copying needs some heads."""

COPYING_BY_PATH = 0.1
"""The same along one path into one head."""

WRITES = 1.0
"""Direct logit of the right token above the vocabulary's mean: its odds rise by a factor e."""


@dataclass(frozen=True, kw_only=True)
class CircuitClaims(Judgement):
    """Does the previous-token head feed the induction heads, through their keys, and do these copy?

    Heads are chosen on the even sequences of the scores and judged on sequences drawn apart.
    """

    version: ClassVar[int] = 1
    chapter: ClassVar[str] = "02_induction_circuit"

    text: Evidence
    """Answer of `TextScores`."""
    induction: Evidence
    """Answer of `InductionScores`."""
    composition: Evidence
    """Answer of `Composition`."""
    necessity: Evidence
    """Answer of `CircuitNecessity`."""
    paths: Evidence
    """Answer of `PathPatching`."""
    second_copy: Evidence
    """Answer of `SecondCopy`."""

    @cached_property
    def heads(self) -> CircuitHeads:
        """The heads that are judged."""
        return circuit_heads(self.text, self.induction)

    def claims(self) -> list[dict[str, Any]]:
        """Rows of `claims`; what the architecture cannot show has none."""
        rows = [self._needed(method.value) for method in necessity.METHODS]
        if "head_effects" in self.paths:
            rows += [self._keys(method.value) for method in path_patching.METHODS]
            rows += [self._keys_loss(), self._no_other_head()]
        if "head_pairs" in self.composition:
            rows.append(self._composes())
        rows.append(self._copying())
        if not self.second_copy["head_scores"].filter(score="direct_logit").is_empty():
            rows.append(self._writes())
        return rows

    def _needed(self, method: str) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.heads.copiers[0]
        others = _names(self.necessity, family="layer_matched", method=method)
        drops = [-_score_changes(self.necessity, name, copier) for name in others]
        own = -_score_changes(self.necessity, f"{method} {previous}", copier)
        among = np.mean(drops, axis=0) if drops else np.full_like(own, np.nan)
        return self._claim(
            f"previous_needed_{method}",
            f"{copier} needs {previous}: it looks at the target with at least {NEEDED:g} less of "
            f"its attention when {previous} is ablated ({method})",
            ("fall of the induction score", "mean over the other heads of the layer, each alone"),
            (self._mean(own), self._mean(among)),
            NEEDED,
        )

    def _keys(self, method: str) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.heads.copiers[0]
        path = f"path {method} {previous} -> {copier}"
        by_keys, by_queries = (
            -_score_changes(self.paths, f"{path}.{into}", copier) for into in "kq"
        )
        changed = "is taken out of" if method == "zero" else "comes from another block in"
        return self._claim(
            f"key_path_{method}",
            f"{previous} serves {copier} through its keys: the induction score falls by at least "
            f"{BY_PATH:g}, and by more than through its queries, when what {previous} writes "
            f"{changed} the one input alone",
            ("fall of the induction score, keys alone", "queries alone; values cannot change it"),
            (self._mean(by_keys), self._mean(by_queries)),
            BY_PATH,
        )

    def _keys_loss(self) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.heads.copiers[0]
        path = f"path resample {previous} -> {copier}"
        rises = {into: _loss_changes(self.paths, f"{path}.{into}") for into in "kqv"}
        other = max("qv", key=lambda into: float(rises[into].mean()))
        name = {"q": "queries", "v": "values"}[other]
        return self._claim(
            "key_path_loss",
            f"Copying uses the path from {previous} to the keys of {copier}: the loss on the "
            f"second copy rises by at least {COPYING_BY_PATH:g} nats per token, and by more than "
            "through its queries or values, when that path carries another block",
            ("rise of the loss on the second copy, keys alone", f"{name} alone, the larger"),
            (self._mean(rises["k"]), self._mean(rises[other])),
            COPYING_BY_PATH,
        )

    def _no_other_head(self) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.heads.copiers[0]
        own = -_score_changes(self.paths, f"path resample {previous} -> {copier}.k", copier)
        others = _names(
            self.paths, family="layer_matched", method="resample", receiver=f"{copier}.k"
        )
        drops = {name: -_score_changes(self.paths, name, copier) for name in others}
        largest = max(drops, key=lambda name: float(drops[name].mean()), default="")
        return self._claim(
            "key_path_specific",
            f"No other head of its layer serves the keys of {copier} as {previous} does",
            (
                "fall of the induction score when the keys alone see another block's contribution",
                f"the largest fall by another head of the layer: {largest or 'there is none'}",
            ),
            (self._mean(own), self._mean(drops.get(largest, np.full_like(own, np.nan)))),
            BY_PATH,
        )

    def _composes(self) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.heads.copiers[0]
        pairs = self.composition["head_pairs"].filter(kind="k_composition")
        ours = (
            (pl.col("from_layer") == previous.layer)
            & (pl.col("from_head") == previous.head)
            & (pl.col("to_layer") == copier.layer)
            & (pl.col("to_head") == copier.head)
        )
        pair = next(pairs.filter(ours).iter_rows(named=True), dict[str, Any]())
        z = np.nan if pair.get("z") is None else pair["z"]
        others = pairs.filter(~ours)["z"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        return self._claim(
            "k_composition_outlier",
            f"By their weights, the keys of {copier} read what {previous} writes more than "
            f"{OUTLYING:g} standard deviations above the average pair of heads",
            (
                f"z-score of the K-composition, rank {pair.get('rank')} of {pairs.height} pairs",
                "central 95 % of all other pairs",
            ),
            (Interval.exactly(z), central(others)),
            OUTLYING,
        )

    def _copying(self) -> dict[str, Any]:
        method = necessity.SETS_METHOD.value
        (together,) = _names(self.necessity, family="copiers", method=method)
        rise = _loss_changes(self.necessity, together)
        sets = _names(self.necessity, family="layer_matched_set")
        random = np.array([_loss_changes(self.necessity, name).mean() for name in sets])
        p = permutation_p(float(rise.mean()), random) if len(random) else np.nan
        names = ", ".join(map(str, self.heads.copiers))
        return self._claim(
            "copiers_needed",
            f"Copying needs {names}: the loss on the second copy rises by at least {COPYING:g} "
            f"nats per token, and by more than for other heads of the same layers, when they are "
            f"ablated together ({method})",
            (
                f"rise of the loss on the second copy, permutation p = {p:.3f}",
                f"central 95 % of {len(random)} layer-matched sets",
            ),
            (self._mean(rise), central(random)),
            COPYING,
        )

    def _writes(self) -> dict[str, Any]:
        copier = self.heads.copiers[0]
        found = {
            data: sequences(
                self.second_copy["head_scores"].filter(score="direct_logit", data=data), copier
            )
            for data in ("repeated", "shuffled")
        }
        return self._claim(
            "copier_writes_next_token",
            f"{copier} itself raises the right token: it adds at least {WRITES:g} to its logit "
            "beyond what it adds to the average token",
            ("direct logit of the next token on the second copy", "second copy shuffled"),
            (self._mean(found["repeated"]), self._mean(found["shuffled"])),
            WRITES,
        )

    def _mean(self, values: np.ndarray) -> Interval:
        """Over sequences, bootstrapped."""
        return mean_interval(values, self.seed)

    def _claim(
        self,
        claim: str,
        statement: str,
        said: tuple[str, str],
        measured: tuple[Interval, Interval],
        threshold: float,
    ) -> dict[str, Any]:
        words = Statement(claim=claim, statement=statement, statistic=said[0])
        return self.decided(words, *measured, (threshold, f"control: {said[1]}"))


def _names(answer: Evidence, **where: object) -> list[str]:
    """Conditions of some kind."""
    return answer["ablations"].filter(**where)["condition"].to_list()


def _score_changes(answer: Evidence, condition: str, head: Head) -> np.ndarray:
    """Changes of a head's induction score, by sequence."""
    return sequences(answer["head_effects"].filter(condition=condition), head)


def sequences(rows: pl.DataFrame, head: Head) -> np.ndarray:
    """One head's values, by sequence."""
    own = rows.filter(pl.col("sequence").is_not_null(), layer=head.layer, head=head.head)
    return own.sort("sequence")["value"].to_numpy()


def _loss_changes(answer: Evidence, condition: str) -> np.ndarray:
    """Changes of the loss on the second copy, by sequence."""
    rows = answer["ablation_effects"].filter(condition=condition, scope="second copy")
    return rows.sort("sequence")["loss_change"].to_numpy()
