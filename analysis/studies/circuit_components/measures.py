"""From what ablated components change to rows of the store's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.components.ablation import Part
from analysis.interventions import Condition, Head
from analysis.questions.effect_rows import head_effects, loss_effects
from analysis.questions.rows import Labels, interval_columns
from analysis.statistics.resampling import bootstrap

from .passes import LOSS, Column, Parts

SCOPE = "second copy"
"""Where the loss is taken."""

TOP, MATCHED, SUM, REST = (f"{name}_components" for name in ("top", "matched", "sum_of", "unswept"))
"""Families: chosen components together; random ones of the same weights and about the same norms;
what the chosen ones do alone, added up; all components that are too unimportant to be swept."""

ONE_EACH = 6
"""Components that a circuit of one a weight would take: q, k, v and o of the previous-token head,
q and k of the induction head."""

FLOOR = 1e-8
"""Summed squared effect on a head from which it is asked which components carry it: that of one
component that moves a ten-thousandth of the head's attention."""


def condition(family: str, size: int, draw: int | None = None) -> Condition:
    """A set of components; which they are stands in `ablations`."""
    name = f"{family} {size}" if draw is None else f"{family} {size}, draw {draw}"
    return Condition(name=name, family=family, interventions=(), draw=draw)


def judged_size(ablations: pl.DataFrame) -> int:
    """How many components are judged together: `ONE_EACH`, or fewer if no more matter."""
    sizes = ablations.filter(family=TOP)["size"].to_list()
    return max(size for size in sizes if size <= ONE_EACH)


def component_scores(
    facts: Mapping[str, Mapping[Part, float]],
    effects: Float[np.ndarray, "component sequence column"],
    columns: Sequence[Column],
    places: Mapping[str, tuple[int, str]],
    labels: Labels,
) -> pl.DataFrame:
    """Rows of `component_scores`, all but the column `decomposition`.

    Args:
        facts: What is known of the components beside effects, by name; all in the same order.
        effects: What ablating each alone changes, in that order.
        columns: What was measured.
        places: Layer and letter of every weight.
        labels: What the rows are about.

    Returns:
        Facts, which have no head, and `effect_...` by head, with intervals over sequences.
    """
    parts = list(next(iter(facts.values())))
    about = pl.DataFrame(
        [(*places[part.layer], part.component) for part in parts],
        schema={"layer": pl.Int16, "projection": pl.String, "component": pl.Int32},
        orient="row",
    )
    known: dict[Column, dict[str, pl.Series]] = {
        (name, None): {"value": pl.Series(list(each.values()))} for name, each in facts.items()
    }
    for i, (score, head) in enumerate(columns):
        found = interval_columns(bootstrap(effects[:, :, i].T, labels.seed))
        known[f"effect_{score}", head] = found.to_dict()
    frames = [
        about.with_columns(
            head=pl.lit(None if head is None else str(head), pl.String),
            score=pl.lit(score),
            **values,
        )
        for (score, head), values in known.items()
    ]
    constants = {n: pl.lit(labels.columns()[n], pl.String) for n in ("model", "text")}
    return pl.concat(frames, how="diagonal").with_columns(**constants)


@dataclass(frozen=True)
class Together:
    """Sets of components, and what ablating each changed."""

    conditions: Sequence[Condition]
    parts: Sequence[Parts]
    changes: Float[np.ndarray, "condition sequence column"]


def set_effects(
    found: Together, heads: Sequence[Head], columns: Sequence[Column], labels: Labels
) -> dict[str, pl.DataFrame]:
    """Rows about components that are ablated together.

    Args:
        found: What was ablated and what that changed.
        heads: Whose scores are told.
        columns: What was measured.
        labels: What the rows are about.

    Returns:
        `ablations`, where `heads` and `size` are those of components; `ablation_effects` and
        `ablation_means` (loss); and `head_effects`.
    """
    losses = found.changes[:, None, :, columns.index(LOSS)]
    frames = loss_effects(losses, found.conditions, (SCOPE,), labels)
    names = [each.name for each in found.conditions]
    changed = [
        head_effects(found.changes[:, :, [i]], names, [head], score, labels)
        for i, (score, head) in enumerate(columns)
        if head is not None and head in heads
    ]
    sites = [sorted({part.layer.rsplit(".", 1)[-1] for part in parts}) for parts in found.parts]
    alone = pl.when(pl.col("family") == SUM).then(pl.lit("zero, one by one"))
    described = frames["ablations"].with_columns(
        site=pl.Series([",".join(each) for each in sites], dtype=pl.String),
        method=alone.otherwise(pl.lit("zero")),
        heads=pl.Series([",".join(map(str, parts)) for parts in found.parts], dtype=pl.String),
        size=pl.Series([len(parts) for parts in found.parts], dtype=pl.Int32),
        positions=pl.lit("all"),
    )
    return {**frames, "ablations": described, "head_effects": pl.concat(changed)}


def concentration(
    chosen_on: Float[np.ndarray, "component even"],
    effects: Float[np.ndarray, "component odd"],
    norms: Float[np.ndarray, " component"],
    few: int,
) -> dict[str, np.ndarray]:
    """How few components carry what is done to a head, on every sequence.

    Args:
        chosen_on: Effects of each alone on sequences that the largest are chosen on.
        effects: The same on the others.
        norms: Frobenius norms.
        few: How many are few.

    Returns:
        By score: `component_share_one` and `component_share_few`, the share of the summed squared
        effects that the largest carry; `component_norm_share`, the share that those few have of the
        summed squared norms; and `component_entropy` of the shares of all, in nats. NaN where
        nothing does anything.
    """
    order = np.argsort(-np.square(chosen_on).mean(1), kind="stable")
    squares, weights = np.square(effects), np.square(norms)
    total = squares.sum(0)
    share = squares / np.where(total > FLOOR, total, np.nan)
    known = np.where(total > FLOOR, 1.0, np.nan)
    return {
        "component_share_one": share[order[:1]].sum(0),
        "component_share_few": share[order[:few]].sum(0),
        "component_norm_share": known * weights[order[:few]].sum() / weights.sum(),
        "component_entropy": -(share * np.log(np.where(share > 0, share, 1.0))).sum(0),
    }
