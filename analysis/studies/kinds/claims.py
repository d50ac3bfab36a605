"""Do different kinds of ablation agree, and do top heads matter more than random ones?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.progress import Report
from analysis.questions.halves import ODD, strongest_first
from analysis.questions.rows import absence
from analysis.questions.second_text import SECOND
from analysis.questions.verdicts.judgement import Evidence, Group, Judgement, Statement, answers_of
from analysis.questions.verdicts.verdict import Null
from analysis.statistics.comparisons import holm, permutation_p, shuffle_p
from analysis.statistics.resampling import Interval, central, mean_interval
from analysis.statistics.stability import rank_interval, resamples

from .idle import idle_claim
from .texts import PerHead, TextsBeside

FIGURES = {
    "kinds_rank_alike": "05_ablation_kinds#agreement",
    "text_matters_more_than_kind": "05_ablation_kinds#heads_on_texts",
    "top_heads_against_*": "05_ablation_kinds#top_against_random",
    "idle_heads": "05_ablation_kinds#every_head",
}
METRIC = "kl_base_ablated"
"""Heads are ranked by it."""
AGREEMENT = 0.8
"""Two kinds rank heads alike when the whole interval of their Spearman correlation is above it."""
PARTIAL = ("zero value at 0", "mask key 0")
"""Kinds that take away what a head reads at one place, and not the head: shown beside the others,
and not expected to rank heads as these do."""
UNRANKED = "it changes nothing, or all heads alike: there is no order to compare"
JUDGED_SIZE = 4
"""The size of the sets that the claim on top heads is about; other sizes are shown."""


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
    second: Mapping[str, Evidence]
    """Single heads under `zero` on the second text, by its name in words; empty without one."""


@dataclass(frozen=True, kw_only=True)
class KindClaims(Judgement):
    """What ablating heads shows whichever way it is done, and what depends on the way.

    Heads are ranked on the even sequences and judged on the odd ones.
    """

    version: ClassVar[int] = 6
    chapter: ClassVar[str] = "05_ablation_kinds"

    text: str
    """The text of the evidence, in words."""
    no_second: str
    """Why there is no second text; empty where there is."""
    evidence: KindEvidence

    def run(self, report: Report) -> dict[str, pl.DataFrame]:
        """Compare the kinds, and the top heads with random ones.

        Returns:
            `rank_agreements`, `ablation_curves`, `claims`, unless none can be tested, and `checks`;
            `absences` of agreements with a kind that does the same to all heads.
        """
        effects = {name: per_head(answer, METRIC) for name, answer in self.evidence.kinds.items()}
        agreements = self._agreements(effects)
        curves = self._curves()
        beside = self._texts(effects)
        idle = idle_claim(self, effects, _names(self.evidence.kinds["zero"]))
        claims = [
            *self._alike(effects, agreements),
            *self._text_claims(beside),
            *self._top(curves),
            *idle,
        ]
        frames = super().run(report)
        constants = {"model": pl.lit(self.card.model), "metric": pl.lit(METRIC)}
        known = agreements.filter(pl.col("value").is_not_nan())
        unknown = agreements.join(known, on="other", how="anti")["other"]
        gaps = [absence(self.card, "rank_agreement", o, UNRANKED) for o in dict.fromkeys(unknown)]
        if not beside:
            gaps.append(absence(self.card, "rank_agreement", SECOND, self.no_second))
        agreed = [row for each in beside for row in each.rows() if not np.isnan(row["value"])]
        known = pl.concat([known, pl.DataFrame(agreed, known.schema)])
        return {
            **frames,
            **({"absences": pl.concat(gaps)} if gaps else {}),
            "rank_agreements": known.with_columns(
                pl.col("lower", "upper").fill_nan(None), **constants
            ),
            "ablation_curves": curves.with_columns(**constants, method=pl.lit("zero")),
            **({"claims": pl.DataFrame(claims, infer_schema_length=None)} if claims else {}),
        }

    def groups(self) -> dict[str, Group]:
        """What is judged, by its role."""
        return answers_of(self.evidence)

    def question(self) -> dict[str, Any]:
        """The runs that are judged, and what is said of their texts."""
        asked, said = super().question(), {"text": self.text, "no_second": self.no_second}
        return asked | {"parameters": asked["parameters"] | said}

    def _texts(self, effects: Mapping[str, PerHead]) -> list[TextsBeside]:
        """The second text beside the first; none where there is none."""
        others = {name: per_head(answer, METRIC) for name, answer in self.evidence.second.items()}
        return [
            TextsBeside(kinds=effects, second=other, texts=(self.text, name), seed=self.seed)
            for name, other in others.items()
        ]

    def _text_claims(self, beside: Iterable[TextsBeside]) -> Iterator[dict[str, Any]]:
        """Whether the text changes the ranking by more than the kind does."""
        for each in beside:
            if found := each.weighed([k for k in each.kinds if k not in {"zero", *PARTIAL}]):
                sides, bar = (found.estimate, found.control), (0.0, found.note)
                yield self.decided(found.said, *sides, bar, beyond=found.beyond, null=found.null)

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
        draws = resamples(len(first), np.random.default_rng(self.seed))
        found = rank_interval(first, second, (draws, draws))
        quarter = max(1, first.shape[1] // 4)
        strongest = [set(np.argsort(e.mean(0))[-quarter:].tolist()) for e in (first, second)]
        return {
            "kind": kind,
            "other": other,
            "value": found.estimate,
            "lower": found.lower,
            "upper": found.upper,
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

    def _top(self, curves: pl.DataFrame) -> Iterator[dict[str, Any]]:
        """Do the top heads cost more than random sets of the same size?"""
        top = by_size(self.evidence.sets["top"])
        for family, words in (("random", "random heads"), ("layer_matched", "layer-matched heads")):
            row = next(curves.filter(family=family, size=JUDGED_SIZE).iter_rows(named=True), None)
            if row is None or JUDGED_SIZE not in top:
                continue
            values = top[JUDGED_SIZE][:, 0]
            drawn = by_size(self.evidence.sets[family])[JUDGED_SIZE]
            said = Statement(
                claim=f"top_heads_against_{family}",
                statement=f"Zeroing the {JUDGED_SIZE} heads that matter most alone on the even "
                f"sequences changes predictions more than zeroing as many {words}",
                statistic="KL(base || ablated), nats, odd sequences",
            )
            note = (
                f"n = {len(values)}; control: {row['n']} sets, 95 % of their means, and their mean "
                "sequence by sequence"
            )
            yield self.decided(
                said,
                mean_interval(values, self.seed),
                Interval(row["value"], row["lower"], row["upper"]),
                (0.0, note),
                beyond=mean_interval(values - drawn.mean(1), self.seed),
                null=Null(p=row["p"], size=row["n"]),
            )

    def checks(self) -> Iterator[dict[str, Any]]:
        """`uniform` is query zeroing and constant scores, and is not `zero`."""
        rows = self.evidence.identities["head_scores"].filter(pl.col("sequence").is_not_null())
        apart = dict(rows.group_by("score").agg(pl.col("value").max()).iter_rows())
        size = apart["zero_from_uniform"]  # zeros are as far from it as it is large
        for name, what in (
            ("q_zero", "its query is set to 0 after RoPE"),
            ("constant_scores", "its scores are all the same"),
        ):
            yield self.checked(
                f"{name}_is_uniform",
                f"A head reads the same whether its pattern is uniform or {what}: largest "
                "difference of z as a share of the largest z",
                apart[f"{name}_from_uniform"] / size if size else 0.0,
                same=True,
            )
        yield self.checked(
            "zero_is_not_uniform",
            "A head whose pattern is uniform reads something and is not zeroed: largest z",
            size,
            same=False,
        )

    def _alike(
        self, effects: Mapping[str, PerHead], agreements: pl.DataFrame
    ) -> Iterator[dict[str, Any]]:
        """Whether all kinds rank heads as `zero` does; unrelated rankings are the control."""
        others = [name for name in effects if name not in {"zero", *PARTIAL}]
        known = agreements.filter(pl.col("other").is_in(others), pl.col("value").is_not_nan())
        rows = known.filter(kind="zero").sort("value")
        if rows.is_empty():
            return
        names, n_heads = rows["other"].to_list(), rows["n"][0]
        listed = ", ".join(f"`{name}`" for name in others if name in names)
        said = Statement(
            claim="kinds_rank_alike",
            statement=f"`zero` ranks the heads as {listed} do, each of them (Spearman correlation "
            f"above {AGREEMENT})",
            statistic="Spearman correlation of KL(base || ablated) over single heads, the least of "
            f"{len(names)}: {names[0]}",
        )
        nulls = [
            shuffle_p(effects["zero"].mean(0), effects[name].mean(0), self.seed) for name in names
        ]
        spread = 1.96 / np.sqrt(n_heads - 1)
        note = f"n = {n_heads} heads; control: unrelated rankings"
        yield self.decided(
            said,
            Interval(*rows.select(pl.col("value", "lower", "upper").min()).row(0)),
            Interval(0.0, -spread, spread),
            (AGREEMENT, note),
            null=Null(p=max(p for p, _ in nulls), size=min(size for _, size in nulls)),
        )


def per_head(answer: Evidence, metric: str) -> PerHead:
    """Effects of single heads (sequence, head), heads in the order that they were asked in."""
    heads = answer["ablations"].select("condition", "heads")
    rows = answer["ablation_effects"].filter(scope="all").join(heads, on="condition")
    table = rows.pivot("heads", index="sequence", values=metric)
    return table.sort("sequence").select(_names(answer)).to_numpy()


def ranking(answer: Evidence) -> tuple[str, ...]:
    """Single heads by their effect on the even sequences, largest first."""
    names = _names(answer)
    return tuple(names[i] for i in strongest_first(per_head(answer, METRIC)))


def by_size(answer: Evidence) -> dict[int, Float[np.ndarray, "sequence set"]]:
    """Effects of sets on the odd sequences, by number of heads; sets in the order of asking."""
    odd = answer["ablation_effects"].filter(ODD, scope="all")
    table = odd.pivot("condition", index="sequence", values=METRIC).sort("sequence")
    return {
        size: table.select(part["condition"].to_list()).to_numpy()
        for (size,), part in sorted(answer["ablations"].partition_by("size", as_dict=True).items())
    }


def _names(answer: Evidence) -> list[str]:
    """Single heads in the order that they were asked in."""
    return list(dict.fromkeys(answer["ablations"]["heads"].to_list()))


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
