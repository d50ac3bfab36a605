"""Our own results in the formats that published studies use: frames in, text out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from analysis.errors import UserError

from .curves import FAMILIES


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What a result file says of its model and its task."""

    method: str
    """Of detection: the score that the heads are ranked by."""
    model_key: str
    question: str
    total_tokens: int
    """Length of the prompts."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """How many samples a detection read."""

    samples_processed: int
    successful_retrievals: int
    """Those that the model answered correctly."""


def ablation_json(rows: pl.DataFrame, heading: Heading) -> str:
    """A file of ablation curves.

    Args:
        rows: One row for each condition: `family` (base, top or random), `size` (heads ablated
            together, 0 for base), `heads` (as `L1H4,L2H0`; any for base), `correct` and `total`
            (items). One base row; other families are left out.
        heading: What the file says of its model and task.

    Returns:
        JSON. Accuracies are shares; a drop is base minus ablated.

    Raises:
        UserError: A column is missing, or there is not one base row.
    """
    _require(rows, ("family", "size", "heads", "correct", "total"))
    base = rows.filter(family="base").to_dicts()
    if len(base) != 1:
        raise UserError(
            f"expected one row of the family `base`, got {len(base)}; choose one curve's rows"
        )
    baseline = _outcome(base[0])
    sets = rows.filter(pl.col("family").is_in(list(FAMILIES)))
    levels = sets["size"].unique().sort().to_list()
    said: dict[str, Any] = {**asdict(heading), "ablation_levels": levels, "baseline": baseline}
    for family, name in FAMILIES.items():
        said[name] = [
            _set(row, baseline["accuracy"]) for row in sets.filter(family=family).to_dicts()
        ]
    return _text(said)


def _outcome(row: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = row["correct"] / row["total"]
    return {"accuracy": accuracy, "correct": row["correct"], "total": row["total"]}


def _set(row: Mapping[str, Any], base: float) -> dict[str, Any]:
    outcome = _outcome(row)
    drop = {"accuracy_drop": base - outcome["accuracy"]}
    return {"num_heads": row["size"], "heads_str": row["heads"], **drop, **outcome}


def detection_json(rows: pl.DataFrame, heading: Heading, samples: Samples | None) -> str:
    """A file of heads with score and rank.

    Args:
        rows: One row for each head: `layer`, `head`, `value` (the score) and `n` (the samples it
            is a mean of).
        heading: What the file says of its model and task.
        samples: How many samples there were; None where that is not known.

    Returns:
        JSON, the largest score first; equal scores in the order of the heads.

    Raises:
        UserError: A column is missing.
    """
    _require(rows, ("layer", "head", "value", "n"))
    ordered = rows.sort("value", "layer", "head", descending=[True, False, False])
    rankings = [
        {
            "head": f"L{row['layer']}H{row['head']}",
            "score": row["value"],
            "num_samples": row["n"],
            "rank": rank,
        }
        for rank, row in enumerate(ordered.to_dicts(), start=1)
    ]
    counts = {} if samples is None else asdict(samples)
    return _text({**asdict(heading), **counts, "head_rankings": rankings})


def listed_json(rows: pl.DataFrame) -> str:
    """A file `{"layer-head": [scores, one a sample]}`.

    Args:
        rows: One row for each head and sample: `layer`, `head`, `sequence` and `value`.

    Returns:
        JSON, heads in order, each with its scores in the order of the samples.

    Raises:
        UserError: A column is missing.
    """
    _require(rows, ("layer", "head", "sequence", "value"))
    ordered = rows.sort("layer", "head", "sequence")
    heads = ordered.group_by("layer", "head", maintain_order=True).agg("value")
    return _text({f"{layer}-{head}": scores for layer, head, scores in heads.iter_rows()})


def pairs_json(rows: pl.DataFrame) -> str:
    """A file `[["layer-head", score], ...]`.

    Args:
        rows: One row for each head: `layer`, `head` and `value`.

    Returns:
        JSON, the largest score first.

    Raises:
        UserError: A column is missing.
    """
    _require(rows, ("layer", "head", "value"))
    ordered = rows.sort("value", "layer", "head", descending=[True, False, False])
    return _text([[f"{row['layer']}-{row['head']}", row["value"]] for row in ordered.to_dicts()])


def table_csv(rows: pl.DataFrame) -> str:
    """A table `scores,layer,head`.

    Args:
        rows: One row for each head: `layer`, `head` and `value`.

    Returns:
        CSV, the largest score first.

    Raises:
        UserError: A column is missing.
    """
    _require(rows, ("layer", "head", "value"))
    ordered = rows.sort("value", "layer", "head", descending=[True, False, False])
    return ordered.select(pl.col("value").alias("scores"), "layer", "head").write_csv()


def lag_csv(rows: pl.DataFrame) -> str:
    """A table `Lag,Mean Probability`.

    Args:
        rows: One row for each lag: `lag` and `p`.

    Returns:
        CSV, the smallest lag first.

    Raises:
        UserError: A column is missing.
    """
    _require(rows, ("lag", "p"))
    names = {"Lag": "lag", "Mean Probability": "p"}
    return rows.sort("lag").select(**names).write_csv()


def _require(rows: pl.DataFrame, columns: Sequence[str]) -> None:
    if missing := sorted(set(columns) - set(rows.columns)):
        raise UserError(
            f"expected the columns {', '.join(columns)}, got none named {', '.join(missing)}; "
            "rename them"
        )


def _text(said: object) -> str:
    return json.dumps(said, indent=1, allow_nan=False) + "\n"
