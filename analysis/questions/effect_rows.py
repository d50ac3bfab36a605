"""From effects of conditions, on predictions and on scores, to rows of the store's tables."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.interventions import METRICS, Condition, Effects, Head
from analysis.interventions.effects import KL_ERROR
from analysis.models.files.card import ModelCard
from analysis.statistics.resampling import bootstrap

from .rows import Labels, interval_columns


def condition_rows(conditions: Sequence[Condition], labels: Labels) -> pl.DataFrame:
    """Rows of `ablations`: what every condition replaces."""
    return pl.DataFrame(
        [
            {
                "model": labels.columns()["model"],
                "text": labels.columns()["text"],
                "condition": condition.name,
                "family": condition.family,
                "site": _joined(one.method.site.value for one in condition.interventions),
                "method": _joined(one.method.value for one in condition.interventions),
                "heads": _joined(str(h) for one in condition.interventions for h in one.heads),
                "size": len({h for one in condition.interventions for h in one.heads}),
                "positions": _joined(
                    "all" if one.positions is None else ",".join(map(str, one.positions))
                    for one in condition.interventions
                ),
                "receiver": None,
                "scope": "prefill",
                "baseline": "model",
                "draw": condition.draw,
            }
            for condition in conditions
        ],
        schema_overrides={"text": pl.String, "receiver": pl.String, "size": pl.Int32}
        | {"draw": pl.Int32},
    )


def effect_rows(effects: Effects, labels: Labels) -> dict[str, pl.DataFrame]:
    """Rows of `ablations`, `ablation_effects` and `ablation_means`.

    Args:
        effects: What was measured.
        labels: What the rows are about.

    Returns:
        Frames by table; scopes that could not be measured have no rows. Where tokens were drawn,
        means of what `DRAWING` names stand beside those of the metrics.
    """
    names = [condition.name for condition in effects.conditions]
    n_sequences = next(iter(effects.values.values())).shape[2]
    where = [{"condition": name, "scope": scope} for name in names for scope in effects.scopes]
    keys = pl.DataFrame(where)
    each = pl.DataFrame(
        {
            "condition": np.repeat(keys["condition"].to_numpy(), n_sequences),
            "scope": np.repeat(keys["scope"].to_numpy(), n_sequences),
            "sequence": np.tile(np.arange(n_sequences, dtype=np.int32), len(keys)),
            **{metric: array.reshape(-1) for metric, array in effects.values.items()},
        }
    )
    metrics = list(effects.values)
    measured = each.filter(pl.any_horizontal(pl.col(metrics).is_not_nan()))
    means = pl.concat(
        [
            *(
                _means(keys, metric, array.reshape(-1, n_sequences), labels.seed)
                for metric, array in effects.values.items()
            ),
            *_drawing(keys, effects),
        ],
        how="diagonal",
    )
    constants = {name: pl.lit(labels.columns()[name], pl.String) for name in ("model", "text")}
    unmeasured = {name: pl.lit(None, pl.Float64) for name in METRICS if name not in metrics}
    return {
        "ablations": condition_rows(effects.conditions, labels),
        "ablation_effects": measured.with_columns(**constants, **unmeasured).with_columns(
            pl.col(metrics).fill_nan(None)
        ),
        "ablation_means": means.with_columns(**constants),
    }


def _means(keys: pl.DataFrame, metric: str, values: np.ndarray, seed: int) -> pl.DataFrame:
    found = interval_columns(bootstrap(values.T, seed))
    rows = keys.with_columns(pl.lit(metric).alias("metric"), *found.get_columns())
    return rows.filter(pl.col("value").is_not_nan())


def _drawing(keys: pl.DataFrame, effects: Effects) -> list[pl.DataFrame]:
    """How good estimates by drawn tokens are: of means over all sequences that were measured."""
    frames: list[pl.DataFrame] = []
    for name, array in effects.drawing.items():
        each = array.reshape(len(keys), -1)
        known = ~np.isnan(each)
        counts = known.sum(1)
        total = np.where(known, each**2 if name == KL_ERROR else each, 0).sum(1)
        value = (np.sqrt(total) if name == KL_ERROR else total) / np.maximum(1, counts)
        columns = {"metric": pl.lit(name), "value": pl.Series(value), "n": pl.Series(counts)}
        frames.append(
            keys.with_columns(**columns)
            .filter(pl.col("n") > 0)
            .with_columns(pl.col("n").cast(pl.Int32))
        )
    return frames


def _joined(parts: Iterable[str]) -> str:
    """Different parts in order, separated by commas."""
    return ",".join(dict.fromkeys(parts))


def head_effects(
    changes: Float[np.ndarray, "condition sequence head"],
    conditions: Sequence[str],
    heads: Sequence[Head],
    score: str,
    labels: Labels,
) -> pl.DataFrame:
    """What conditions change in a score of some heads.

    Args:
        changes: Ablated minus base.
        conditions: Names of the conditions.
        heads: The scored heads.
        score: Its name.
        labels: What the rows are about.

    Returns:
        One aggregate row a condition and head, and one for each sequence.
    """
    n_conditions, n_sequences, n_heads = changes.shape
    flat = changes.transpose(1, 0, 2).reshape(n_sequences, -1)
    keys = pl.DataFrame(
        {
            "condition": np.repeat(np.array(conditions, dtype=object), n_heads).tolist(),
            "layer": [head.layer for head in heads] * n_conditions,
            "head": [head.head for head in heads] * n_conditions,
        },
        schema={"condition": pl.String, "layer": pl.Int16, "head": pl.Int16},
    )
    found = interval_columns(bootstrap(flat, labels.seed))
    every = keys.with_columns(pl.lit(None, pl.Int32).alias("sequence"), *found.get_columns())
    each = [
        keys.with_columns(sequence=pl.lit(i, pl.Int32), value=pl.Series(row))
        for i, row in enumerate(flat)
    ]
    about = labels.columns()
    return pl.concat([every, *each], how="diagonal").select(
        *(pl.lit(about[name], pl.String).alias(name) for name in ("model", "text")),
        "condition",
        pl.lit(score).alias("score"),
        *("layer", "head", "sequence", "value", "lower", "upper", "n"),
    )


def loss_effects(
    changes: Float[np.ndarray, "condition scope sequence"],
    conditions: Sequence[Condition],
    scopes: tuple[str, ...],
    labels: Labels,
) -> dict[str, pl.DataFrame]:
    """Rows of `ablations`, `ablation_effects` and `ablation_means` where losses alone are measured.

    Args:
        changes: Next-token loss, ablated minus base; NaN where it was not measured.
        conditions: What was done.
        scopes: Names of the scopes.
        labels: What the rows are about.

    Returns:
        Frames by table; other metrics are NULL.
    """
    return effect_rows(Effects(tuple(conditions), scopes, {"loss_change": changes}), labels)


def scattered(
    values: Float[np.ndarray, "sequence head"], heads: Sequence[Head], card: ModelCard
) -> Float[np.ndarray, "sequence layer every_head"]:
    """Values of some heads among all heads of the model; the others are NaN."""
    everywhere = np.full((len(values), card.n_layers, card.n_heads), np.nan)
    for column, head in zip(values.T, heads, strict=True):
        everywhere[:, head.layer, head.head] = column
    return everywhere
