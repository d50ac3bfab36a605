"""One row a head: its scores, and the labels that it earns."""

import polars as pl

from analysis.scores.registry import HeadScore, registered

LABELS = tuple(score for score in registered() if score.label)
"""What the atlas calls heads. The bars are conventions of this book, the same for every model."""


def atlas(head_scores: pl.DataFrame) -> pl.DataFrame:
    """Every head with its scores and labels.

    Args:
        head_scores: Rows of the table, of one model.

    Returns:
        Columns `head` (as `L1H4`), `labels`, and one for each label's score, by layer and head;
        a score that the data could not test is null.
    """
    every = head_scores.filter(pl.col("sequence").is_null())
    frame = every.select("layer", "head").unique().sort("layer", "head")
    earned: list[pl.Expr] = []
    for each in LABELS:
        frame = frame.join(_judged(every, each), on=("layer", "head"), how="left")
        earned.append(pl.when(pl.col(f"is {each.label}")).then(pl.lit(each.label)))
    named = pl.format("L{}H{}", "layer", "head").alias("head")
    labels = pl.concat_str(earned, separator=", ", ignore_nulls=True).alias("labels")
    return frame.select(named, labels, *(each.label for each in LABELS))


def label_counts(heads: pl.DataFrame) -> pl.DataFrame:
    """How many heads of an atlas earn each label: columns `label` and `heads`."""
    found = [heads["labels"].str.contains(each.label, literal=True).sum() for each in LABELS]
    return pl.DataFrame({"label": [each.label for each in LABELS], "heads": found})


def bars() -> pl.DataFrame:
    """What each label asks for, one row a label."""
    return pl.DataFrame(
        {
            "label": each.label,
            "score": each.name,
            "data": each.data,
            "interval above": each.threshold,
            "and above": " on ".join(each.control) if each.control else "chance",
        }
        for each in LABELS
    )


def _judged(every: pl.DataFrame, each: HeadScore) -> pl.DataFrame:
    """The label's score of every head, and whether the head earns the label."""
    place = ("layer", "head")
    rows = every.filter(score=each.name, data=each.data)
    if each.control is None:
        rows = rows.with_columns(bar=pl.col("chance").fill_null(0.0))
    else:
        score, data = each.control
        control = every.filter(score=score, data=data).select(*place, bar="upper")
        rows = rows.join(control, on=place, how="left")
    passes = (pl.col("lower") > each.threshold) & (pl.col("lower") > pl.col("bar"))
    return rows.select(*place, pl.col("value").alias(each.label), passes.alias(f"is {each.label}"))
