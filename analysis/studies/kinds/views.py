"""Answers on two texts arranged for a reader."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis.interventions import DRAWING
from analysis.questions.second_text import SECOND
from analysis.tables import effects_beside, single_effects

from .claims import METRIC
from .texts import HALF

Answer = Mapping[str, pl.DataFrame]
EFFECTS = ("name", "value", "lower", "upper", "other", "other_lower", "other_upper")


def text_effects(zero: Answer, second: Mapping[str, Answer]) -> pl.DataFrame:
    """What zeroing each head costs on both texts.

    Args:
        zero: Single heads on the first text.
        second: The same on the second one, by what that is; empty without one.

    Returns:
        Columns of `effects_beside`, the first text as `value`; `place` and `other_place`, a head's
        rank from the largest effect down; and `moved`, by how many places they differ: the head
        that moves most comes first. No rows without a second text.
    """
    own = single_effects({"zero": zero}, METRIC)
    others = [single_effects({name: answer}, METRIC) for name, answer in second.items()]
    schema = dict.fromkeys(EFFECTS, pl.Float64) | {"name": pl.String}
    both = pl.concat([pl.DataFrame(schema=schema), *(effects_beside(own, one) for one in others)])
    place, other = (pl.col(column).rank(descending=True) for column in ("value", "other"))
    ranked = both.with_columns(place=place, other_place=other)
    moved = (pl.col("place") - pl.col("other_place")).abs()
    return ranked.with_columns(moved=moved).sort("moved", "name", descending=[True, False])


def text_agreement(agreements: pl.DataFrame, second: Mapping[str, Answer]) -> dict[str, Any]:
    """The row of `rank_agreements` about both texts, on all rows of each.

    Args:
        agreements: Rows of the table.
        second: By what the second text is; empty without one.

    Returns:
        `value`, `lower` and `upper` among others; empty where there is no order to compare.
    """
    names = [f"zero on {name}" for name in second]
    rows = agreements.filter(pl.col("other").is_in(names), kind="zero")
    return next(rows.iter_rows(named=True), {})


def against_random(curves: pl.DataFrame) -> str:
    """How the top heads compare with random ones, as the end of a title.

    Args:
        curves: Rows of `ablation_curves`.
    """
    largest = curves["p_holm"].cast(pl.Float64).max()
    if largest is None:
        return "there are no other heads to compare them with"
    return f"against random sets the largest p after Holm is {largest:.3f}"


def halves_table(agreements: pl.DataFrame) -> pl.DataFrame:
    """Rank correlations over rows that no two measures share.

    Args:
        agreements: Rows of `rank_agreements`.

    Returns:
        Columns `on half of the rows`, `on the rest`, `Spearman` and `95 %`, the largest first.
    """
    end = HALF.removeprefix("{}")
    rows = agreements.filter(pl.col("kind").str.ends_with(end)).sort("value", descending=True)
    return rows.select(
        pl.col("kind").str.strip_suffix(end).alias("on half of the rows"),
        pl.col("other").alias("on the rest"),
        pl.col("value").round(3).alias("Spearman"),
        pl.format("{} to {}", *(pl.col(c).round(3) for c in ("lower", "upper"))).alias("95 %"),
    )


def text_sentence(
    judged: Mapping[str, pl.DataFrame], second: Mapping[str, Answer], text: str
) -> str:
    """What a second text changes, in a sentence; or why there is none.

    Args:
        judged: Answer of `KindClaims`.
        second: Single heads on the second text, by what that is.
        text: What the first one is.
    """
    if not second:
        gaps = judged["absences"].filter(data=SECOND)
        return f"There is no second text: {gaps['reason'][0]}."
    (name,), found = second, text_agreement(judged["rank_agreements"], second)
    if not found:
        return f"No order of the heads on {text} can be compared with one on {name}."
    every = judged["claims"].select("claim", "verdict").rows() if "claims" in judged else []
    verdict = dict(every).get("text_matters_more_than_kind", "not tested")
    return (
        f"The rankings of `zero` on {text} and on {name} have a correlation of "
        f"{found['value']:.2f} ({found['lower']:.2f} to {found['upper']:.2f}); that the text "
        f"matters more than what stands in for a head: **{verdict}**."
    )


def drawn_said(kinds: Mapping[str, Answer]) -> str:
    """How well KL and the change of the loss are estimated by drawn tokens; empty where all count.

    Args:
        kinds: Answers of `AblationSweep` for single heads, by kind.
    """
    means = pl.concat(answer["ablation_means"].filter(scope="all") for answer in kinds.values())
    error, exact = (means.filter(metric=name)["value"] for name in DRAWING)
    if error.is_empty():
        return ""
    return (
        "The vocabulary is large: KL and the change of the loss are **estimated** by tokens that "
        "are drawn from the model's own predictions at every position. That adds a standard error "
        f"of {error.median():.1g} nats to a head's mean (the largest: {error.max():.1g}), beside "
        f"that of the text. {exact.mean():.1%} of the positions, those whose logits change most, "
        "are compared over the whole vocabulary."
    )
