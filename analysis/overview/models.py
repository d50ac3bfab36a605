"""Several models beside each other: their best heads by the same scores, the same claims."""

from collections.abc import Iterable, Mapping

import polars as pl

from analysis.models.files.card import ModelCard
from analysis.studies.atlas.views import LABELS, atlas

from .claims import EVERY, figure_of

SAME, APART, SOME = "the same verdict", "different verdicts", "not testable everywhere"
"""How the verdicts of all models on one claim compare."""


def model_table(cards: Mapping[str, ModelCard]) -> pl.DataFrame:
    """What the models are.

    Args:
        cards: By the name that the book shows.

    Returns:
        A row for each property, a column for each model.
    """
    rows = {name: _properties(card) for name, card in cards.items()}
    properties = next(iter(rows.values()))
    return pl.DataFrame(
        {"model": list(properties), **{name: list(row.values()) for name, row in rows.items()}}
    )


def _properties(card: ModelCard) -> dict[str, str]:
    return {
        "architecture": card.architecture.removesuffix("ForCausalLM"),
        "layers": str(card.n_layers),
        "heads in a layer": str(card.n_heads),
        "key-value heads in a layer": str(card.n_kv_heads),
        "width of the residual stream": str(card.d_model),
        "tokens of context": str(card.n_ctx),
        "tokens in the vocabulary": f"{card.vocab:,}",
        "parameters": f"{card.n_params:,}",
        "weights": card.weights[:12],
    }


def head_values(scores: Mapping[str, pl.DataFrame], name: str) -> pl.DataFrame:
    """Every head of every model by one label's score, the largest first.

    Args:
        scores: Rows of `head_scores` by model.
        name: Label of one of `LABELS`.

    Returns:
        Columns `model`, `rank` (from 1, within the model), `head` (as `L1H4`), `value`, `lower`,
        `upper`, `n`, `chance` and `earned`: whether the head earns the label.
    """
    score = next(score for score in LABELS if score.label == name)
    frames = [
        rows.filter(pl.col("sequence").is_null(), score=score.name, data=score.data)
        .with_columns(head=pl.format("L{}H{}", "layer", "head"), model=pl.lit(model))
        .join(_earned(rows, name), on="head", how="left")
        .sort("value", "head", descending=[True, False])
        .with_row_index("rank", 1)
        .select("model", "rank", "head", "value", "lower", "upper", "n", "chance", "earned")
        for model, rows in scores.items()
    ]
    return pl.concat(frames).cast({"rank": pl.Int32})


def _earned(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    heads = atlas(rows)
    return heads.select("head", earned=pl.col("labels").str.contains(name, literal=True))


def best_heads(scores: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The head of every model that is strongest by each label's score.

    Args:
        scores: Rows of `head_scores` by model.

    Returns:
        The first rows of `head_values` for each of `LABELS` that any model can be tested for, with
        `label`, `threshold` (what the interval must exceed), `neutral` (what no property looks
        like, null for a share) and `heads`, how many heads of the model earn the label.
    """
    frames: list[pl.DataFrame] = []
    for score in LABELS:
        every = head_values(scores, score.label)
        earning = every.group_by("model").agg(heads=pl.col("earned").sum().cast(pl.Int32))
        first = every.filter(rank=1).join(earning, on="model", maintain_order="left")
        frames.append(
            first.with_columns(
                label=pl.lit(score.label),
                threshold=pl.lit(score.threshold),
                neutral=pl.lit(score.neutral, pl.Float64),
            )
        )
    return pl.concat(frames)


def best_table(best: pl.DataFrame) -> pl.DataFrame:
    """The strongest heads as a reader sees them: a row a label, columns for each model.

    Args:
        best: Of `best_heads`.

    Returns:
        `label`, and for each model its head with the value and 95 % interval, and how many heads
        earn the label; null where the model cannot be tested.
    """
    texts = [
        f"{row['head']} {_interval(row['value'], row['lower'], row['upper'])}; "
        f"{row['heads']} earn it"
        for row in best.to_dicts()
    ]
    told = best.with_columns(best=pl.Series(texts, dtype=pl.String))
    return told.pivot("model", index="label", values="best", maintain_order=True)


def verdict_rows(claims: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Every claim of every model, with how the models compare.

    Args:
        claims: Rows of the table `claims` by model; of one at least there are some.

    Returns:
        The rows with `model`, and `agreement`: `SAME`, `APART`, or `SOME` where a model has no row
        for the claim, since it cannot be tested there. In the order of the chapters.
    """
    rows = pl.concat(
        [
            frame.with_columns(model=pl.lit(model)).with_row_index("place")
            for model, frame in claims.items()
            if not frame.is_empty()
        ]
    )
    differ = pl.col("verdict").n_unique().over("claim") > 1
    somewhere = pl.col("model").n_unique().over("claim") < len(claims)
    agreement = pl.when(somewhere).then(pl.lit(SOME)).when(differ).then(pl.lit(APART))
    order = pl.col("place").min().over("claim")
    return (
        rows.with_columns(agreement=agreement.otherwise(pl.lit(SAME)), order=order)
        .sort("chapter", "order", "claim", maintain_order=True)
        .drop("place", "order")
    )


def agreement_counts(rows: pl.DataFrame) -> dict[str, int]:
    """How many claims have each agreement.

    Args:
        rows: Of `verdict_rows`.

    Returns:
        Counts of `SAME`, `APART` and `SOME`.
    """
    found = rows.unique("claim")["agreement"]
    return {name: int((found == name).sum()) for name in (SAME, APART, SOME)}


def agreement_choices(counts: Mapping[str, int]) -> list[str]:
    """What a reader can filter by: everything, and each agreement that there is."""
    return [EVERY, *(name for name, count in counts.items() if count)]


def rows_of(rows: pl.DataFrame, agreement: str) -> pl.DataFrame:
    """Those rows of `verdict_rows` that have one of `agreement_choices`."""
    return rows if agreement == EVERY else rows.filter(agreement=agreement)


def verdict_table(rows: pl.DataFrame, models: Iterable[str]) -> pl.DataFrame:
    """Claims down, models across.

    Args:
        rows: Of `verdict_rows`.
        models: Names, in order.

    Returns:
        `claim`, which links to the cell that shows it; for each model the verdict, with the
        estimate and its 95 % interval, which links to the run that weighed it, null where there
        is none; `threshold`.
    """
    texts = [
        f"{row['verdict']}: {_interval(row['estimate'], row['lower'], row['upper'])}"
        for row in rows.to_dicts()
    ]
    told = rows.with_columns(told=pl.Series(texts, dtype=pl.String))
    table = told.unique("claim", keep="first", maintain_order=True).select(
        "claim", "chapter", "threshold"
    )
    for model in models:
        own = told.filter(model=model).select(
            "claim", **{model: "told", f"{model}_link": pl.format("run:{}", "run")}
        )
        table = table.join(own, on="claim", how="left", maintain_order="left")
    links = [figure_of(*names) for names in table.select("claim", "chapter").iter_rows()]
    columns = [name for model in models for name in (model, f"{model}_link")]
    return table.select(
        pl.col("claim").str.replace_all("_", " "),
        pl.Series("claim_link", links, dtype=pl.String),
        *columns,
        "threshold",
    )


def _interval(estimate: float | None, lower: float | None, upper: float | None) -> str:
    """An estimate with its interval, to three digits."""
    shown = ("–" if value is None else f"{value:.3g}" for value in (estimate, lower, upper))
    return "{} ({} to {})".format(*shown)
