"""When heads and copying appear in training, and in which order, seed by seed."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.scores.registry import registered
from analysis.studies.atlas.claims import COPIES


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
    is_share: bool = True
    """Whether it lies in [0, 1]."""
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
        name="a lower loss on a second copy",
        unit="gain on a second copy, nats",
        bar=COPIES,
        is_share=False,
    ),
}
"""By the statistic that shows them."""


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
    if not any(orders.values()):
        names = " nor ".join(each.name for each in PHENOMENA.values())
        return f"Up to the last kept step, neither {names} has appeared in any of the seeds."
    if len({str(names) for names in orders.values()}) == 1:
        return f"In each of {len(seeds)} training seeds, {_told(orders[seeds[0]], found)}."
    told = "; ".join(
        f"in seed {seed} {_told(orders[seed], found.filter(seed=seed))}" for seed in seeds
    )
    always = _always(list(orders.values()))
    kept = f" In every seed {' and '.join(always)}." if always else ""
    return f"The order differs between training seeds: {told}.{kept}"


def order_title(found: pl.DataFrame) -> str:
    """The same in a few words, for a figure."""
    seeds = found["seed"].unique().to_list()
    if found["at"].is_null().all():
        return "Nothing has appeared yet"
    same = len({str(order(found, seed)) for seed in seeds}) == 1
    return f"{'In the same order' if same else 'Not in the same order'} in {len(seeds)} seeds"


def _told(names: list[list[str]], found: pl.DataFrame) -> str:
    """One order in words: what appears by which kept step, and what has not."""
    kept = found.group_by("name", maintain_order=True).agg(pl.col("at").drop_nulls())
    steps = dict(kept.iter_rows())
    seen = [
        " and ".join(f"{name} ({_span(steps[name])})" for name in together) for together in names
    ]
    left = [name for name in steps if not any(name in together for together in names)]
    later = f"; not yet {' and '.join(left)}" if left else ""
    return f"first {', then '.join(seen)}{later}" if seen else "nothing has appeared"


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
        Columns `panel` (what a value is), `is_share`, `bar`, `seed` in words, `step`, `value`,
        `lower`, `upper`, `n` and `head` ("" where a number is of none).
    """
    frames = [
        rows.filter(statistic=statistic).select(
            panel=pl.lit(each.unit),
            is_share=pl.lit(each.is_share),
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
