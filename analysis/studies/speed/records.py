"""What the store keeps of a race: one row about it, and one for every lap of every contender."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from analysis.studies.speed.contenders.peers import PEERS
from analysis.studies.speed.contenders.race import (
    EXACT,
    PLAIN,
    Entry,
    Errors,
    Race,
    errors,
    seconds,
)
from analysis.studies.speed.contenders.tasks import Task, Work

_RACE = {
    "flops": pl.Int64,
    "least_effect": pl.Float64,
    "largest_effect": pl.Float64,
}
_TIMING = {
    "package": pl.String,
    "lap": pl.Int32,
    "seconds": pl.Float64,
    "extra_bytes": pl.Int64,
    "difference": pl.Float64,
    "agrees": pl.Boolean,
    **dict.fromkeys(("relative_error", "largest_relative_error", "rank_correlation"), pl.Float64),
    "flops": pl.Int64,
    "share": pl.Float64,
    "absence": pl.String,
}
"""Columns that may be NULL."""

Flops = tuple[int, int]
"""Of a task: by our sweep, and by whole passes."""


def recorded(
    task: Task, named: tuple[str, str], work: Work, found: Race, flops: Flops | None
) -> dict[str, pl.DataFrame]:
    """Put a race's numbers in rows.

    Args:
        task: What was raced.
        named: Name and sizes of the model.
        work: The question.
        found: What was measured, ours in float32 first.
        flops: Operations of A; None for S.

    Returns:
        `races` without what is known of the machine, and `timings` without packages' versions.
    """
    ours = found.entries[0]
    assert ours.contender.name == EXACT
    kl = ours.answer.get("kl_base_ablated")
    reference = next(
        (entry for entry in found.entries if entry.run and entry.contender.name == PLAIN), ours
    )
    race = {
        "task": task.name,
        "model": named[0],
        "sizes": named[1],
        "n_sequences": work.ids.shape[0],
        "n_tokens": work.ids.shape[1],
        "batch": work.batch,
        "n_ablated": len(work.heads),
        "n_heads": round(work.scale * len(work.heads)),
        "reference": reference.contender.name,
        "flops": None if flops is None else flops[0],
        "least_effect": None if kl is None else float(kl.min()),
        "largest_effect": None if kl is None else float(kl.max()),
        "rate_float32": found.rates["float32"],
        "rate_bfloat16": found.rates["bfloat16"],
    }
    laps = [
        {"task": task.name, "model": named[0], **row}
        for entry in found.entries
        for row in _laps(task, entry, reference, work.scale, found, flops)
    ]
    return {
        "races": pl.DataFrame([race], schema_overrides=_RACE),
        "timings": pl.DataFrame(laps, schema_overrides=_TIMING, infer_schema_length=None),
    }


def _laps(
    task: Task, entry: Entry, reference: Entry, scale: float, found: Race, flops: Flops | None
) -> Iterator[dict[str, Any]]:
    """Rows of a contender: one a lap, or one that says why there is none."""
    contender = entry.contender
    said: dict[str, Any] = {
        **dict.fromkeys(_TIMING),
        "contender": contender.name,
        "preview": contender.preview,
    }
    if entry.run is None:
        yield {**said, "absence": entry.reason}
        return
    if entry is not reference:
        said |= _agreement(task, entry, errors(task, entry, reference.answer))
    own_flops = None if flops is None else flops[contender.name in PEERS]
    for lap, took in enumerate(seconds(entry, scale)):
        share = None
        if own_flops is not None and not contender.preview:
            share = own_flops / found.rates["float32"] / took
        yield {
            **said,
            "lap": lap,
            "seconds": took,
            "extra_bytes": entry.laps[lap].extra_bytes,
            "flops": own_flops,
            "share": share,
        }


def _agreement(task: Task, entry: Entry, error: Errors) -> dict[str, Any]:
    middle, largest = (None, None) if error.relative is None else error.relative[::-1]
    return {
        "difference": error.largest,
        "agrees": None if entry.contender.preview else error.largest <= task.tolerance,
        "relative_error": middle,
        "largest_relative_error": largest,
        "rank_correlation": error.rank_correlation,
    }
