"""Our results in the formats of published studies: what is written can be read back."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from analysis.errors import UserError
from analysis.studies.published import (
    Heading,
    Samples,
    ablation_json,
    detection_json,
    lag_csv,
    listed_json,
    pairs_json,
    read_published,
    table_csv,
)

FINITE = st.floats(-1e9, 1e9)
HEADS = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=6, unique=True
)
HEADING = Heading(method="qr_score", model_key="reference", question="all", total_tokens=256)


@given(heads=HEADS, data=st.data())
def test_our_rankings_come_back_as_they_went(heads, data):
    values = data.draw(st.lists(FINITE, min_size=len(heads), max_size=len(heads)))
    rows = pl.DataFrame(
        [(*head, value, 7) for head, value in zip(heads, values, strict=True)],
        schema={"layer": pl.Int16, "head": pl.Int16, "value": pl.Float64, "n": pl.Int32},
        orient="row",
    )
    samples = Samples(samples_processed=9, successful_retrievals=7)
    texts = (detection_json(rows, HEADING, samples), pairs_json(rows), table_csv(rows))
    for text in texts:
        back = read_published(text.encode()).rows
        kept = back.select("layer", "head", value="score")
        assert_frame_equal(kept, rows.drop("n"), check_row_order=False, check_exact=True)
        assert back.sort("rank")["score"].is_sorted(descending=True)
    detected = read_published(texts[0].encode())
    assert detected.remarks().is_empty()
    first = detected.rows.row(0, named=True)
    assert {name: first[name] for name in vars(HEADING)} == vars(HEADING)
    assert (first["samples_processed"], first["successful_retrievals"]) == (9, 7)


@given(scores=st.lists(FINITE, min_size=6, max_size=6))
def test_our_scores_of_samples_come_back_as_they_went(scores):
    places = {"layer": [0, 0, 0, 3, 3, 3], "head": [1] * 6, "sequence": [0, 1, 2] * 2}
    rows = pl.DataFrame({**places, "value": scores})
    back = read_published(listed_json(rows.reverse()).encode()).rows
    kept = back.filter(pl.col("sample").is_not_null())
    assert kept.select("layer", "head", "sample", "score").rows() == rows.rows()


def test_our_curves_come_back_as_they_went():
    rows = pl.DataFrame(
        {
            "family": ["base", "top", "top", "random", "random", "random", "layer_matched"],
            "size": [0, 1, 2, 1, 1, 2, 1],
            "heads": [None, "L1H0", "L1H0,L2H3", "L0H0", "L0H1", "L0H0,L0H1", "L1H1"],
            "correct": [97, 80, 3, 96, 97, 95, 96],
            "total": [100] * 7,
        }
    )
    published = read_published(ablation_json(rows, HEADING).encode())
    assert published.remarks().is_empty()
    back = published.rows
    kept = back.select(rows.columns)
    written = rows.filter(pl.col("family") != "layer_matched")
    assert_frame_equal(kept, written, check_dtypes=False)
    assert back.filter(family="random")["draw"].to_list() == [0, 1, 0]
    assert back["drop"].to_list()[1:] == pytest.approx([0.17, 0.94, 0.01, 0, 0.02])
    assert (back["stated_drop"] == back["drop"]).drop_nulls().all()


def test_our_lag_profiles_come_back_as_they_went():
    rows = pl.DataFrame({"lag": [2, -1, 1], "p": [0.1, 1 / 3, 1e-9]})
    back = read_published(lag_csv(rows).encode()).rows
    assert_frame_equal(back, rows.sort("lag"), check_dtypes=False, check_exact=True)


def test_frames_of_something_else_are_not_written():
    rows = pl.DataFrame({"layer": [0], "head": [0]})
    with pytest.raises(UserError, match="none named n, value; rename"):
        detection_json(rows, HEADING, None)
    curve = pl.DataFrame({"family": ["top"], "size": [1], "heads": ["L0H0"]})
    with pytest.raises(UserError, match=r"one row of the family `base`, got 0"):
        ablation_json(curve.with_columns(correct=1, total=1), HEADING)
