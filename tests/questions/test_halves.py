"""Heads are chosen on the even sequences, and none below a floor is one of the strongest."""

import numpy as np
import polars as pl
import pytest

from analysis.errors import UserError
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


def test_heads_below_the_floor_are_no_heads_of_the_kind():
    assert [head for head, _ in heads_by_score(scores(), "s", "d", 0.3)] == [Head(0, 1), Head(1, 0)]
    assert strongest_head(scores(), "s", "d", 0.6) == Head(0, 1)
    values = np.array([[0.1, 0.6, 0.3, np.nan], [9.0, 0.0, 0.0, 0.0]])
    assert strongest_first(values).tolist() == [1, 2, 0, 3]
    assert strongest_first(values, 0.2).tolist() == [1, 2, 3], "what is unknown is not below"
    assert strongest_first(values, 0.7)[:1].tolist() == [3]


def test_the_absence_of_such_heads_is_one_clear_line():
    assert heads_by_score(scores(), "s", "d", 0.7) == []
    with pytest.raises(UserError, match=r"at least 0\.7 on d, got 0\.6 of L0H1 at most; nothing"):
        strongest_head(scores(), "s", "d", 0.7)
    with pytest.raises(UserError, match="got no head"):
        strongest_head(scores(), "other", "d")
