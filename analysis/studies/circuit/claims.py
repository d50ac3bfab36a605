"""Claims about the induction circuit: which of its parts are needed, and by which path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.interventions.heads import in_words
from analysis.questions.verdicts.head_sets import set_null
from analysis.questions.verdicts.judgement import Bar, Evidence, Judgement, Statement
from analysis.questions.verdicts.variants import weakest
from analysis.questions.verdicts.verdict import Verdict
from analysis.statistics.resampling import Interval, central, mean_interval

from . import necessity, path_patching
from .controls import COPYING, control_sets, loss_changes
from .heads import MAX_RECEIVERS, MIN_SCORE, CircuitHeads, circuit_heads
from .path_patching import THROUGH

FIGURES = {
    "previous_needed": "02_induction_circuit#ablated",
    "key_path_loss": "02_induction_circuit#path_loss",
    "key_path": "02_induction_circuit#path_effects",
    "key_path_through": "02_induction_circuit#path_table",
    "key_path_specific": "02_induction_circuit#path_effects",
    "k_composition_outlier": "02_induction_circuit#weights",
    "copiers_needed": "02_induction_circuit#copying_loss",
    "copier_writes_next_token": "02_induction_circuit#direct_logits",
}

NEEDED = MIN_SCORE
"""Loss of attention to the target from which a head needs another: as much as makes a head an
induction head at all."""

BY_PATH = NEEDED / 2
"""The same along one path, since there may be others."""

_DIRECTLY = "directly", "; what lies between sees nothing"
_BY_ANY = "by any path", ", and MLPs and heads between carry that on"

OUTLYING = 2.0
"""Standard deviations above the mean of all pairs from which a composition is an outlier."""

COPYING_BY_PATH = 0.1
"""The rise of the loss on the second copy, nats per token, along one path into one head."""

WRITES = 1.0
"""Direct logit of the right token above the vocabulary's mean: its odds rise by a factor e."""


@dataclass(frozen=True, kw_only=True)
class CircuitClaims(Judgement):
    """Does the previous-token head feed the induction heads, through their keys, and do these copy?

    Heads are chosen on the even sequences of the scores and judged on sequences drawn apart.
    """

    version: ClassVar[int] = 5
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
        rows = [self._needed()]
        if "head_effects" in self.paths:
            direct, through = (self._keys(through=each) for each in (False, True))
            rows += [direct, through, self._keys_loss(), self._no_other_head()]
        if "head_pairs" in self.composition:
            rows.append(self._composes())
        rows.append(self._copying())
        if not self.second_copy["head_scores"].filter(score="direct_logit").is_empty():
            rows.append(self._writes())
        return rows

    def _needed(self) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.heads.copiers[0]
        said = Statement(
            claim="previous_needed",
            statement=f"{copier} needs {previous}: it looks at the target with at least "
            f"{NEEDED:g} less of its attention when {previous} is ablated, whatever stands in",
            statistic="fall of the induction score",
        )

        def judged(method: str) -> dict[str, Any]:
            others = _names(self.necessity, family="layer_matched", method=method)
            own = -_score_changes(self.necessity, f"{method} {previous}", copier)
            drops = [-_score_changes(self.necessity, name, copier) for name in others]
            among = np.mean(drops, axis=0) if drops else np.full_like(own, np.nan)
            name = "mean over the other heads of the layer, each alone"
            return self.judged(said, own, Bar(threshold=NEEDED, control=among, control_name=name))

        return weakest({method.value: judged(method.value) for method in necessity.METHODS})

    @cached_property
    def served(self) -> Head:
        """Whose keys the previous-token head serves most by any path, on the even sequences."""
        if "head_effects" not in self.paths:
            return self.heads.copiers[0]
        falls = {
            head: self._falls(head, "resample", "k", True)
            for head in self.heads.copiers[:MAX_RECEIVERS]
        }
        return max(falls, key=lambda head: float(falls[head][::2].mean()))

    def _falls(self, receiver: Head, method: str, into: str, through: bool) -> np.ndarray:
        """Falls of a receiver's induction score along a path into one of its inputs."""
        path = self.paths["ablations"].filter(
            pl.col("family").eq(THROUGH) if through else pl.col("family").ne(THROUGH),
            heads=str(self.heads.previous),
            method=method,
            receiver=f"{receiver}.{into}",
        )["condition"][0]
        return -_score_changes(self.paths, path, receiver)

    def _keys(self, *, through: bool) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.served
        how, what = _BY_ANY if through else _DIRECTLY
        said = Statement(
            claim="key_path_through" if through else "key_path",
            statement=f"{previous} serves {copier} {how} through its keys: the induction score "
            f"falls by at least {BY_PATH:g}, and by more than through its queries, when what "
            f"{previous} writes is taken out of the one input alone, or comes from another block "
            f"there{what}",
            statistic=f"fall of the induction score, keys alone, {how}, odd sequences",
        )

        def judged(method: str) -> dict[str, Any]:
            keys, queries = (self._falls(copier, method, into, through)[1::2] for into in "kq")
            name = "queries alone; values cannot change it"
            return self.judged(
                said, keys, Bar(threshold=BY_PATH, control=queries, control_name=name)
            )

        return weakest({method.value: judged(method.value) for method in path_patching.METHODS})

    def _keys_loss(self) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.served
        path = f"path resample {previous} -> {copier}"
        rises = {into: loss_changes(self.paths, f"{path}.{into}") for into in "kqv"}
        said = Statement(
            claim="key_path_loss",
            statement=f"Copying uses the direct path from {previous} to the keys of {copier}: the "
            f"loss on the second copy rises by at least {COPYING_BY_PATH:g} nats per token, and by "
            "more than through its queries or values, when that path carries another block",
            statistic="rise of the loss on the second copy, keys alone, directly",
        )
        others = {name: rises[into] for into, name in (("q", "queries"), ("v", "values"))}
        return self._beyond_largest(said, rises["k"], others, COPYING_BY_PATH, "{} alone")

    def _no_other_head(self) -> dict[str, Any]:
        previous, copier = self.heads.previous, self.served
        own = -_score_changes(self.paths, f"path resample {previous} -> {copier}.k", copier)
        others = self.paths["ablations"].filter(
            pl.col("family").is_in(["layer_matched", "other_path"]),
            method="resample",
            receiver=f"{copier}.k",
        )
        drops = {
            head: -_score_changes(self.paths, name, copier)
            for head, name in others.select("heads", "condition").rows()
        }
        said = Statement(
            claim="key_path_specific",
            statement=f"No other head below it serves the keys of {copier} directly as {previous} "
            f"does, without which the induction score falls by at least {BY_PATH:g}",
            statistic="fall of the induction score when the keys alone see another block's "
            "contribution",
        )
        return self._beyond_largest(said, own, drops, BY_PATH, "{}")

    def _beyond_largest(
        self,
        said: Statement,
        own: np.ndarray,
        others: Mapping[str, np.ndarray],
        threshold: float,
        name: str,
    ) -> dict[str, Any]:
        """Beside the largest of others: chosen on the even sequences, judged on the odd ones."""
        largest = max(others, key=lambda each: float(others[each][::2].mean()), default="")
        control = others[largest] if others else np.full_like(own, np.nan)
        words = name.format(largest) if others else "there is no other"
        bar = Bar(
            threshold=threshold,
            control=control[1::2],
            control_name=f"{words}, the largest on other sequences",
        )
        return self.judged(said, own[1::2], bar)

    def _composes(self) -> dict[str, Any]:
        previous, copiers = self.heads.previous, self.heads.copiers
        pairs = self.composition["head_pairs"].filter(kind="k_composition")
        sent = (pl.col("from_layer") == previous.layer) & (pl.col("from_head") == previous.head)
        pair = next(
            pairs.filter(sent, to_layer=copiers[0].layer, to_head=copiers[0].head).iter_rows(
                named=True
            ),
            dict[str, Any](),
        )
        z = np.nan if pair.get("z") is None else pair["z"]
        circuit = sent & pl.any_horizontal(
            (pl.col("to_layer") == c.layer) & (pl.col("to_head") == c.head) for c in copiers
        )
        others = pairs.filter(~circuit)["z"].cast(pl.Float64).drop_nulls().drop_nans().to_numpy()
        null, told = set_null(z, others)
        said = Statement(
            claim="k_composition_outlier",
            statement=f"By their weights, the keys of {copiers[0]} read what {previous} writes "
            f"more than {OUTLYING:g} standard deviations above the average pair of heads",
            statistic=f"z-score of the K-composition, rank {pair.get('rank')} of {pairs.height} "
            "pairs",
        )
        note = f"control: central 95 % of the {others.size} pairs outside the circuit; {told}"
        row = self.decided(said, Interval.exactly(z), central(others), (OUTLYING, note), null=null)
        return row if null.allows else {**row, "verdict": Verdict.NOT_TESTABLE.value}

    def _copying(self) -> dict[str, Any]:
        method = necessity.SETS_METHOD.value
        (together,) = _names(self.necessity, family="copiers", method=method)
        rise = loss_changes(self.necessity, together)
        sets = control_sets(self.necessity, self.heads)
        null, told = set_null(float(rise.mean()), np.array([s.mean() for s in sets.values()]))
        random = np.array([*sets.values()]).reshape(len(sets), len(rise))
        said = Statement(
            claim="copiers_needed",
            statement=f"Copying needs {in_words(self.heads.copiers)}: the loss on the "
            f"second copy rises by at least {COPYING:g} nats per token, and by more than for as "
            "many heads outside the circuit that do not lie upstream of it, when they are ablated "
            f"together ({method})",
            statistic="rise of the loss on the second copy",
        )
        family = next(iter(sets), ("no",))[0].replace("_", " ")
        note = f"control: central 95 % of {len(sets)} {family}s; {told}"
        gaps = rise - (random.mean(0) if sets else np.nan)
        return self.decided(
            said,
            mean_interval(rise, self.seed),
            central(random.mean(1) if sets else np.empty(0)),
            (COPYING, note),
            beyond=mean_interval(gaps, self.seed),
            null=null,
        )

    def _writes(self) -> dict[str, Any]:
        copier = self.heads.copiers[0]
        found = {
            data: sequences(
                self.second_copy["head_scores"].filter(score="direct_logit", data=data), copier
            )
            for data in ("repeated", "shuffled")
        }
        said = Statement(
            claim="copier_writes_next_token",
            statement=f"{copier} itself raises the right token, directly: it adds at least "
            f"{WRITES:g} to its logit beyond what it adds to the average token, whatever later "
            "layers make of it",
            statistic="direct logit of the next token on the second copy",
        )
        name = "the same blocks, second copy shuffled"
        bar = Bar(threshold=WRITES, control=found["shuffled"], control_name=name)
        return self.judged(said, found["repeated"], bar)


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
