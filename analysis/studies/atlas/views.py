"""One row a head: its scores, and the labels that it earns."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, kw_only=True)
class Label:
    """A name for a head that must be earned: a score's whole interval above two bars."""

    name: str
    score: str
    data: str
    threshold: float
    """The lower bound must exceed it."""
    control: tuple[str, str] | None
    """Score and data whose upper bound it must exceed as well; None compares with chance."""
    neutral: float | None = None
    """What no property looks like, for a difference or a ratio; None for a share in [0, 1]."""


LABELS = (
    Label(
        name="previous token",
        score="previous_token",
        data="text",
        threshold=0.4,
        control=None,
    ),
    Label(
        name="induction",
        score="induction",
        data="repeated",
        threshold=0.4,
        control=("induction", "shuffled"),
    ),
    Label(
        name="duplicate token",
        score="duplicate_token",
        data="text",
        threshold=0.2,
        control=None,
    ),
    Label(name="BOS sink", score="bos", data="text", threshold=0.4, control=None),
    Label(
        name="delimiter",
        score="delimiter",
        data="text",
        threshold=2.0,
        control=None,
        neutral=1.0,
    ),
    Label(
        name="successor",
        score="successor",
        data="signal",
        threshold=0.1,
        control=None,
        neutral=0.0,
    ),
    Label(
        name="S-inhibition",
        score="s_inhibition",
        data="gifts",
        threshold=0.2,
        control=("attention_to_s1", "gifts"),
    ),
)
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
    for label in LABELS:
        frame = frame.join(_judged(every, label), on=("layer", "head"), how="left")
        earned.append(pl.when(pl.col(f"is {label.name}")).then(pl.lit(label.name)))
    named = pl.format("L{}H{}", "layer", "head").alias("head")
    labels = pl.concat_str(earned, separator=", ", ignore_nulls=True).alias("labels")
    return frame.select(named, labels, *(label.name for label in LABELS))


def label_counts(heads: pl.DataFrame) -> pl.DataFrame:
    """How many heads of an atlas earn each label: columns `label` and `heads`."""
    found = [heads["labels"].str.contains(label.name, literal=True).sum() for label in LABELS]
    return pl.DataFrame({"label": [label.name for label in LABELS], "heads": found})


def bars() -> pl.DataFrame:
    """What each label asks for, one row a label."""
    return pl.DataFrame(
        {
            "label": label.name,
            "score": label.score,
            "data": label.data,
            "interval above": label.threshold,
            "and above": " on ".join(label.control) if label.control else "chance",
        }
        for label in LABELS
    )


def _judged(every: pl.DataFrame, label: Label) -> pl.DataFrame:
    """The label's score of every head, and whether the head earns the label."""
    place = ("layer", "head")
    rows = every.filter(score=label.score, data=label.data)
    if label.control is None:
        rows = rows.with_columns(bar=pl.col("chance").fill_null(0.0))
    else:
        score, data = label.control
        control = every.filter(score=score, data=data).select(*place, bar="upper")
        rows = rows.join(control, on=place, how="left")
    passes = (pl.col("lower") > label.threshold) & (pl.col("lower") > pl.col("bar"))
    return rows.select(*place, pl.col("value").alias(label.name), passes.alias(f"is {label.name}"))
