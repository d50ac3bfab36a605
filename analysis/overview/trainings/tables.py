"""What seeds had learnt by which step, as a reader sees it."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from analysis.models.files.card import REFERENCE
from analysis.settings import json_object
from analysis.training.formation import COUNTS, STATISTICS

CURVES = "15_training#formation_curves"
"""The figure that shows when."""
_CARDS = ("evaluation.json", "second_seed.json")
"""What the finished models of two seeds can do."""
_ON_CARD = {
    "prose_loss": "prose_loss",
    "first_copy_loss": "first_copy_loss",
    "second_copy_loss": "second_copy_loss",
    "previous_token": "previous_token_head",
    "induction": "induction_head",
}
"""Figures of the card, by our statistic of the same meaning."""


def appearance_table(found: pl.DataFrame) -> pl.DataFrame:
    """When and by which head each phenomenon appears, a column for each seed.

    Args:
        found: Of `appearances`.

    Returns:
        Columns `what appears`, which links to the curves, `interval above`, and one for each seed.
    """
    cells = [_cell(row) for row in found.to_dicts()]
    told = found.select(
        pl.col("name").alias("what appears"),
        pl.col("bar").alias("interval above"),
        pl.format("seed {}", "seed").alias("seed"),
        pl.Series("cell", cells, dtype=pl.String),
    )
    index = ("what appears", "interval above")
    wide = told.pivot("seed", index=index, values="cell", maintain_order=True)
    return wide.with_columns(pl.lit(CURVES).alias("what appears_link"))


def _cell(row: Mapping[str, Any]) -> str:
    if row["at"] is None:
        return f"not by step {row['last']:,}"
    before = "" if row["before"] is None else f"after {row['before']:,}, "
    return f"{before}by {row['at']:,}: {number_said(row)}"


def number_said(row: Mapping[str, Any]) -> str:
    """A measured number with its interval, and the head that has it."""
    head = f"{row['head']} " if row["head"] else ""
    value, lower, upper = (round(row[name], 2) + 0.0 for name in ("value", "lower", "upper"))
    if row.get("statistic") in COUNTS:
        return f"{value:.0f} ({lower:.0f} to {upper:.0f})"
    return f"{head}{value:.2f} ({lower:.2f} to {upper:.2f})"


def step_table(rows: pl.DataFrame, seed: str) -> pl.DataFrame:
    """All that was measured of one seed.

    Args:
        rows: Of `Measured`.
        seed: In words, as in `curve_rows`.

    Returns:
        A row for each kept step, a column for each statistic.
    """
    own = rows.filter(pl.format("seed {}", "seed") == seed)
    told = own.with_columns(
        cell=pl.Series([number_said(row) for row in own.to_dicts()], dtype=pl.String),
        statistic=pl.col("statistic").str.replace_all("_", " "),
    )
    return told.pivot("statistic", index="step", values="cell", maintain_order=True)


def meaning_table() -> pl.DataFrame:
    """What the columns of `step_table` are."""
    names = [name.replace("_", " ") for name in STATISTICS]
    return pl.DataFrame({"statistic": names, "meaning": list(STATISTICS.values())})


def finished_table(rows: pl.DataFrame) -> pl.DataFrame:
    """The last kept models beside the finished ones of the card, by the same statistics.

    Args:
        rows: Of `Measured`.

    Returns:
        Columns `statistic`, one for the last kept step of each seed, and one for each seed whose
        finished model is on the card, which measures more items.
    """
    lasts = rows.filter(pl.col("step") == pl.col("step").max().over("seed"))
    columns: dict[str, list[str]] = {"statistic": [STATISTICS[name] for name in _ON_CARD]}
    for (seed, step), own in lasts.partition_by("seed", "step", as_dict=True).items():
        known = {row["statistic"]: number_said(row) for row in own.to_dicts()}
        columns[f"seed {seed}, step {step:,}"] = [known[name] for name in _ON_CARD]
    for card in _CARDS:
        made = json_object(REFERENCE / card)
        recipe, figures = made["recipe"], made["evaluation"]
        columns[f"seed {recipe['seed']}, finished"] = [
            number_said({"head": None, "value": figures[name]["estimate"], **figures[name]})
            for name in _ON_CARD.values()
        ]
    return pl.DataFrame(columns)
