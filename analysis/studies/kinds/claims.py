"""Do different kinds of ablation agree, and do top heads matter more than random ones?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.progress import Report
from analysis.questions.halves import ODD, strongest_first
from analysis.questions.judgement import Bar, Evidence, Group, Judgement, Statement, answers_of
from analysis.questions.rows import absence
from analysis.statistics.comparisons import holm, permutation_p, ranked, spearman
from analysis.statistics.resampling import N_RESAMPLES, Interval, central, mean_interval

FIGURES = {
    "zero_and_*_rank_alike": "05_ablation_kinds#agreement",
    "top_heads_against_*": "05_ablation_kinds#top_against_random",
    "q_zero_is_uniform": "05_ablation_kinds#identity_text",
    "zero_is_not_uniform": "05_ablation_kinds#identity_text",
}
METRIC = "kl_base_ablated"
"""Heads are ranked by it."""
AGREEMENT = 0.8
"""Two kinds rank heads alike when the whole interval of their Spearman correlation is above it."""
DIFFERENCE = 0.1
"""What heads read is different where it changes by more somewhere; values are of order 1."""
UNRANKED = "it changes nothing, or all heads alike: there is no order to compare"
JUDGED_SIZE = 4
"""The size of the sets that the claim on top heads is about; other sizes are shown."""

PerHead = Float[np.ndarray, "sequence head"]


@dataclass(frozen=True, kw_only=True)
class KindEvidence:
    """What the kinds of ablation are judged by."""

    kinds: Mapping[str, Evidence]
    """Single heads under every kind of ablation, by its name in the book; `zero` is one."""
    estimates: Mapping[str, Evidence]
    """Cheaper measures of the same heads that are shown beside the sweep, by name."""
    sets: Mapping[str, Evidence]
    """`top`, `random` and `layer_matched` sets under `zero`; a family may be missing."""
    identities: Evidence
    """Answer of `AblationIdentities`."""


@dataclass(frozen=True, kw_only=True)
class KindClaims(Judgement):
    """What ablating heads shows whichever way it is done, and what depends on the way.

    Heads are ranked on the even sequences and judged on the odd ones.
    """

    version: ClassVar[int] = 3
    chapter: ClassVar[str] = "05_ablation_kinds"

    evidence: KindEvidence

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compare the kinds, and the top heads with random ones.

        Returns:
            `rank_agreements`, `ablation_curves` and `claims`; `absences` of agreements with a kind
            that does the same to all heads.
        """
        effects = {name: per_head(answer, METRIC) for name, answer in self.evidence.kinds.items()}
        agreements = self._agreements(effects)
        curves = self._curves()
        claims = [
            *self._identities(),
            *(
                self._alike(agreements.filter(kind="zero", other=other).row(0, named=True))
                for other in effects
                if other != "zero"
            ),
            *self._top(curves),
        ]
        report(1, 1, "")
        constants = {"model": pl.lit(self.card.model), "metric": pl.lit(METRIC)}
        known = agreements.filter(pl.col("value").is_not_nan())
        unknown = agreements.join(known, on="other", how="anti")["other"]
        gaps = [absence(self.card, "rank_agreement", o, UNRANKED) for o in dict.fromkeys(unknown)]
        return {
            **({"absences": pl.concat(gaps)} if gaps else {}),
            "rank_agreements": known.with_columns(
                pl.col("lower", "upper").fill_nan(None), **constants
            ),
            "ablation_curves": curves.with_columns(**constants, method=pl.lit("zero")),
            "claims": pl.DataFrame(claims),
        }

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return answers_of(self.evidence)

    def _agreements(self, effects: Mapping[str, PerHead]) -> pl.DataFrame:
        """Every two kinds, and every estimate with `zero`."""
        rows = [
            self._agreement((kind, first), (other, second))
            for kind, first in effects.items()
            for other, second in effects.items()
        ]
        for name, answer in self.evidence.estimates.items():
            losses = per_head(self.evidence.kinds["zero"], "loss_change")
            estimate = per_head(answer, "loss_change")
            rows.append(self._agreement(("zero", losses), (name, estimate)))
        return pl.DataFrame(rows)

    def _agreement(
        self, one: tuple[str, PerHead], two: tuple[str, PerHead]
    ) -> dict[str, str | float | int]:
        (kind, first), (other, second) = one, two
        n = len(first)
        rng = np.random.default_rng(self.seed)
        draws = rng.multinomial(n, np.full(n, 1 / n), N_RESAMPLES) / n
        resampled = correlations(draws @ first, draws @ second)
        known = resampled[~np.isnan(resampled)]
        lower, upper = np.quantile(known, (0.025, 0.975)) if known.size else (np.nan, np.nan)
        quarter = max(1, first.shape[1] // 4)
        strongest = [set(np.argsort(e.mean(0))[-quarter:].tolist()) for e in (first, second)]
        return {
            "kind": kind,
            "other": other,
            "value": spearman(first.mean(0), second.mean(0)),
            "lower": float(lower),
            "upper": float(upper),
            "overlap": len(strongest[0] & strongest[1]) / quarter,
            "n": first.shape[1],
        }

    def _curves(self) -> pl.DataFrame:
        """Effects on the odd sequences: the top heads with intervals, random sets with bands."""
        top = by_size(self.evidence.sets["top"])
        rows: list[dict[str, Any]] = []
        for size, values in top.items():
            found = mean_interval(values[:, 0], self.seed)
            rows.append(_point("top", size, found, len(values)))
        for family in ("random", "layer_matched"):
            if family not in self.evidence.sets:
                continue
            found = by_size(self.evidence.sets[family])
            p = {size: permutation_p(top[size].mean(), found[size].mean(0)) for size in found}
            adjusted = holm(np.array(list(p.values())))
            for (size, values), p_holm in zip(found.items(), adjusted, strict=True):
                point = _point(family, size, central(values.mean(0)), values.shape[1])
                rows.append({**point, "p": p[size], "p_holm": float(p_holm)})
        return pl.DataFrame(rows, infer_schema_length=None)

    def _top(self, curves: pl.DataFrame) -> list[dict[str, Any]]:
        """Do the top heads cost more than random sets of the same size?"""
        claims: list[dict[str, Any]] = []
        for family, words in (("random", "random heads"), ("layer_matched", "layer-matched heads")):
            pair = curves.filter(pl.col("family").is_in(("top", family)), size=JUDGED_SIZE)
            if pair.height < 2:
                continue
            top, other = (pair.row(0, named=True), pair.row(1, named=True))
            said = Statement(
                claim=f"top_heads_against_{family}",
                statement=f"Zeroing the {JUDGED_SIZE} heads that matter most alone on the even "
                f"sequences changes predictions more than zeroing as many {words}",
                statistic="KL(base || ablated), nats, odd sequences",
            )
            note = (
                f"n = {top['n']}; control: {other['n']} sets, 95 % of their means; permutation "
                f"p {other['p']:.3f}, {other['p_holm']:.3f} after Holm over all sizes"
            )
            ends = [
                Interval(*(row[c] for c in ("value", "lower", "upper"))) for row in (top, other)
            ]
            claims.append(self.decided(said, ends[0], ends[1], (0.0, note)))
        return claims

    def _identities(self) -> list[dict[str, Any]]:
        """`uniform` is query zeroing and is not `zero`: distances of z, in the worst head."""
        rows = self.evidence.identities["head_scores"].filter(pl.col("sequence").is_not_null())
        query, zero = _worst(rows, "q_zero_from_uniform"), _worst(rows, "zero_from_uniform")
        same = Statement(
            claim="q_zero_is_uniform",
            statement="A head reads the same whether its pattern is made uniform or its query is "
            "set to 0 after RoPE",
            statistic="largest difference of z, negated, any head and position",
        )
        other = Statement(
            claim="zero_is_not_uniform",
            statement="A head whose pattern is made uniform reads something: it is not zeroed",
            statistic="largest difference of z, any head and position",
        )
        alike = Bar(threshold=-DIFFERENCE, control=-zero, control_name="writing zeros")
        apart = Bar(threshold=DIFFERENCE, control=query, control_name="query set to 0")
        return [self.judged(same, -query, alike), self.judged(other, zero, apart)]

    def _alike(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Whether two kinds rank heads alike; unrelated rankings are the control."""
        said = Statement(
            claim=f"zero_and_{row['other'].replace(' ', '_')}_rank_alike",
            statement=f"`zero` and `{row['other']}` rank the heads alike (Spearman correlation "
            f"above {AGREEMENT})",
            statistic="Spearman correlation of KL(base || ablated) over single heads",
        )
        spread = 1.96 / np.sqrt(row["n"] - 1)
        note = f"n = {row['n']} heads; control: unrelated rankings"
        ends = Interval(row["value"], row["lower"], row["upper"])
        control = Interval(0.0, -spread, spread)
        return self.decided(said, ends, control, (AGREEMENT, note))


def per_head(answer: Evidence, metric: str) -> PerHead:
    """Effects of single heads (sequence, head), heads in the order of their names' first rows."""
    heads = answer["ablations"].select("condition", "heads")
    rows = answer["ablation_effects"].filter(scope="all").join(heads, on="condition")
    table = rows.pivot("heads", index="sequence", values=metric, maintain_order=True)
    return table.sort("sequence").drop("sequence").to_numpy()


def ranking(answer: Evidence) -> tuple[str, ...]:
    """Single heads by their effect on the even sequences, largest first."""
    names = list(dict.fromkeys(answer["ablations"]["heads"].to_list()))
    return tuple(names[i] for i in strongest_first(per_head(answer, METRIC)))


def by_size(answer: Evidence) -> dict[int, Float[np.ndarray, "sequence set"]]:
    """Effects of sets on the odd sequences, by number of heads."""
    sizes = answer["ablations"].select("condition", "size")
    odd = answer["ablation_effects"].filter(ODD, scope="all")
    rows = odd.join(sizes, on="condition")
    return {
        size: part.pivot("condition", index="sequence", values=METRIC, maintain_order=True)
        .sort("sequence")
        .drop("sequence")
        .to_numpy()
        for (size,), part in sorted(rows.partition_by("size", as_dict=True).items())
    }


def correlations(
    first: Float[np.ndarray, "draw head"], second: Float[np.ndarray, "draw head"]
) -> Float[np.ndarray, " draw"]:
    """Spearman correlations row by row, as `spearman` has them: NaN where all of one are equal."""
    ranks = [ranked(a) for a in (first, second)]
    a, b = (r - r.mean(1, keepdims=True) for r in ranks)
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)


def _worst(rows: pl.DataFrame, score: str) -> np.ndarray:
    """The largest value over heads, per sequence."""
    return (
        rows.filter(score=score)
        .group_by("sequence")
        .agg(pl.col("value").max())
        .sort("sequence")["value"]
        .to_numpy()
    )


def _point(family: str, size: int, found: Interval, n: int) -> dict[str, str | int | float | None]:
    return {
        "family": family,
        "size": size,
        "value": found.estimate,
        "lower": found.lower,
        "upper": found.upper,
        "n": n,
        "p": None,
        "p_holm": None,
    }
