"""From measured effects of conditions to the tidy rows of the store's tables."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from analysis.interventions import METRICS, Condition, Effects
from analysis.statistics.resampling import bootstrap

from .rows import Labels


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
        Frames by table; scopes that could not be measured have no rows.
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
        _means(keys, metric, array.reshape(-1, n_sequences), labels.seed)
        for metric, array in effects.values.items()
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
    estimate = bootstrap(values.T, seed)
    rows = keys.with_columns(
        metric=pl.lit(metric),
        value=pl.Series(estimate.mean),
        lower=pl.Series(estimate.lower),
        upper=pl.Series(estimate.upper),
        n=pl.Series(estimate.n, dtype=pl.Int32),
    ).filter(pl.col("value").is_not_nan())
    return rows.with_columns(pl.col("lower", "upper").fill_nan(None))


def _joined(parts: Iterable[str]) -> str:
    """Different parts in order, separated by commas."""
    return ",".join(dict.fromkeys(parts))
