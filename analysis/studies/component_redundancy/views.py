"""Answers about ablated components arranged for a reader."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis.interventions import Head
from analysis.studies.redundancy.views import aggregates, removals

from .choice import LARGEST, MATCHED
from .choice import OUTSIDE as OUTSIDE_NORM
from .claims import WHOLE, ComponentEvidence
from .question import EFFECT, EFFECT_ERROR, HARM

MODES = {
    "deterministic": "all other masks are 1: the baseline is the target itself",
    "stochastic": "random masks between importance and 1, the same in both arms",
    "stochastic_apart": "random masks, drawn apart for both arms",
    "stochastic_ci": "as published: importance 0 and a random mask, instead of a mask of 0",
    "adversarial": "masks chosen to do harm, in each arm",
}
"""What every mode does, in words."""
OUTSIDE = "other pairs, outside the mechanism"
INSIDE = "nearest pairs of all components"

_FIGURES = ("value", "lower", "upper", "n")
_CURVE = ("at", "series", "role", *_FIGURES)


def ablations(evidence: ComponentEvidence) -> dict[str, pl.DataFrame]:
    """Every way in which the pair was ablated.

    Args:
        evidence: What claims are judged by.

    Returns:
        Rows of `comparisons` by the mode, and by `mode, in L1H4` where it was cut from that head.
    """
    within = {f"{mode}, in {evidence.head}": answer for mode, answer in evidence.within.items()}
    every = {**evidence.modes, **within}
    return {name: answer["comparisons"] for name, answer in every.items()}


def swept(evidence: ComponentEvidence) -> dict[str, pl.DataFrame]:
    """Those ways in which values were zeroed at more than one offset."""
    every = ablations(evidence)
    return {name: rows for name, rows in every.items() if rows["lag"].drop_nulls().n_unique() > 1}


def index_rows(evidence: ComponentEvidence, chosen: str, layer: int | None) -> pl.DataFrame:
    """What B(all) does after A by offset, of the pair, of the head and of random pairs.

    Args:
        evidence: What claims are judged by.
        chosen: One of `ablations`, shown beside the pair within the head and the head.
        layer: Whose attention output, of which R is shown; None for the log-ratio in predictions.

    Returns:
        Rows of a curve for each; the chosen one first.
    """
    head, within = evidence.head, f"{WHOLE}, in {evidence.head}"
    shown = ablations(evidence)
    named = {
        f"pair, {chosen}": shown[chosen],
        f"pair, {within}": shown[within],
        f"{head} zeroed": evidence.zeroed["comparisons"],
    }
    frames = [_index(rows, name, name, layer) for name, rows in named.items()]
    frames += [
        _index(answer["comparisons"], name, role, layer)
        for role, answers in ((OUTSIDE, evidence.outside), (INSIDE, evidence.matched))
        for name, answer in answers.items()
    ]
    return pl.concat(frames).select(_CURVE).sort("at", maintain_order=True)


def sweep_rows(comparisons: pl.DataFrame, scope: str) -> pl.DataFrame:
    """What removing a value changes in the predictions, alone and after A, by offset.

    Args:
        comparisons: Rows of the table, of one ablation.
        scope: `all` or `specific`.

    Returns:
        Rows of two curves, median KL in nats.
    """
    return removals(comparisons, scope, "values zeroed", "values zeroed, components ablated")


def farthest(profiles: Mapping[str, pl.DataFrame], profile: str) -> float:
    """The end of a symmetric axis that all modes and heads share, at least .05."""
    ends = [
        rows.filter(profile=profile).select(pl.max_horizontal(pl.col("lower", "upper").abs()).max())
        for rows in profiles.values()
    ]
    return max(0.05, *(float(end.item()) for end in ends))


def effects(answers: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What ablating the pair does to predictions in every way.

    Args:
        answers: What `ablations` gives.

    Returns:
        Columns `ablation`, `measure` (in words), `value`, `lower`, `upper` and `n`.
    """
    measures = {
        EFFECT: "change of the probability of the target's token",
        EFFECT_ERROR: "its standard error over draws",
        HARM: "KL(target || A) - KL(target || base), nats, median",
        "kl_median": "KL(base || A), nats, median",
    }
    frames = [
        aggregates(rows)
        .filter(pl.col("metric").is_in(list(measures)), reference="base", condition="A")
        .select(pl.lit(name).alias("ablation"), "metric", *_FIGURES)
        for name, rows in answers.items()
    ]
    every = pl.concat(frames).rename({"metric": "measure"})
    order = pl.col("measure").replace_strict({name: i for i, name in enumerate(measures)})
    return every.sort(order, maintain_order=True).with_columns(
        pl.col("measure").replace_strict(measures)
    )


def way(effects: pl.DataFrame, ablation: str, measure: str) -> dict[str, Any]:
    """One number of `effects`.

    Args:
        effects: Its rows.
        ablation: In which way.
        measure: How the words of the measure begin.

    Returns:
        The row; there must be exactly one.
    """
    asked = (pl.col("ablation") == ablation) & pl.col("measure").str.starts_with(measure)
    return effects.row(by_predicate=asked, named=True)


def trajectories(adversary_steps: pl.DataFrame) -> pl.DataFrame:
    """Rows of a curve for each arm of an adversary."""
    words = pl.col("arm").replace_strict(
        {"base": "nothing ablated", "ablated": "components ablated"}
    )
    return adversary_steps.sort("arm", "step").select(
        at="step",
        series=words,
        role=words,
        value="value",
        lower=pl.lit(None, pl.Float64),
        upper=pl.lit(None, pl.Float64),
        n=pl.lit(None, pl.Int32),
    )


def pair_rows(component_pairs: pl.DataFrame, chosen_on: str) -> pl.DataFrame:
    """The pairs that add most to the head's score, where they were chosen and elsewhere.

    Args:
        component_pairs: Answer of `PairChoice`.
        chosen_on: The text that they were chosen on.

    Returns:
        Columns `query`, `key`, `chosen_on` and `elsewhere`, the largest first.
    """
    place = ("first_component", "second_component")
    rows = component_pairs.filter(measure=LARGEST)
    here = rows.filter(text=chosen_on).select(*place, chosen_on="value")
    there = rows.filter(pl.col("text") != chosen_on).select(*place, elsewhere="value")
    joined = here.join(there, on=place, maintain_order="left").sort("chosen_on", descending=True)
    return joined.rename({"first_component": "query", "second_component": "key"})


def beside_rows(evidence: ComponentEvidence, component_pairs: pl.DataFrame) -> pl.DataFrame:
    """The random pairs beside the chosen one, at offset 1: what each adds, and what it takes.

    Args:
        evidence: What claims are judged by.
        component_pairs: Answer of `PairChoice`, on the text that they were chosen on.

    Returns:
        Columns `pair` (a query and a key component), `drawn from`, `R, attention output`, and of
        the predictions `log-ratio`, `lower`, `upper` and `n`, medians over sequences; and
        `adds`, to the head's score. The chosen pair comes first.
    """
    layer, frames = Head.parse(evidence.head).layer, list[pl.DataFrame]()
    for words, measure, answers in (
        ("chosen", LARGEST, {evidence.pair: evidence.modes[WHOLE]}),
        ("outside the mechanism", OUTSIDE_NORM, evidence.outside),
        ("all components", MATCHED, evidence.matched),
    ):
        adds = component_pairs.filter(measure=measure).select(
            pair=pl.format("{},{}", "first_component", "second_component"), adds="value"
        )
        for name, answer in answers.items():
            share, ratio = (
                _index(answer["comparisons"], name, words, at).filter(at=1) for at in (layer, None)
            )
            parts = ",".join(each.rpartition(":")[2] for each in name.split(","))
            row = ratio.select(
                pl.lit(parts).alias("pair"),
                pl.lit(words).alias("drawn from"),
                pl.lit(share["value"].first()).alias("R, attention output"),
                pl.col("value").alias("log-ratio"),
                *_FIGURES[1:],
            )
            frames.append(row.join(adds, on="pair", how="left"))
    return pl.concat(frames)


def _index(comparisons: pl.DataFrame, series: str, role: str, layer: int | None) -> pl.DataFrame:
    here = pl.col("layer").eq_missing(pl.lit(layer, pl.Int16))
    metric = "log_ratio" if layer is None else "redundancy"
    rows = aggregates(comparisons).filter(here, metric=metric, condition="A+B(all)")
    return rows.with_columns(at=pl.col("lag"), series=pl.lit(series), role=pl.lit(role))
