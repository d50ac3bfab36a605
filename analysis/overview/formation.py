"""When heads and copying appear in training, and in which order, seed by seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.models.files.card import REFERENCE
from analysis.scores.registry import registered
from analysis.settings import json_object
from analysis.studies.atlas.claims import COPIES
from analysis.training.formation import STATISTICS


def _label_bar(label: str) -> float:
    """What the atlas asks of a head for a label."""
    return next(score.threshold for score in registered() if score.label == label)


@dataclass(frozen=True, kw_only=True)
class Phenomenon:
    """Something that a training brings about."""

    name: str
    """As a sentence says it."""
    unit: str
    """What its statistic is."""
    bar: float
    """It is there when the whole interval lies above: what a label or a claim asks for."""


PHENOMENA = {
    "previous_token": Phenomenon(
        name="a previous-token head",
        unit="previous-token score",
        bar=_label_bar("previous token"),
    ),
    "bos": Phenomenon(name="the sink", unit="attention to BOS", bar=_label_bar("BOS sink")),
    "induction": Phenomenon(
        name="an induction head", unit="induction score", bar=_label_bar("induction")
    ),
    "copy_gain": Phenomenon(
        name="a lower loss on a second copy", unit="gain on a second copy, nats", bar=COPIES
    ),
}
"""By the statistic that shows them."""
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


def appearances(rows: pl.DataFrame) -> pl.DataFrame:
    """Between which kept steps each of `PHENOMENA` appears in each seed.

    Args:
        rows: Of `Measured`.

    Returns:
        Columns `seed`, `statistic`, `name`, `bar`, `at` (the first kept step from which on, at all
        later ones too, the whole interval lies above the bar; null where there is none), `before`
        (the kept step before it, null for none: steps between were not seen), `head`, `value`,
        `lower` and `upper` there, and `last`, the last kept step of the seed.
    """
    found: list[dict[str, Any]] = []
    for (seed,), own in rows.partition_by("seed", as_dict=True, maintain_order=True).items():
        for statistic, each in PHENOMENA.items():
            steps = own.filter(statistic=statistic).sort("step").to_dicts()
            there = [row["lower"] > each.bar for row in steps]
            below = max((i for i, above in enumerate(there) if not above), default=-1)
            first = steps[below + 1] if below + 1 < len(steps) else {}
            known = {name: first.get(name) for name in ("head", "value", "lower", "upper")}
            found.append(
                {
                    "seed": seed,
                    "statistic": statistic,
                    "name": each.name,
                    "bar": each.bar,
                    "at": first.get("step"),
                    "before": steps[below]["step"] if below >= 0 and first else None,
                    **known,
                    "last": steps[-1]["step"],
                }
            )
    return pl.DataFrame(found, infer_schema_length=None).cast(
        {"at": pl.Int64, "before": pl.Int64, "value": pl.Float64}
    )


def order(found: pl.DataFrame, seed: int) -> list[list[str]]:
    """In which order phenomena appear in one seed.

    Args:
        found: Of `appearances`.
        seed: Which.

    Returns:
        Their names, those of one kept step together since nobody saw which came first; what has
        not appeared is left out.
    """
    own = found.filter(pl.col("at").is_not_null(), seed=seed)
    steps = own.partition_by("at", as_dict=True, maintain_order=True)
    return [steps[step]["name"].to_list() for step in sorted(steps)]


def order_said(found: pl.DataFrame) -> str:
    """The order in which phenomena appear, as sentences: of all seeds, or seed by seed.

    Args:
        found: Of `appearances`.
    """
    seeds = found["seed"].unique(maintain_order=True).to_list()
    orders = {seed: order(found, seed) for seed in seeds}
    if len({str(names) for names in orders.values()}) == 1:
        return f"In each of {len(seeds)} training seeds, {_told(orders[seeds[0]], found)}."
    told = "; ".join(
        f"in seed {seed} {_told(orders[seed], found.filter(seed=seed))}" for seed in seeds
    )
    always = _always(list(orders.values()))
    kept = f" In every seed {' and '.join(always)}." if always else ""
    return f"The order differs between training seeds: {told}.{kept}"


def _told(names: list[list[str]], found: pl.DataFrame) -> str:
    """One order in words: what appears by which kept step, and what has not."""
    kept = found.group_by("name", maintain_order=True).agg(pl.col("at").drop_nulls())
    steps = dict(kept.iter_rows())
    seen = [
        " and ".join(f"{name} ({_span(steps[name])})" for name in together) for together in names
    ]
    left = [name for name in steps if not any(name in together for together in names)]
    later = f"; not yet {' and '.join(left)}" if left else ""
    return f"{', then '.join(seen)} appear{later}" if seen else "nothing has appeared"


def _span(steps: list[int]) -> str:
    first, last = min(steps), max(steps)
    return f"by step {first:,}" if first == last else f"by steps {first:,} to {last:,}"


def _always(orders: list[list[list[str]]]) -> list[str]:
    """Which of two comes first wherever both appear, if that is so in every seed."""
    places = [{n: i for i, names in enumerate(each) for n in names} for each in orders]
    names = [each.name for each in PHENOMENA.values()]
    return [
        f"{one} comes before {other}"
        for one in names
        for other in names
        if all(one in at and other in at and at[one] < at[other] for at in places)
    ]


def trained_said(rows: pl.DataFrame, n_steps: int) -> str:
    """How far the seeds are trained, in words.

    Args:
        rows: Of `Measured`.
        n_steps: Of the whole recipe.
    """
    last = rows.group_by("seed", maintain_order=True).agg(pl.col("step").max()).rows()
    short = [f"seed {seed} to step {step:,}" for seed, step in last if step < n_steps]
    if not short:
        return f"All {len(last)} seeds are trained to the end, step {n_steps:,}."
    return (
        f"What is shown here was trained no further than this: {', '.join(short)}, of {n_steps:,} "
        "steps of the recipe; what changes later is not seen."
    )


def curve_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """The curves to draw.

    Args:
        rows: Of `Measured`.

    Returns:
        Columns `panel` (what a value is), `bar`, `seed` in words, `step`, `value`, `lower`, `upper`
        and `n`, `head` ("" where a number is of none).
    """
    frames = [
        rows.filter(statistic=statistic).select(
            panel=pl.lit(each.unit),
            bar=pl.lit(each.bar),
            seed=pl.format("seed {}", "seed"),
            step="step",
            value="value",
            lower="lower",
            upper="upper",
            n="n",
            head=pl.col("head").fill_null(""),
        )
        for statistic, each in PHENOMENA.items()
    ]
    return pl.concat(frames)


def bracket_rows(found: pl.DataFrame) -> pl.DataFrame:
    """Between which steps phenomena appear, to draw beside `curve_rows`.

    Args:
        found: Of `appearances`.

    Returns:
        Columns `panel`, `seed` in words, `bar`, `before` and `at`.
    """
    units = {statistic: each.unit for statistic, each in PHENOMENA.items()}
    return found.drop_nulls("at").select(
        panel=pl.col("statistic").replace_strict(units, return_dtype=pl.String),
        seed=pl.format("seed {}", "seed"),
        bar="bar",
        before=pl.col("before").fill_null(0),
        at="at",
    )


def appearance_table(found: pl.DataFrame) -> pl.DataFrame:
    """When and by which head each phenomenon appears, a column for each seed.

    Args:
        found: Of `appearances`.

    Returns:
        Columns `what appears`, `interval above`, and one for each seed.
    """
    cells = [_cell(row) for row in found.to_dicts()]
    told = found.select(
        pl.col("name").alias("what appears"),
        pl.col("bar").alias("interval above"),
        pl.format("seed {}", "seed").alias("seed"),
        pl.Series("cell", cells, dtype=pl.String),
    )
    index = ("what appears", "interval above")
    return told.pivot("seed", index=index, values="cell", maintain_order=True)


def _cell(row: Mapping[str, Any]) -> str:
    if row["at"] is None:
        return f"not by step {row['last']:,}"
    before = "" if row["before"] is None else f"after {row['before']:,}, "
    return f"{before}by {row['at']:,}: {number_said(row)}"


def number_said(row: Mapping[str, Any]) -> str:
    """A measured number with its interval, and the head that has it."""
    head = f"{row['head']} " if row["head"] else ""
    value, lower, upper = (round(row[name], 2) + 0.0 for name in ("value", "lower", "upper"))
    return f"{head}{value:.2f} ({lower:.2f} to {upper:.2f})"


def step_table(rows: pl.DataFrame, seed: str) -> pl.DataFrame:
    """All that was measured of one seed.

    Args:
        rows: Of `Measured`.
        seed: In words, as `seed_choices` gives it.

    Returns:
        A row for each kept step, a column for each statistic.
    """
    own = rows.filter(pl.format("seed {}", "seed") == seed)
    told = own.with_columns(
        cell=pl.Series([number_said(row) for row in own.to_dicts()], dtype=pl.String),
        statistic=pl.col("statistic").str.replace_all("_", " "),
    )
    return told.pivot("statistic", index="step", values="cell", maintain_order=True)


def seed_choices(rows: pl.DataFrame) -> list[str]:
    """Seeds in words, to choose among."""
    return [f"seed {seed}" for seed in rows["seed"].unique(maintain_order=True)]


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
