"""Answers of `BosSink` arranged for a reader: heads by name, designs and conditions in words."""

from collections.abc import Mapping

import polars as pl

from analysis.tables import named

DESIGNS = {
    "bos_first": ("BOS first", "BOS", "word"),
    "word_first": ("no BOS", "word", "word"),
    "bos_moved": ("BOS in the middle", "word", "BOS"),
    "bos_twice": ("BOS at both", "BOS", "BOS"),
}
"""By design: what it is called, what position 0 holds, and what the middle holds."""

POSITION_0 = {"bos_first": "BOS at position 0", "word_first": "a word at position 0"}
"""What position 0 holds, in the designs that residual norms are measured in."""

_GROUPS = {
    "single": "position 0",
    "top": "position 0",
    "all": "position 0",
    "single_elsewhere": "a random position",
    "top_elsewhere": "a random position",
    "all_elsewhere": "a random position",
    "layer_matched": "position 0, other heads",
    "random": "position 0, other heads",
}
_FIGURES = ("name", "value", "lower", "upper", "n", "chance")


def every(head_scores: pl.DataFrame) -> pl.DataFrame:
    """Aggregate rows over all sequences, heads by name."""
    return named(head_scores.filter(pl.col("sequence").is_null()))


def main_design(head_scores: pl.DataFrame) -> str:
    """The design of the measures that need only one: with BOS, where there is one."""
    has_bos = not head_scores.filter(data="bos_first").is_empty()
    return "bos_first" if has_bos else "word_first"


def design_rows(head_scores: pl.DataFrame, name: str) -> pl.DataFrame:
    """One head's attention to position 0 and to the middle, in every design that was made."""
    frames: list[pl.DataFrame] = []
    rows = every(head_scores).filter(name=name)
    for data, (design, first, middle) in DESIGNS.items():
        for score, key, holds in (
            ("attention_to_0", "position 0", first),
            ("attention_to_middle", "the middle", middle),
        ):
            found = rows.filter(data=data, score=score).select(_FIGURES)
            words = {"design": design, "key": key, "holds": holds}
            frames.append(found.with_columns(**{k: pl.lit(v) for k, v in words.items()}))
    return pl.concat(frames)


def carried_rows(head_scores: pl.DataFrame) -> pl.DataFrame:
    """Every head's attention to position 0 and what comes from there, by attention.

    Returns:
        Columns `name`, `mass`, the ratio of value norms as `value`, `lower` and `upper`, and
        `share`, `by_attention` and `over_residual`, NULL where heads write more than what they
        attend to; the strongest sink first.
    """
    rows = every(head_scores).filter(data=main_design(head_scores))
    ratio = rows.filter(score="value_norm_ratio").select("name", "value", "lower", "upper")
    for column, score in (
        ("mass", "sink_mass"),
        ("share", "carried_share"),
        ("by_attention", "carried_by_attention"),
        ("over_residual", "carried_over_residual"),
    ):
        ratio = ratio.join(
            rows.filter(score=score).select("name", value="value").rename({"value": column}),
            on="name",
            how="left",
        )
    return ratio.sort("mass", descending=True)


def removal_rows(
    answer: Mapping[str, pl.DataFrame], method: str, scope: str, metric: str
) -> pl.DataFrame:
    """What removing a position changes, beside its controls.

    Args:
        answer: Frames of `BosSink`.
        method: `zero_value` or `mask_key`.
        scope: Which positions are averaged.
        metric: A metric of effects.

    Returns:
        Columns `condition`, `group`, `heads`, `value`, `lower`, `upper` and `n`.
    """
    kept = answer["ablations"].filter(
        pl.col("method").str.starts_with(method), pl.col("family").is_in(list(_GROUPS))
    )
    means = answer["ablation_means"].filter(scope=scope, metric=metric)
    rows = kept.select("condition", "family", "heads").join(
        means.select("condition", "value", "lower", "upper", "n"),
        on="condition",
        maintain_order="left",
    )
    words = pl.col("condition").str.strip_prefix(f"{method} ")
    group = pl.col("family").replace_strict(_GROUPS, return_dtype=pl.String)
    return rows.with_columns(group=group, condition=words)


def moved_rows(answer: Mapping[str, pl.DataFrame], name: str, condition: str) -> pl.DataFrame:
    """Where one head looks as it is and under a condition.

    Args:
        answer: Frames of `BosSink`.
        name: The head.
        condition: One that masks position 0.

    Returns:
        Columns `state`, `place`, `value`, and the `change` with its interval, `change_lower` and
        `change_upper`; five places a state.
    """
    place = pl.col("score").str.strip_prefix("attention_to_").str.replace("_", " ").alias("place")
    changes = named(answer["head_effects"].filter(pl.col("sequence").is_null()))
    change = changes.filter(name=name, condition=condition).select(
        "score", change="value", change_lower="lower", change_upper="upper"
    )
    base = every(answer["head_scores"]).filter(name=name).join(change, on="score")
    after = base.with_columns(value=pl.col("value") + pl.col("change"))
    states = (("as it is", base), ("position 0 hidden", after))
    columns = (place, "value", "change", "change_lower", "change_upper")
    return pl.concat(rows.select(pl.lit(state).alias("state"), *columns) for state, rows in states)


def resting_rows(head_scores: pl.DataFrame, name: str) -> pl.DataFrame:
    """One head's attention to position 0 from both blocks, repeated and fresh."""
    blocks = {"sink_mass_first_copy": "first block", "sink_mass_second_copy": "second block"}
    kinds = {"repeated": "second block is the first again", "fresh": "second block is new"}
    rows = every(head_scores).filter(pl.col("score").is_in(list(blocks)), name=name)
    return rows.select(
        *_FIGURES,
        block=pl.col("score").replace_strict(blocks, return_dtype=pl.String),
        data=pl.col("data").replace_strict(kinds, return_dtype=pl.String),
    ).sort("data", "block", descending=[True, False])
