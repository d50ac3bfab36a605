"""What was timed, arranged for a reader: ratios with their spread, memory, agreement, growth."""

from dataclasses import replace
from typing import Any

import polars as pl

from analysis.questions.asked import Profile
from analysis.studies.speed.contenders.race import EXACT

from . import CostGrowth, Growth, Plan, Task, Timings, here

_MIB = 2.0**20
_N_SEQUENCES = 1

CHAPTER = Plan(
    models=("small",),
    tasks=("A", "S"),
    n_sequences=_N_SEQUENCES,
    n_tokens=32,
    heads=None,
    repeats=3,
    batch=1,
    compiled=False,
    device="cpu",
)
"""What the book times itself, in some seconds."""


TINY = replace(CHAPTER, n_tokens=8, heads=4, repeats=1)


def questions(profile: str) -> list[Timings | CostGrowth]:
    """All that the book times itself, on this machine.

    Args:
        profile: A value of `Profile`; a tiny one shows that it can be timed, and no more.

    Returns:
        A race for each task, and how the cost of a sweep grows with layers.
    """
    plan = TINY if profile == Profile.TINY.value else CHAPTER
    sizes = {"n_tokens": plan.n_tokens, "repeats": min(2, plan.repeats)}
    growth = CostGrowth(axis="layers", n_sequences=_N_SEQUENCES, **sizes, **here("cpu"))
    return [*plan.questions(), growth]


def measured(speed: pl.DataFrame) -> pl.DataFrame:
    """Name the measurements.

    Args:
        speed: Rows of the view `speed`.

    Returns:
        The same with `measurement`, different for every run; task A first, the largest first.
    """
    sampled = pl.when(pl.col("n_ablated") < pl.col("n_heads")).then(
        pl.format(", {} of {} heads", "n_ablated", "n_heads")
    )
    elsewhere = pl.when(pl.col("device") != "cpu").then(pl.format(", {}", "device"))
    named = speed.with_columns(
        measurement=pl.format(
            "{}: {}, {} x {} tokens{}{}",
            *("task", "model", "n_sequences", "n_tokens"),
            sampled.otherwise(pl.lit("")),
            elsewhere.otherwise(pl.lit("")),
        )
    )
    alike = pl.col("run").n_unique().over("measurement") > 1
    marked = pl.format("{} ({})", "measurement", pl.col("run").str.slice(0, 6))
    size = pl.col("n_sequences").cast(pl.Int64) * pl.col("n_tokens") * pl.col("n_heads")
    return named.with_columns(
        measurement=pl.when(alike).then(marked).otherwise("measurement"), size=size
    ).sort("task", "size", "started", "ratio", descending=[False, True, True, False])


def largest(rows: pl.DataFrame, task: Task) -> pl.DataFrame:
    """The rows of the largest measurement of a task, the latest of those as large."""
    asked = rows.filter(task=task.name)
    return asked.filter(run=asked["run"][0])


def told(rows: pl.DataFrame) -> str:
    """One measurement in a sentence: how long ours takes, and how many times as long others."""
    ours = _ours(rows)
    others = rows.filter(~pl.col("contender").str.starts_with("ours"))
    parts = [
        f"{one['contender']} **{one['ratio']:.2f} times** as long "
        f"({one['ratio_lower']:.2f} to {one['ratio_upper']:.2f})"
        if one["laps"]
        else f"{one['contender']} took no part"
        for one in others.iter_rows(named=True)
    ]
    what = Task[ours["task"]].value.split(":")[0].capitalize()
    return (
        f"{what} of **{ours['model']}** ({ours['sizes']}), on {ours['n_sequences']} x "
        f"{ours['n_tokens']} tokens: ours takes {ours['seconds']:.3g} s ({ours['fastest']:.3g} to "
        f"{ours['slowest']:.3g}), {', '.join(parts)}"
    )


def saved(rows: pl.DataFrame) -> float:
    """Our share of the operations of whole passes, in one measurement of task A."""
    return _ours(rows)["flops"] / rows["flops"].max()


def nearest(rows: pl.DataFrame) -> str:
    """Who comes nearest to ours, in a sentence."""
    others = rows.filter(~pl.col("contender").str.starts_with("ours"), pl.col("laps") > 0)
    if others.is_empty():
        return "Nobody else took part"
    one = others.sort("ratio").row(0, named=True)
    return f"The fastest of the others, {one['contender']}, takes {one['ratio']:.2f} times as long"


def _ours(rows: pl.DataFrame) -> dict[str, Any]:
    return rows.filter(contender=EXACT).row(0, named=True)


def contender_table(rows: pl.DataFrame) -> pl.DataFrame:
    """The contenders of one measurement.

    Args:
        rows: Rows of `measured`.

    Returns:
        Columns `contender`, `seconds` and `times ours` (median, with smallest and largest),
        `extra MiB`, `difference`, `answer`, `GFLOP`, `of the matmul rate` in % and `package`.
    """
    return pl.DataFrame(
        {
            "contender": one["contender"],
            "seconds": _spread(one, "seconds", "fastest", "slowest"),
            "times ours": _spread(one, "ratio", "ratio_lower", "ratio_upper"),
            "extra MiB": _rounded(one["extra_bytes"], _MIB, 1),
            "difference": None if one["difference"] is None else f"{one['difference']:.1e}",
            "answer": _answer(one),
            "GFLOP": _rounded(one["flops"], 1e9, 2),
            "of the matmul rate": None if one["share"] is None else f"{one['share']:.0%}",
            "package": one["package"],
        }
        for one in rows.iter_rows(named=True)
    )


def _spread(one: dict[str, Any], middle: str, low: str, high: str) -> str | None:
    if not one["laps"]:
        return None
    return f"{one[middle]:.3g} ({one[low]:.3g} to {one[high]:.3g})"


def _rounded(value: int | None, unit: float, digits: int) -> float | None:
    return None if value is None else round(value / unit, digits)


def _answer(one: dict[str, Any]) -> str:
    """Whether a contender says the same as the reference."""
    if one["absence"] is not None:
        return f"none: {one['absence']}"
    if one["contender"] == one["reference"]:
        return "what the others are compared with"
    if one["agrees"] is not None:
        return "agrees" if one["agrees"] else "DIFFERS"
    rank = one["rank_correlation"]
    ranked = "" if rank is None else f", Spearman {rank:.4f}"
    return (
        f"preview: KL off by {one['relative_error']:.2%} (median) and "
        f"{one['largest_relative_error']:.2%} (largest){ranked}"
    )


def race_table(rows: pl.DataFrame) -> pl.DataFrame:
    """What was measured, on what, and when: one row a measurement, each linked to its run."""
    return rows.unique("run", keep="first", maintain_order=True).select(
        "measurement",
        "sizes",
        "processor",
        "threads",
        "device",
        "torch",
        (pl.col("rate_float32", "rate_bfloat16") / 1e9).round(0).name.map(_rate),
        pl.col("started").dt.strftime("%Y-%m-%d %H:%M"),
        run=pl.lit("run"),
        run_link=pl.format("run:{}", "run"),
    )


def _rate(name: str) -> str:
    return f"{name.removeprefix('rate_')}, GFLOP/s"


def growth_table(rows: pl.DataFrame) -> pl.DataFrame:
    """How the cost of our task A grew.

    Args:
        rows: Rows of `cost_growth`.

    Returns:
        A row a run: what grew, sizes, seconds, GFLOP, both exponents, and on what.
    """
    found: list[dict[str, Any]] = []
    for (run,), points in rows.partition_by("run", as_dict=True, maintain_order=True).items():
        grown, at = Growth.of(points), points.row(0, named=True)
        by_time, by_flops = grown.exponents
        found.append(
            {
                "what grows": grown.axis,
                "sizes": ", ".join(map(str, grown.sizes)),
                "seconds": ", ".join(f"{s:.2g}" for s in grown.seconds),
                "GFLOP": ", ".join(f"{f / 1e9:.3g}" for f in grown.flops),
                "exponent of seconds": round(by_time, 2),
                "exponent of GFLOP": round(by_flops, 2),
                "from": f"{at['model']}, {at['n_sequences']} x {at['n_tokens']} tokens",
                "on": f"{at['processor']}, threads {at['threads']}, {at['device']}",
                "run": "run",
                "run_link": f"run:{run}",
            }
        )
    return pl.DataFrame(found)
