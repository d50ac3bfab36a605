"""One row a head, the labels that it earns; and copying by pool and by lag."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from analysis.interventions import Head
from analysis.questions.verdicts.judgement import Evidence
from analysis.scores.registry import HeadScore, registered
from analysis.tables import beside, named

from .claims import CARRIES
from .copy_lags import ELSEWHERE, SCORE
from .induction_scores import CEILING, GAIN
from .writing import DIRECT, WITHOUT, copying_heads, decoys, looking_heads

LABELS = tuple(score for score in registered() if score.label)
"""What the atlas calls heads. The bars are conventions of this book, the same for every model."""
LEADERS = 3
"""Heads of each label whose patterns are pictured, however many heads there are."""
READ = {"text": "text", "random": "random tokens"}
"""What heads are pictured on, by its name in `data`; the first that a model reads."""


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


def measured_labels(head_scores: pl.DataFrame) -> list[str]:
    """The labels whose score some head has, in the order of the atlas."""
    known = set(
        head_scores.filter(pl.col("sequence").is_null()).select("score", "data").iter_rows()
    )
    return [each.label for each in LABELS if (each.name, each.data) in known]


def leaders(head_scores: pl.DataFrame) -> pl.DataFrame:
    """The strongest heads of each label, whether they earn it or not.

    Args:
        head_scores: Rows of the table, of one model.

    Returns:
        Columns `layer`, `head`, `name` and `leads`, such as `induction 1, duplicate token 3`: the
        head's place by the score of each label; by layer and head.
    """
    places = [pl.DataFrame(schema={"layer": pl.Int32, "head": pl.Int32, "leads": pl.String})]
    for each in LABELS:
        rows = head_scores.filter(
            pl.col("sequence").is_null(),
            pl.col("value").is_finite(),
            score=each.name,
            data=each.data,
        )
        top = rows.sort("value", "layer", "head", descending=[True, False, False]).head(LEADERS)
        place = pl.format(f"{each.label} {{}}", pl.int_range(1, pl.len() + 1))
        places.append(top.select(pl.col("layer", "head").cast(pl.Int32), leads=place))
    every = pl.concat(places).group_by("layer", "head").agg(pl.col("leads").str.join(", "))
    return named(every.sort("layer", "head")).select("layer", "head", "name", "leads")


def read_data(text: Mapping[str, pl.DataFrame]) -> str:
    """What heads are pictured on: `text`, or `random` for a model without a tokenizer.

    Args:
        text: Answer of `TextScores`.
    """
    known = set(text["head_profiles"]["data"])
    return next(data for data in READ if data in known)


def pictures(answers: Iterable[Mapping[str, pl.DataFrame]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Patterns of heads, and the prompt of the example.

    Args:
        answers: Of `TextScores` and `TextPatterns`, some without patterns.

    Returns:
        Rows of `patterns`, with `name`, and of `prompts`.
    """
    kept = [answer for answer in answers if "patterns" in answer]
    return named(pl.concat(answer["patterns"] for answer in kept)), kept[0]["prompts"]


def pictured_menu(patterns: pl.DataFrame, head_scores: pl.DataFrame) -> dict[str, str]:
    """The pictured heads by name, in a menu that says what they lead in."""
    heads = patterns.select("layer", "head", "name").unique().sort("layer", "head")
    leads = heads.join(leaders(head_scores).select("name", "leads"), on="name", how="left")
    words = pl.format("{} ({})", "name", "leads").fill_null(pl.col("name"))
    return dict(leads.select(words.alias("words"), "name").iter_rows())


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


def natural_induction(text: pl.DataFrame, induction: pl.DataFrame) -> pl.DataFrame:
    """Every head's attention to what followed earlier copies in text, beside random blocks.

    Args:
        text: Rows of `head_scores` of `TextScores`.
        induction: Rows of `head_scores` of `InductionScores`.

    Returns:
        Columns `name`, `value` (text), `lower`, `upper`, `n`, `chance`, `other` (random blocks),
        `other_lower` and `other_upper`; no rows where the text could not test it.
    """
    found = beside(text, "text_induction", "text", "text").drop(pl.selectors.starts_with("control"))
    ends = {"other": "value", "other_lower": "lower", "other_upper": "upper"}
    return found.join(
        beside(induction, "induction", "repeated", "shuffled").select("name", **ends), on="name"
    )


def looking_table(induction: Evidence) -> pl.DataFrame:
    """Every head that looks at the induction target, and what copying is without it.

    Args:
        induction: Answer of `InductionScores`.

    Returns:
        Columns `head`, `looks` (induction score), what the second copy costs more `without it,` by
        either method, `direct logit`, and what it `is called`: copies, a decoy, or not measured;
        copying heads first, then by attention. No row where no head looks there.
    """
    looking, copying, idle = looking_heads(induction), copying_heads(induction), decoys(induction)
    columns = {name: f"without it, {method.value}" for name, method in WITHOUT.items()}
    columns |= {DIRECT: "direct logit"}
    rows = named(induction["head_scores"]).filter(
        pl.col("sequence").is_null(), pl.col("score").is_in(list(columns)), data="repeated"
    )
    known = {tuple(row[:2]): row[2] for row in rows.select("name", "score", "value").rows()}
    called = {**dict.fromkeys(copying, "copies"), **dict.fromkeys(idle, "decoy")}
    order = [*copying, *(head for head in looking if head not in copying)]
    return pl.DataFrame(
        [
            {
                "head": str(head),
                "looks": looking[head],
                **{told: known.get((str(head), score)) for score, told in columns.items()},
                "is called": called.get(head, "not measured"),
            }
            for head in order
        ],
        schema={
            "head": pl.String,
            **dict.fromkeys(("looks", *columns.values()), pl.Float64),
            "is called": pl.String,
        },
    ).with_columns(pl.selectors.float().round(3))


def pool_table(answer: Mapping[str, pl.DataFrame], heads: Sequence[Head]) -> pl.DataFrame:
    """The same heads on random tokens of several pools.

    Args:
        answer: Answer of `PoolScores`.
        heads: Which heads.

    Returns:
        A row a pool: `pool`, `ids` in it, what a `perfect head` would score, a column with the
        induction score of each head, and `second copy costs less`, nats per token.
    """
    interval = pl.format(
        "{} ({} to {})", *(pl.col(c).round(2) for c in ("value", "lower", "upper"))
    )
    every = pl.col("sequence").is_null()
    scores = answer["head_scores"].filter(every, score="induction")
    losses = answer["model_scores"].filter(every)
    sizes = pl.col("chance").exp().round().cast(pl.Int64)
    most = losses.filter(score=CEILING).select(
        "data", pl.col("value").alias("perfect head").round(2)
    )
    table = losses.filter(score="first_copy_loss").select("data", ids=sizes).join(most, on="data")
    for head in heads:
        own = scores.filter(layer=head.layer, head=head.head)
        table = table.join(own.select("data", interval.alias(str(head))), on="data", how="left")
    gains = losses.filter(score=GAIN).select(
        "data", value=-pl.col("value"), lower=-pl.col("upper"), upper=-pl.col("lower")
    )
    gained = gains.select("data", interval.alias("second copy costs less"))
    pool = pl.col("data").str.strip_prefix("repeated: ").alias("pool")
    return table.join(gained, on="data").select(pool, pl.all().exclude("data"))


def copy_lags(answer: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """What hiding the keys at each lag from the induction target costs, for `curves`.

    Args:
        answer: Answer of `CopyLags`.

    Returns:
        Columns `at` (the lag), `series` and `role`, `value`, `lower`, `upper` and `n`; the control
        stands at every lag.
    """
    rows = answer["model_scores"].filter(pl.col("sequence").is_null(), score=SCORE)
    kept = ("value", "lower", "upper", "n")
    lags = rows.filter(pl.col("data") != ELSEWHERE).select(
        *kept, at=pl.col("data").cast(pl.Int64), role=pl.lit("the key at this lag")
    )
    control = rows.filter(data=ELSEWHERE).select(*kept, role=pl.lit("other key of the first copy"))
    both = pl.concat([lags, lags.select("at").join(control, how="cross").select(lags.columns)])
    return both.with_columns(series="role")


def carrying(rows: pl.DataFrame) -> list[int]:
    """Lags whose keys copying needs.

    Args:
        rows: Rows of `copy_lags`.

    Returns:
        Those where the interval lies above `CARRIES` and above the control's, the largest first.
    """
    other = pl.col("role").str.starts_with("other")
    bar = max([CARRIES, *rows.filter(other)["upper"].drop_nulls()])
    kept = rows.filter(~other, pl.col("lower") > bar)
    return kept.sort("value", descending=True)["at"].to_list()
