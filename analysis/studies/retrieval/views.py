"""Answers about retrieval heads arranged for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from analysis.questions.verdicts.head_sets import mixture
from analysis.questions.verdicts.judgement import Evidence
from analysis.statistics.comparisons import wilson

from .claims import RetrievalEvidence
from .measures import ALL, OVERLAP, by_set, joined
from .ranking.curves import ZERO_QUERY
from .ranking.rankings import EVERY
from .ranking.sets import RANDOM, UPSTREAM, SetPlan

N_BINS = 5
"""Depths are shown in as many equal parts of the context."""

Answer = Mapping[str, pl.DataFrame]


def by_ranking(curves: pl.DataFrame, fact: str) -> pl.DataFrame:
    """Curves of one fact under `zero`, a panel for each ranking.

    Args:
        curves: Rows of `retrieval_curves`.
        fact: Which; `all` for all together.

    Returns:
        The rows, with `panel`.
    """
    rows = curves.filter(pl.col("ranking") != OVERLAP, method="zero", fact=fact)
    return rows.with_columns(panel=pl.col("ranking").str.replace_all("_", " "))


def by_question(curves: pl.DataFrame, ranking: str) -> pl.DataFrame:
    """Curves of one ranking under `zero`, a panel for each fact."""
    rows = curves.filter(pl.col("fact") != ALL, method="zero", ranking=ranking)
    return rows.with_columns(panel=pl.col("fact"))


def by_method(curves: pl.DataFrame, ranking: str) -> pl.DataFrame:
    """The top heads of one ranking under every kind of ablation, over all questions."""
    return curves.filter(ranking=ranking, family="top", fact=widest(curves))


def facts(curves: pl.DataFrame) -> list[str]:
    """Facts that curves were drawn of, all together first where there are several."""
    found = curves["fact"].unique(maintain_order=True).to_list()
    return sorted(found, key=lambda fact: fact != ALL)


def absence_lines(judged: Answer) -> str:
    """What could not be tested and why, as a list in markdown: one line a reason; may be empty."""
    if "absences" not in judged:
        return ""
    gaps = judged["absences"].group_by("reason", maintain_order=True).agg("data")
    told = ((", ".join(dict.fromkeys(data)), reason) for reason, data in gaps.iter_rows())
    return "\n".join(f"- {data}: {reason}" for data, reason in told)


def at_size(curves: pl.DataFrame, ranking: str, family: str, size: int) -> dict[str, Any]:
    """One point of a curve under `zero`, over all questions.

    Args:
        curves: Rows of `retrieval_curves`.
        ranking: Which score.
        family: `top`, `random` or `layer_matched`.
        size: Heads replaced.

    Returns:
        The row by column; there must be exactly one.
    """
    rows = curves.filter(method="zero", fact=widest(curves), ranking=ranking, family=family)
    return rows.row(by_predicate=pl.col("size") == size, named=True)


def half_lost(curves: pl.DataFrame, ranking: str) -> dict[str, Any]:
    """The first point of a ranking's curve with half of the answers lost, or else its last."""
    rows = curves.filter(method="zero", fact=widest(curves), ranking=ranking, family="top")
    ordered = rows.sort("size")
    lost = ordered.filter(pl.col("accuracy") <= ordered["accuracy"][0] / 2)
    return (lost if lost.height else ordered.tail(1)).row(0, named=True)


def overlaps(plan: SetPlan) -> pl.DataFrame:
    """How far the top heads of every two rankings are the same.

    Args:
        plan: Rankings and levels.

    Returns:
        Columns `heads`, `first`, `second`, `shared` and `jaccard`, in [0, 1].
    """
    rows: list[dict[str, Any]] = []
    for level in plan.levels:
        for first, second in combinations(plan.rankings, 2):
            one, two = set(plan.top(first, level)), set(plan.top(second, level))
            shared = ", ".join(map(str, sorted(one & two)))
            jaccard = len(one & two) / len(one | two)
            rows.append(
                {
                    "heads": level,
                    "first": first.replace("_", " "),
                    "second": second.replace("_", " "),
                    "shared": shared,
                    "jaccard": round(jaccard, 3),
                }
            )
    return pl.DataFrame(rows)


def overlap_drops(curves: pl.DataFrame) -> pl.DataFrame:
    """What the heads that all rankings share cost together, in points.

    Returns:
        Columns `heads`, `names`, `answered`, `95 %` and `p`, the exact McNemar p.
    """
    rows = curves.filter(ranking=OVERLAP, fact=widest(curves), method="zero")
    return rows.select(
        pl.col("size").alias("heads"),
        pl.col("heads").alias("names"),
        pl.col("accuracy").round(3).alias("answered"),
        pl.format("{} to {}", pl.col("lower").round(3), pl.col("upper").round(3)).alias("95 %"),
        pl.col("p").round(4),
    )


def needle(answers: Iterable[Answer]) -> pl.DataFrame:
    """Questions answered by length of the context and depth of the answer in it.

    Args:
        answers: Of `RetrievalCurves` for the model as it is.

    Returns:
        Columns `across` (length), `down` (depth), `accuracy`, `lower`, `upper` and `n`.
    """
    rows = pl.concat([answer["retrieval_outcomes"] for answer in answers]).with_columns(
        place=(pl.col("depth") * N_BINS).floor().clip(0, N_BINS - 1).cast(pl.Int32)
    )
    counted = rows.group_by("n_tokens", "place").agg(
        pl.col("correct").sum().alias("right"), pl.len().alias("n")
    )
    shown = [
        {
            "across": f"{row['n_tokens']} tokens",
            "down": f"{row['place'] / N_BINS:.0%} to {(row['place'] + 1) / N_BINS:.0%}",
            **share(row["right"], row["n"]),
        }
        for row in counted.sort("n_tokens", "place").iter_rows(named=True)
    ]
    return pl.DataFrame(shown)


def grid_sizes(cells: Iterable[Answer]) -> list[int]:
    """How many top heads of any ranking were replaced, ascending; 0 is the model as it is."""
    frames = [cell["retrieval_curves"] for cell in cells if "retrieval_curves" in cell]
    ranked = pl.concat(frames).filter(pl.col("ranking") != OVERLAP, family="top")
    return ranked["size"].unique().sort().to_list()


def grid(cells: Iterable[Answer], ranking: str, size: int) -> pl.DataFrame:
    """What is answered in every cell of the grid with some top heads replaced.

    Args:
        cells: Answers of `RetrievalCell`.
        ranking: Which score.
        size: Heads replaced; 0 for the model as it is.

    Returns:
        Columns `across` (length), `down` (fact), `accuracy`, `lower`, `upper` and `n`; cells that
        are not testable have none.
    """
    frames = [
        cell["retrieval_curves"].filter(ranking=ranking, family="top", size=size)
        for cell in cells
        if "retrieval_curves" in cell
    ]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={"n_tokens": pl.Int32})
    return rows.with_columns(across=pl.format("{} tokens", "n_tokens"), down="fact")


def cell_lines(cell: Answer) -> list[str]:
    """What a cell of the grid says, a line for each ranking.

    Args:
        cell: Answer of `RetrievalCell`.

    Returns:
        Accuracies by number of heads, of top sets and in brackets of random ones; or why nothing
        was replaced.
    """
    if "retrieval_curves" not in cell:
        return cell["absences"]["reason"].to_list()
    curves = cell["retrieval_curves"].filter(pl.col("ranking") != OVERLAP)
    lines: list[str] = []
    for (ranking,), rows in curves.partition_by("ranking", as_dict=True).items():
        random = rows.filter(family="random").select("size", drawn="accuracy")
        both = rows.filter(family="top").join(random, on="size", how="left").sort("size")
        points = [
            f"{row['size']}: {row['accuracy']:.2f}"
            + ("" if row["drawn"] is None else f" ({row['drawn']:.2f})")
            for row in both.iter_rows(named=True)
        ]
        lines.append(f"{ranking:<17} {'  '.join(points)}")
    return lines


def uniform_differences(evidence: RetrievalEvidence) -> tuple[float, float]:
    """By how much `uniform` differs from a query of 0, and from `zero`.

    Args:
        evidence: What retrieval heads are judged by, with both kinds.

    Returns:
        The largest difference of a right answer's log probability, over sets and questions, nats.
    """
    kinds = {name: by_set(evidence.kinds[name], "log_p") for name in ("uniform", ZERO_QUERY)}
    kinds["zero"] = by_set(evidence.curves["top"], "log_p")
    uniform = kinds["uniform"]
    query, zero = (
        float(np.max([np.abs(uniform[heads] - kinds[name][heads]) for heads in uniform]))
        for name in (ZERO_QUERY, "zero")
    )
    return query, zero


def null_sets(evidence: RetrievalEvidence, ranking: str) -> pl.DataFrame:
    """What random sets of as many heads as are judged cost, by the upstream heads that they hold.

    Args:
        evidence: What retrieval heads are judged by.
        ranking: Which heads are judged.

    Returns:
        Rows of `mixture`: shares of all questions that are lost.
    """
    plan, curves = evidence.plan, evidence.curves
    base = by_set({fact: evidence.base[fact] for fact in curves["top"]}, "correct")[""]
    able = plan.judged_level in plan.matched_levels(RANDOM, ranking)
    sets = {
        RANDOM: plan.distribution(RANDOM, ranking, plan.judged_level) if able else [],
        UPSTREAM: plan.mixed(ranking),
    }
    found: list[tuple[list[str], float]] = []
    for family, every in sets.items():
        right = by_set(curves[family], "correct") if every else {}
        found += [(list(map(str, s)), float((base - right[joined(s)]).mean())) for s in every]
    return pl.DataFrame(mixture(found, map(str, plan.upstream[ranking])))


def first_heads(scores: Evidence, score: str, n_heads: int) -> str:
    """The heads with the highest scores, each with its 95 % interval; or why there are none.

    Args:
        scores: Answer of `RetrievalScores`, or of its like for a file.
        score: Which.
        n_heads: How many.
    """
    rows = scores["head_scores"] if "head_scores" in scores else pl.DataFrame()
    if rows.height:
        rows = rows.filter(pl.col("sequence").is_null(), score=score, data=EVERY)
    if not rows.height:
        reasons = scores["absences"].filter(score=score, data=EVERY)["reason"]
        return reasons[0] if len(reasons) else "no scores"
    ranked = rows.sort("value", "layer", "head", descending=[True, False, False]).head(n_heads)
    columns = ranked.select("layer", "head", "value", "lower", "upper").rows()
    return ", ".join(
        f"L{layer}H{head} {value:.2f}" + ("" if lower is None else f" ({lower:.2f} to {upper:.2f})")
        for layer, head, value, lower, upper in columns
    )


def widest(curves: pl.DataFrame) -> str:
    """All questions together, or the only fact there is."""
    return facts(curves)[0]


def share(n_right: int, n: int) -> dict[str, float | int]:
    """A share of questions, with its Wilson interval."""
    lower, upper = wilson(n_right, n)
    return {"accuracy": n_right / n, "lower": lower, "upper": upper, "n": n}
