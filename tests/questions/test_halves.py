"""Heads are chosen on the even sequences."""

import numpy as np
import polars as pl

from analysis.interventions import Head
from analysis.questions.halves import (
    heads_by_score,
    odd_values,
    strongest_first,
    strongest_head,
)

MEANS = {(0, 0): 0.1, (0, 1): 0.6, (1, 0): 0.3, (1, 1): 0.02}


def scores() -> pl.DataFrame:
    """Odd sequences, and the aggregate, say the opposite."""
    rows = [
        {"score": "s", "data": "d", "layer": layer, "head": head, "sequence": sequence}
        | {"value": mean if sequence in {0, 2, 4} else 1 - mean}
        for (layer, head), mean in MEANS.items()
        for sequence in (0, 1, 2, 3, 4, None)
    ]
    return pl.DataFrame(rows)


def test_the_even_sequences_alone_rank():
    assert [head for head, _ in heads_by_score(scores(), "s", "d")] == [
        *(Head(0, 1), Head(1, 0), Head(0, 0), Head(1, 1))
    ]
    assert strongest_head(scores(), "s", "d") == Head(0, 1)
    np.testing.assert_allclose(odd_values(scores(), "s", "d", Head(0, 1)), 0.4)


def test_equal_and_unknown_means_keep_their_order():
    values = np.array([[0.1, 0.6, 0.3, np.nan, 0.3], [9.0, 0.0, 0.0, 0.0, 0.0]])
    assert strongest_first(values).tolist() == [1, 2, 4, 0, 3]
