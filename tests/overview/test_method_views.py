"""What code says of itself, how far verdicts are from changing, and models beside each other."""

from dataclasses import dataclass
from enum import Enum

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.interventions import Method
from analysis.overview import documented, margins
from analysis.overview import methods as method_views
from analysis.overview import models as model_views
from analysis.questions.verdicts.verdict import Null, Verdict, verdict
from analysis.scores import induction_score

# docstrings


class Colour(Enum):
    """A colour."""

    RED = 1
    """The `red`
    one."""

    BLUE = 2


@dataclass
class Shape:
    """A shape."""

    width: int
    """How wide."""
    height: int = 3


def area(shape: Shape) -> int:
    """Its area.

    More words.

    Returns:
        The product,
        in `cm2`.

    Source:
        Euclid.
    """
    return shape.width * shape.height


def test_a_docstring_is_read_by_its_sections():
    assert documented.summary(area) == "Its area."
    assert documented.section(area, "Returns") == "The product, in cm2."
    assert documented.section(area, "Source") == "Euclid."
    assert documented.section(area, "Raises") == ""
    with pytest.raises(ValueError, match="expected a docstring of"):
        documented.summary(lambda: 0)


def test_members_and_fields_are_read_from_what_stands_under_them():
    assert documented.members(Colour) == {"RED": "The red one."}
    assert documented.members(Shape) == {"width": "How wide."}


def test_nothing_that_is_explained_lacks_an_explanation():
    kinds = method_views.kind_meanings()
    assert kinds["method"].to_list() == [method.value for method in Method]
    assert set(method_views.verdict_meanings()) == {one.value for one in Verdict}
    scores = method_views.score_meanings()
    (row,) = scores.filter(function="induction_score").to_dicts()
    assert row["what it is and gives"].startswith(documented.summary(induction_score))
    assert row["what it is and gives"].endswith("in [0, 1].")
    assert "Olsson" in row["source"]
    assert method_views.test_meanings().height == len(method_views.TESTS)
    sizes = method_views.size_table()
    assert sizes.columns == ["study", "size", "tiny", "quick", "full", "meaning"]
    assert not sizes.select("study", "size").is_duplicated().any()
    assert sizes["meaning"].str.len_chars().min() > 5
    questions = method_views.question_meanings(["BosSink", "TextScores", "BosSink", "sql"])
    assert questions.select("experiment", "runs").rows() == [("BosSink", 2), ("TextScores", 1)]
    assert questions["question"].str.len_chars().min() > 10


# margins


def claim(interval, threshold, control, *, told=None, name="one", null=None, beyond=None) -> dict:
    """A row of `claims`, its verdict by the rule unless told otherwise."""
    lower, estimate, upper = map(float, interval)
    below, middle, above = map(float, control)
    gap = beyond or (lower - above, estimate - middle, upper - below)
    found = verdict((lower, upper), float(threshold), (gap[0], gap[2]), null)
    return {
        "run": "r" * 32,
        "claim": name,
        "statement": "A thing holds",
        "statistic": "a number (n = 3; control: nothing)",
        "estimate": estimate,
        "lower": lower,
        "upper": upper,
        "control": middle,
        "control_lower": below,
        "control_upper": above,
        "threshold": float(threshold),
        "verdict": told or found.value,
        "chapter": "02_induction_circuit",
        "evidence": "[]",
        "p": None if null is None else null.p,
        "n_null": None if null is None else null.size,
        "beyond_lower": float(gap[0]),
        "beyond": float(gap[1]),
        "beyond_upper": float(gap[2]),
    }


def one_margin(**numbers) -> tuple:
    return margins.margins(pl.DataFrame([claim(**numbers)])).select("margin", "nearest").row(0)


def test_a_margin_is_the_distance_to_the_bar_that_decides():
    far = (-9, -9, -9)
    assert one_margin(interval=(2, 3, 4), threshold=1, control=far) == (1, "threshold")
    assert one_margin(interval=(2, 3, 4), threshold=1, control=(1, 1, 1)) == (1, "threshold")
    near = one_margin(interval=(2, 3, 4), threshold=0, control=(0, 0, 0), beyond=(0.5, 1, 1.5))
    assert near == (1, "control")
    assert one_margin(interval=(0, 1, 2), threshold=5, control=far) == (3, "threshold")
    assert one_margin(interval=(0, 1, 2), threshold=1.5, control=far)[0] == 0.5
    exact = one_margin(interval=(2, 2, 2), threshold=1, control=(0, 0, 0))
    assert exact == (None, None), "an interval without width is no number of half-widths"


def test_p_stays_what_it_is():
    common, small = Null(p=0.5, size=99), Null(p=0.2, size=4)
    place = {"interval": (2, 3, 4), "threshold": 1, "control": (-9, -9, -9)}
    assert claim(**place, null=common)["verdict"] == "not shown"
    assert one_margin(**place, null=common) == (1, "threshold"), "then the interval is undecided"
    assert claim(**place, null=small)["verdict"] == "not testable"
    assert one_margin(**place, null=small) == (3, "threshold"), "it can be refuted"
    told = margins.widened(pl.DataFrame([claim(**place, null=common)]), 4.0)
    assert told["then"].to_list() == ["undecided"]


def test_a_claim_of_less_is_weighed_the_other_way_round():
    """Estimate, control and threshold as they are said; the distance on the claim's side."""
    below = claim((0.1, 0.2, 0.3), 0.5, (0.7, 0.8, 0.9), told="supported", beyond=(0.4, 0.6, 0.8))
    turned = pl.DataFrame([below])
    (margin,) = margins.margins(turned)["margin"]
    assert margin == pytest.approx(2)
    assert margins.widened(turned, 4.0)["then"].to_list() == ["undecided"]
    # an estimate above what it should be below: more sequences refute it, and do not support it
    beyond = (0.1, 0.2, 0.3)
    above = claim((0.22, 0.26, 0.27), 0.25, (0.4, 0.46, 0.5), told="undecided", beyond=beyond)
    narrow = margins.widened(pl.DataFrame([above]), 0.1)
    assert narrow["then"].to_list() == ["refuted"]


def test_a_verdict_that_rests_on_more_has_no_margin():
    told = claim(interval=(2, 3, 4), threshold=1, control=(0, 0, 0), told="undecided")
    frame = pl.DataFrame([told])
    assert margins.margins(frame)["margin"].to_list() == [None]
    assert margins.nearest_said(margins.margins(frame)) == "None turns on an interval alone."
    assert margins.widened(frame, 3.0).is_empty()


ends = st.tuples(*[st.floats(-5, 5).map(lambda number: round(number, 2))] * 3).map(sorted)


@given(interval=ends, control=ends, threshold=st.floats(-5, 5).map(lambda number: round(number, 2)))
def test_intervals_as_wide_as_they_are_change_nothing(interval, control, threshold):
    frame = pl.DataFrame([claim(interval, threshold, control)])
    assert margins.widened(frame, 1.0).is_empty()


@given(interval=ends, threshold=st.floats(-5, 5).map(lambda number: round(number, 2)))
def test_a_margin_tells_when_a_wider_interval_changes_the_verdict(interval, threshold):
    """With a control far below, only the threshold decides."""
    row = claim(interval, threshold, (-90, -90, -90))
    frame = pl.DataFrame([row])
    lower, estimate, upper = interval
    if row["verdict"] != "supported" or upper == lower:
        return
    reach = (estimate - threshold) / max(estimate - lower, 1e-12)
    for factor in (0.5, 2.0, 4.0):
        changes = not margins.widened(frame, factor).is_empty()
        if abs(factor - reach) > 1e-6:
            assert changes == (factor > reach)


# models


def scores(value: float) -> pl.DataFrame:
    """Two heads' rows of one label's score: `value`, and half of it."""
    rows = [
        {"layer": 0, "head": head, "sequence": None, "score": "previous_token", "data": "text",
         "value": v, "lower": v - 0.01, "upper": v + 0.01, "n": 9, "chance": 0.1}
        for head, v in ((0, value / 2), (1, value))
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"sequence": pl.Int32})


def test_the_best_head_of_every_model_is_named_with_what_it_earns():
    best = model_views.best_heads({"one": scores(0.9), "two": scores(0.2)})
    rows = best.select("model", "head", "value", "earned", "heads").rows()
    assert rows == [("one", "L0H1", 0.9, True, 2), ("two", "L0H1", 0.2, False, 0)]
    (told,) = model_views.best_table(best).to_dicts()
    assert told["label"] == "previous token"
    assert told["one"] == "L0H1 0.9 (0.89 to 0.91); 2 earn it"
    ranked = model_views.head_values({"one": scores(0.9)}, "previous token")
    assert ranked.select("rank", "head").rows() == [(1, "L0H1"), (2, "L0H0")]


def test_a_model_that_lacks_a_score_has_no_row_for_it():
    other = scores(0.9).with_columns(score=pl.lit("bos"))
    best = model_views.best_heads({"one": scores(0.9), "two": other})
    assert best.filter(label="previous token")["model"].to_list() == ["one"]
    assert model_views.best_table(best).filter(label="previous token")["two"].to_list() == [None]


def test_verdicts_are_the_same_apart_or_missing_somewhere():
    high, low = (2, 3, 4), (0, 0.1, 0.2)
    bar = {"threshold": 1, "control": (0, 0, 0.1)}
    one = [claim(high, name=name, **bar) for name in ("same", "apart", "only_here")]
    two = [claim(high, name="same", **bar), claim(low, name="apart", **bar)]
    rows = model_views.verdict_rows({"one": pl.DataFrame(one), "two": pl.DataFrame(two)})
    counts = model_views.agreement_counts(rows)
    assert list(counts.values()) == [1, 1, 1]
    alone = model_views.verdict_rows({"one": pl.DataFrame(one), "none": pl.DataFrame()})
    assert set(alone["agreement"]) == {model_views.SOME}, "a model may have no claim at all"
    assert model_views.agreement_choices(counts)[1:] == list(counts)
    apart = model_views.rows_of(rows, model_views.APART)
    table = model_views.verdict_table(apart, ["one", "two"])
    assert table["claim"].to_list() == ["apart"]
    assert table["one"][0].startswith("supported: 3 (2 to 4)")
    assert table["two"][0].startswith("refuted")
    assert table["one_link"][0] == "run:" + "r" * 32
    everywhere = model_views.verdict_table(rows, ["one", "two"])
    assert everywhere.filter(claim="only here")["two"].to_list() == [None]


def test_controls_and_checks_are_counted():
    rows = [
        claim((2, 3, 4), 1, (0, 0, 0.5), name="a"),
        claim((2, 3, 4), 1, (0, 1, 1.5), name="b"),
    ]
    (told,) = method_views.control_rows(pl.DataFrame(rows)).to_dicts()
    assert (told["claims"], told["controls below"], told["controls at or above"]) == (2, 1, 1)
    checks = pl.DataFrame(
        {"score": ["qr_score"] * 2, "measure": ["jaccard", "split_half"], "size": [4, None],
         "value": [0.5, 0.9], "lower": [0.4, 0.8], "upper": [0.6, 1.0], "chance": [0.1, 0.0],
         "n": [20, 20]}
    )  # fmt: skip
    found = method_views.check_rows([{"ranking_checks": checks}, {}])
    assert found["check"].to_list() == ["jaccard of top 4", "split half"]
    assert method_views.checks_title(found) == "Two halves of the items agree at 0.90 or more"
    assert method_views.check_rows([{}]).is_empty()
