"""Rows about layers and positions."""

import numpy as np
import polars as pl
from jaxtyping import Float

from analysis.statistics.resampling import bootstrap

from .rows import Labels


def layer_profiles(
    values: Float[np.ndarray, "sequence layer pos"], profile: str, labels: Labels
) -> pl.DataFrame:
    """Rows of `layer_profiles`: the mean over sequences at every layer and position."""
    n_sequences, n_layers, n_pos = values.shape
    layer, position = np.indices((n_layers, n_pos)).reshape(2, -1)
    estimate = bootstrap(values.reshape(n_sequences, -1), labels.seed)
    rows = pl.DataFrame(
        {
            "layer": layer,
            "position": position,
            "value": estimate.mean,
            "lower": estimate.lower,
            "upper": estimate.upper,
            "n": estimate.n,
        }
    )
    shared = {name: pl.lit(value, pl.String) for name, value in labels.columns().items()}
    return rows.with_columns(**shared, profile=pl.lit(profile))
