"""Answers of `BosSink` arranged for a reader: heads by name, designs and conditions in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analysis.questions.second_text import SECOND
from analysis.questions.verdicts.judgement import Evidence
from analysis.statistics.resampling import bootstrap
from analysis.tables import named

from .evidence import SCOPE
from .mass import Beside

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
    "single_other_value": "another value",
    "top_other_value": "another value",
    "all_other_value": "another value",
    "top_elsewhere": "a random position",
    "layer_matched": "position 0, other heads",
    "random": "position 0, other heads",
}
_ON_TEXTS = (
    *("name", "value", "lower", "upper", "other", "other_lower", "other_upper"),
    *("change", "change_lower", "change_upper", "n"),
)
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
    """What every head finds at position 0 and adds from there, beside other values.

    Returns:
        Columns `name`, `mass`, the ratio of value norms as `value`, `lower` and `upper`, that of
        values elsewhere as `elsewhere`, and the share of the residual stream as `part` and
        `part_elsewhere`, NULL where heads write more than what they attend to; the strongest sink
        first.
    """
    rows = every(head_scores).filter(data=main_design(head_scores))
    ratio = rows.filter(score="value_norm_ratio").select("name", "value", "lower", "upper")
    for column, score in (
        ("mass", "sink_mass"),
        ("elsewhere", "value_norm_ratio_elsewhere"),
        ("part", "carried_over_residual"),
        ("part_elsewhere", "carried_over_residual_elsewhere"),
    ):
        of_score = rows.filter(score=score).select("name", pl.col("value").alias(column))
        ratio = ratio.join(of_score, on="name", how="left")
    return ratio.sort("mass", descending=True)


def removal_rows(
    answer: Mapping[str, pl.DataFrame], methods: Sequence[str], metric: str
) -> pl.DataFrame:
    """What removing a position changes after it, beside its controls.

    Args:
        answer: Frames of `BosSink`.
        methods: Of `zero_value`, `other_value` and `mask_key`.
        metric: A metric of effects.

    Returns:
        Columns `condition`, `group`, `heads` (by name, or how many all of them are), `value`,
        `lower`, `upper` and `n`.
    """
    method = pl.col("method").str.split(",").list.first()
    kept = answer["ablations"].filter(
        method.is_in(list(methods)), pl.col("family").is_in(list(_GROUPS))
    )
    means = answer["ablation_means"].filter(scope=SCOPE, metric=metric)
    rows = kept.select("condition", "family", "heads").join(
        means.select("condition", "value", "lower", "upper", "n"),
        on="condition",
        maintain_order="left",
    )
    words = pl.col("condition").str.replace(r"^\w+ ", "")
    group = pl.col("family").replace_strict(_GROUPS, return_dtype=pl.String)
    names = pl.col("heads").str.split(",")
    every = pl.col("family").str.starts_with("all")
    told = pl.when(every).then(pl.format("all {} heads", names.list.len())).otherwise("heads")
    return rows.with_columns(group=group, condition=words, heads=told)


def position_rows(answer: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Where in the sequences the strongest sinks matter.

    Args:
        answer: Frames of `BosSink`.

    Returns:
        Columns `what`, `positions`, `kl`, the mean of KL(base || ablated) there, and `share`, of
        its sum over all positions after 0.
    """
    names = pl.DataFrame(
        {
            "family": ["top", "top_other_value", "top"],
            "method": ["zero_value", "other_value", "mask_key"],
            "what": ["value removed", "another value", "attention removed"],
        }
    )
    ablations = answer["ablations"].with_columns(pl.col("method").str.split(",").list.first())
    conditions = names.join(ablations, on=("family", "method"), maintain_order="left_right")
    ends = pl.col("scope").str.extract_groups(r"^(?<first>\d+)-(?<last>\d+)$")
    first, last = (ends.struct.field(end).cast(pl.Int32) for end in ("first", "last"))
    found = (
        conditions.select("condition", "what")
        .join(
            answer["ablation_means"].filter(metric="kl_base_ablated"),
            on="condition",
            maintain_order="left_right",
        )
        .with_columns(start=first, size=last - first + 1)
        .drop_nulls("start")
        .group_by("what", "scope", "start", "size", maintain_order=True)
        .agg(kl=pl.col("value").mean())
    )
    total = pl.col("kl") * pl.col("size")
    share = (total / total.sum().over("what")).alias("share")
    return found.select("what", "kl", share, positions="scope")


def massive_rows(answer: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What is large at position 0 of the residual stream entering each layer, in the main design.

    Returns:
        Columns `layer`, `residual_norm_ratio`, `largest_activation`, `largest_over_median`,
        `massive` and `massive_elsewhere`: massive above 1.
    """
    rows = answer["model_scores"].filter(
        pl.col("sequence").is_null(), data=main_design(answer["head_scores"])
    )
    parts = rows.select(
        "value",
        score=pl.col("score").str.extract(r"^(\w+) L\d+$"),
        layer=pl.col("score").str.extract(r" L(\d+)$").cast(pl.Int32),
    )
    return parts.pivot("score", index="layer", values="value").sort("layer")


def copier_rows(head_scores: pl.DataFrame) -> pl.DataFrame:
    """How every head rests, the strongest induction head first.

    Returns:
        Columns `name`, `induction`, `resting` and `resting_by_place`, the attention to position 0
        that is lost between the blocks when the second is the first again or new, and `output` and
        `output_by_place`, what is written in the first block over the second.
    """
    rows = every(head_scores)
    found = rows.filter(score="induction", data="repeated").select("name", induction="value")
    for column, score, data in (
        ("resting", "resting", "repeated"),
        ("resting_by_place", "resting", "fresh"),
        ("output", "resting_output", "repeated"),
        ("output_by_place", "resting_output", "fresh"),
    ):
        of_score = rows.filter(score=score, data=data)
        column_of = of_score.select("name", pl.col("value").alias(column))
        found = found.join(column_of, on="name", how="left")
    return found.sort("induction", descending=True)


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


def text_rows(sink: Evidence, second: Mapping[str, Evidence], seed: int) -> pl.DataFrame:
    """How much attention every head gives to position 0 on two texts.

    Args:
        sink: Answer of `BosSink`.
        second: Answers of `SinkMass`, by what their text is; empty without a second one.
        seed: Of the bootstrap.

    Returns:
        Columns `name`; `value`, `lower` and `upper` on the second text, `other`, `other_lower` and
        `other_upper` on the first; `change`, `change_lower` and `change_upper`, the second minus
        the first, and `n`, sequences of each. The head that moves most comes first; no rows
        without a second text.
    """
    frames = [pl.DataFrame(schema=dict.fromkeys(_ON_TEXTS, pl.Float64) | {"name": pl.String})]
    for answer in second.values():
        beside = Beside.of(sink, answer)
        columns: dict[str, Any] = {"name": beside.heads}
        for start, values in (
            ("", beside.second),
            ("other", beside.first),
            ("change", beside.changes),
        ):
            found = bootstrap(values, seed)
            ends = (start or "value", f"{start}_lower".lstrip("_"), f"{start}_upper".lstrip("_"))
            columns |= dict(zip(ends, (found.mean, found.lower, found.upper), strict=True))
        rows = pl.DataFrame({**columns, "n": [float(len(beside.first))] * len(beside.heads)})
        frames.append(rows.select(_ON_TEXTS))
    return pl.concat(frames).sort(pl.col("change").abs(), descending=True)


def text_sentence(
    judged: Mapping[str, pl.DataFrame], rows: pl.DataFrame, texts: tuple[str, str]
) -> str:
    """Which sink a second text moves most, in a sentence; or why there is no second text.

    Args:
        judged: Answer of `SinkClaims`.
        rows: Of `text_rows`.
        texts: What the first and the second text are.
    """
    if rows.is_empty():
        gaps = judged["absences"].filter(data=SECOND)
        return f"There is no second text: {gaps['reason'][0]}."
    top = rows.row(0, named=True)
    return (
        f"On {texts[1]}, {top['name']} moves most: from {top['other']:.2f} on {texts[0]} to "
        f"{top['value']:.2f} ({top['change']:+.2f}, {top['change_lower']:+.2f} to "
        f"{top['change_upper']:+.2f})."
    )
