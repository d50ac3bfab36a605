"""Answers of `DecompositionQuality` and `ComponentHarvest` arranged for a reader."""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from analysis.components.evaluation import ALIVE
from analysis.components.fitting.card import MEANING, bars

from .quality import COMPONENTS, SEES_FUTURE

N_HEAT = 40
"""Components of one weight whose heads are shown: those of largest mean importance."""
N_BLOCKS = 8
"""Components whose norms stand beside those of the target."""
NOT_DECOMPOSED = (
    "This model has no parameter decomposition, or no tokenizer to read text with. "
    "`headbook decompose` makes one of the first."
)

Answer = Mapping[str, pl.DataFrame]


def figure(decompositions: pl.DataFrame, metric: str) -> str:
    """A figure of a decomposition in words, with its interval where it has one."""
    row = decompositions.row(by_predicate=pl.col("metric") == metric, named=True)
    if row["lower"] is None:
        return f"{row['value']:,.0f}"
    return f"{row['value']:.3g} ({row['lower']:.3g} to {row['upper']:.3g})"


def headline(answer: Answer, name: str) -> str:
    """How good a decomposition is, and how many components a token needs.

    Args:
        answer: Of `DecompositionQuality` or `MeasuredQuality`.
        name: Of the model.

    Returns:
        A paragraph; it says so if importances see later tokens.
    """
    rows = answer["decompositions"]
    said = {metric: figure(rows, metric) for metric in rows["metric"]}
    met = bars_met(answer)["met"]
    return (
        f"The decomposition of **{name}** has {said[COMPONENTS]} components, of which "
        f"{said['alive']} are alive (mean importance above {ALIVE['alive']:g}). **A token needs "
        f"{said['l0']} of them.** With those alone predictions lie {said['rounded']} nats from the "
        f"target's; with all components but without the remainder {said['ones']} nats: the gap "
        f"between target and reconstruction. Random masks between importance and 1 cost "
        f"{said['stochastic']} nats, one mask chosen to do harm {said['adversarial']}; nothing at "
        f"all left in the decomposed layers costs {said['zero']}. Bars met: {met.sum()} of "
        f"{len(met)}. {future_note(answer)}"
    )


def adversary_note(answer: Answer) -> str:
    """What masks can do that are chosen to do harm, and what that means for ablating components.

    Args:
        answer: Of `DecompositionQuality` or `MeasuredQuality`.

    Returns:
        A paragraph.
    """
    rows = answer["decompositions"]
    one, each, none = (figure(rows, name) for name in ("adversarial", "adversarial_token", "zero"))
    ends = {row["metric"]: row for row in rows.iter_rows(named=True)}
    worst, nothing = ends["adversarial_token"], ends["zero"]
    if worst["lower"] > nothing["upper"]:
        beside = f"more than with nothing left in the decomposed layers at all ({none})"
    elif worst["upper"] < nothing["lower"]:
        beside = f"less than with nothing left in the decomposed layers ({none})"
    else:
        beside = f"about as much as with nothing left in the decomposed layers ({none})"
    so = (
        "So an importance of 0 does not say that a component may be scaled by anything: it holds "
        "of masks on average, not of all"
        if worst["lower"] > ends["stochastic"]["upper"]
        else "That is no more than random masks cost"
    )
    return (
        f"One mask for all tokens that is chosen to do harm costs {one} nats a token; one chosen "
        f"for every token {each}, {beside}. {so}. Where components are ablated under an adversary, "
        "in the chapter on their redundancy, what it does with nothing ablated stands beside, and "
        "only the difference is the components'."
    )


def future_note(answer: Answer) -> str:
    """A warning where importances see later tokens; else empty."""
    sees = answer["decompositions"].filter(metric=SEES_FUTURE)["value"].item() > 0
    warning = "**Importances here see later tokens**: what is conditioned on them is not causal."
    return warning if sees else ""


def bars_met(answer: Answer) -> pl.DataFrame:
    """Which bars are met: columns `bar` and `met`, by the estimates."""
    rows = answer["decompositions"]
    values = {metric: (value,) for metric, value in rows.select("metric", "value").iter_rows()}
    alive = {name: values[name][0] for name in ALIVE}
    found = bars({"figures": values, "alive": alive})
    return pl.DataFrame({"bar": list(found), "met": list(found.values())})


def divergences(answer: Answer) -> pl.DataFrame:
    """Divergence from the target under every kind of mask.

    Args:
        answer: Of `DecompositionQuality` or `MeasuredQuality`.

    Returns:
        Columns `masks` in words, `role` (measured or control), `value`, `lower`, `upper`, `n`, and
        `of_zero`: the share of what nothing at all does.
    """
    rows = answer["decompositions"].filter(pl.col("metric").is_in(list(MEANING)))
    zero = rows.filter(metric="zero")["value"].item()
    role = pl.when(pl.col("metric") == "zero").then(pl.lit("control")).otherwise(pl.lit("measured"))
    return rows.sort("value").select(
        pl.col("metric").replace_strict(MEANING).alias("masks"),
        role.alias("role"),
        *("value", "lower", "upper", "n"),
        of_zero=pl.col("value") / zero,
    )


def with_names(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `name`, as `q12`, and `weight`, as `L1 q`, to rows about components."""
    return rows.with_columns(
        name=pl.format("{}{}", "projection", "component"),
        weight=pl.format("L{} {}", "layer", "projection"),
    )


def importance_curves(components: pl.DataFrame) -> pl.DataFrame:
    """Mean importance of the alive components of every weight, the largest first.

    Args:
        components: Rows of the table.

    Returns:
        Columns `name`, `weight`, `layer`, `projection`, `rank` (from 1) and `mean_importance`.
    """
    alive = with_names(components).filter(pl.col("mean_importance") > ALIVE["alive"])
    rank = pl.col("mean_importance").rank("ordinal", descending=True).over("weight")
    kept = ("name", "weight", "layer", "projection", "mean_importance")
    return alive.select(*kept, rank=rank).sort("weight", "rank")


def most_important(components: pl.DataFrame, weight: str, n: int) -> list[int]:
    """The components of a weight that matter most, of those that fire."""
    rows = with_names(components).filter(pl.col("density") > 0, weight=weight)
    order = rows.sort("mean_importance", "component", descending=[True, False])
    return order["component"].head(n).to_list()


def by_head(answer: Answer, weight: str, score: str, n: int) -> pl.DataFrame:
    """A score of the most important components of a weight, by head.

    Args:
        answer: Of `ComponentHarvest`.
        weight: Which weight, as `L1 q`.
        score: `head_norm` or `head_activation`.
        n: How many components.

    Returns:
        Columns `name`, `head`, `value`, `lower`, `upper`, `n`, the most important first.
    """
    order = most_important(answer["components"], weight, n)
    rows = with_names(answer["component_scores"]).filter(
        pl.col("component").is_in(order), weight=weight, score=score
    )
    places = {component: place for place, component in enumerate(order)}
    ranked = rows.with_columns(place=pl.col("component").replace_strict(places, default=None))
    return ranked.sort("place", "head").select("name", "head", "value", "lower", "upper", "n")


def block_norms(answer: Answer, weight: str) -> pl.DataFrame:
    """Norms by head of a weight, its reconstruction, its remainder, and single components.

    Args:
        answer: Of `ComponentHarvest`.
        weight: Which weight, as `L1 q`.

    Returns:
        As `by_head`.
    """
    layer, letter = weight.removeprefix("L").split(" ")
    kind = "KV" if letter in "kv" else "H"
    whole = answer["head_scores"].filter(layer=int(layer), score=f"norm_{letter}")
    head = pl.format(f"L{layer}{kind}{{}}", "head")
    figures = ("value", "lower", "upper", "n")
    return pl.concat(
        [
            whole.select(pl.col("data").alias("name"), head.alias("head"), *figures),
            by_head(answer, weight, "head_norm", N_BLOCKS),
        ]
    )


def spreads(answer: Answer, layer: int) -> pl.DataFrame:
    """Over how many heads the alive components of a layer are spread.

    Args:
        answer: Of `ComponentHarvest`.
        layer: Which layer.

    Returns:
        Columns `name`, `projection`, `mean_importance`, `spread`, `norm`, and `even`: the spread
        of a component that is alike in all heads.
    """
    norms = answer["component_scores"].filter(layer=layer, score="head_norm")
    n_heads = norms.group_by("projection").agg(pl.col("head").n_unique())
    alive = pl.col("mean_importance") > ALIVE["alive"]
    rows = with_names(answer["components"]).filter(alive, layer=layer)
    even = pl.col("head").log(math.e).alias("even")
    kept = ("name", "projection", "mean_importance", "spread", "norm")
    return rows.join(n_heads, on="projection").select(*kept, even).sort("projection", "name")
