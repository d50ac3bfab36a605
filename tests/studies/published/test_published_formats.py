"""Result files of published studies: what is read, and what is refused."""

import json
from copy import deepcopy

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.errors import UserError
from analysis.studies.published import Format, Published, read_published
from store.schema import conformed

from . import published_files as made


def read(said: object) -> Published:
    return read_published(json.dumps(said).encode())


def refusal(data: bytes) -> str:
    """The one line of a file that must be refused."""
    with pytest.raises(UserError, match=r"^expected .*, got .*; ") as refused:
        read_published(data)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300
    return str(refused.value)


def fits(published: Published) -> None:
    """Whatever is read fits its table of the store."""
    run = {"run": pl.lit("r"), "file": pl.lit("f")}
    conformed(published.table, published.rows.with_columns(**run))
    if published.absences is not None:
        conformed("absences", published.absences.with_columns(run=pl.lit("r")))


FORMATS = {
    Format.ABLATION: (json.dumps(made.ablation(0)), "published_curves", 13),
    Format.DETECTION: (json.dumps(made.detection()), "published_rankings", 3),
    Format.LISTED: (json.dumps(made.LISTED), "published_rankings", 2 + 6),
    Format.PAIRS: (json.dumps(made.PAIRS), "published_rankings", 3),
    Format.TABLE: (made.TABLE, "published_rankings", 2),
    Format.LAG: (made.LAG, "published_lags", 3),
}


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("start", ["", "\ufeff", " \r\n"])
def test_the_format_shows_in_what_a_file_says(form, start):
    text, table, n_rows = FORMATS[form]
    published = read_published((start + text).encode())
    assert (published.format, published.table, published.rows.height) == (form, table, n_rows)
    assert published.remarks().is_empty()
    fits(published)


def test_curves_are_read_as_stated():
    said = made.ablation(3)
    rows = read(said).rows
    base = rows.row(0, named=True)
    assert (base["family"], base["size"], base["heads"], base["drop"]) == ("base", 0, None, None)
    assert base["accuracy"] == said["baseline"]["accuracy"]
    for family in ("top", "random"):
        found = rows.filter(family=family).to_dicts()
        for row, each in zip(found, said[f"{family}_heads_ablations"], strict=True):
            assert row["heads"] == each["heads_str"].replace(" ", "")
            assert row["stated_drop"] == each["accuracy_drop"]
            assert row["drop"] == said["baseline"]["accuracy"] - each["accuracy"]
            assert (row["correct"], row["total"]) == (each["correct"], each["total"])


def test_a_detection_keeps_what_else_the_file_says():
    rows = read(made.detection()).rows
    assert rows["layer"].to_list() == [15, 8, 0]
    assert rows["rank"].to_list() == [1, 2, 3]
    assert rows["successful_retrievals"].to_list() == [111] * 3
    assert rows["question"].null_count() == 3
    assert json.loads(rows["other"][0]) == {"seconds": 3.5}


def test_a_detection_without_a_success_is_a_stated_result():
    said = made.detection() | {"head_rankings": [], "successful_retrievals": 0}
    published = read(said)
    assert published.rows.is_empty()
    assert published.absences is not None
    reason = "published file: 0 of 120 answered correctly, no scores"
    assert published.absences["reason"].to_list() == [reason]
    fits(published)


def test_scores_without_ranks_are_ranked_and_lists_have_their_mean():
    listed = read(made.LISTED).rows
    whole = listed.filter(pl.col("sample").is_null())
    assert whole.select("layer", "score", "num_samples", "rank").rows() == [
        (13, 0.5, 3, 1),
        (2, 0.125, 3, 2),
    ]
    assert listed.filter(layer=13)["score"].to_list()[1:] == [0.5, 0.0, 1.0]
    assert listed.filter(pl.col("sample").is_not_null())["rank"].null_count() == 6
    assert read(made.PAIRS).rows["rank"].to_list() == [1, 2, 2]


def changed(said, path: tuple, value: object):
    """A copy with another value at one place."""
    copy = deepcopy(said)
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy


TOP = ("top_heads_ablations", 2)
DISAGREEMENTS = {
    "a drop": ((*TOP, "accuracy_drop"), 0.99, "states a drop of 0.99, its accuracies give "),
    "an accuracy": ((*TOP, "accuracy"), 0.01, "states accuracy 0.01, its counts give "),
    "a total": ((*TOP, "total"), 1000, "has 1000 items, the baseline 125"),
    "heads": ((*TOP, "heads_str"), "L1H2, L3H4", "heads_str does not name 20 heads"),
    "no names": ((*TOP, "heads_str"), "the first 20", "heads_str does not name 20 heads"),
    "levels": (("ablation_levels",), [5, 10], "ablation_levels are not the sizes of top_heads"),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
def test_a_file_that_contradicts_itself_is_kept_as_stated_with_a_remark(case):
    path, value, remark = DISAGREEMENTS[case]
    published = read(changed(made.ablation(0), path, value))
    (row,) = published.remarks().to_dicts()
    assert remark in row["remark"]
    fits(published)
    if case == "a drop":
        assert row["stated_drop"] == 0.99
        clean = read(made.ablation(0)).rows.filter(family="top", size=20)
        assert row["drop"] == clean["drop"].item()


def test_a_study_without_random_sets_does_not_contradict_itself():
    assert read(changed(made.ablation(0), ("random_heads_ablations",), [])).remarks().is_empty()


@pytest.mark.parametrize("digits", [3, 4, 6])
@pytest.mark.parametrize("seed", range(10))
def test_rounding_is_no_contradiction(digits, seed):
    said = made.ablation(seed)
    for family in ("top_heads_ablations", "random_heads_ablations"):
        for each in said[family]:
            each["accuracy"] = round(each["accuracy"], digits)
            each["accuracy_drop"] = round(each["accuracy_drop"], digits)
    said["baseline"]["accuracy"] = round(said["baseline"]["accuracy"], digits)
    assert read(said).remarks().is_empty()


def test_ranks_that_contradict_the_scores_are_remarked():
    said = changed(made.detection(), ("head_rankings", 1, "rank"), 9)
    assert read(said).remarks()["head"].to_list() == [7]


REFUSED = {
    "accuracy above 1": ((*TOP, "accuracy"), 85.2, "from 0 to 1 at top_heads_ablations[2].acc"),
    "accuracy below 0": (("baseline", "accuracy"), -0.1, "from 0 to 1 at baseline.accuracy"),
    "more right than asked": ((*TOP, "correct"), 126, "at most the total, 125, at top_heads"),
    "no item": (("baseline", "total"), 0, "whole number from 1"),
    "a fraction of an item": (("baseline", "correct"), 1.5, "whole number from 0"),
    "a truth for a number": ((*TOP, "accuracy"), True, "got True"),
    "text for a number": ((*TOP, "correct"), "80", "got '80'"),
    "a drop above 1": ((*TOP, "accuracy_drop"), 30.9, "from -1 to 1"),
    "no set": (("top_heads_ablations",), {"5": 0}, "a list at top_heads_ablations, got an object"),
    "no object": (TOP, [5], "an object with `num_heads` at top_heads_ablations[2], got a list"),
    "nothing": (("method",), None, "an object with `method` at the top"),
    "empty text": (("question",), "", "text at question"),
    "half a surrogate": (("model_key",), "\ud800", "valid Unicode at model_key"),
    "a size twice": ((*TOP, "num_heads"), 5, "a size that was not there before"),
    "a huge count": (("baseline", "total"), 2**31, "got 2147483648"),
    "a level of text": (("ablation_levels", 0), "5", "at ablation_levels[0]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_curve_is_refused_with_its_place(case):
    path, value, message = REFUSED[case]
    said = json.dumps(changed(made.ablation(0), path, value))
    assert message in refusal(said.encode())


OTHER_REFUSALS = {
    "nothing": (b"", "an empty file"),
    "blanks": (b" \n ", "an empty file"),
    "latin": ("caf\u00e9".encode("latin-1"), "the byte 0xe9 at 3"),
    "bad JSON": (b'{\n "method": "x",\n "a" 1}', "line 3, column 6: Expecting ':'"),
    "cut off": (b'{"method": "x', "line 1, column 12: Unterminated string"),
    "two values": (b"{} {}", "line 1, column 4: Extra data"),
    "NaN": (b'[["1-2", NaN]]', "finite numbers, got NaN"),
    "infinity": (b'[["1-2", -Infinity]]', "finite numbers, got -Infinity"),
    "beyond floats": (b'[["1-2", 1e999]]', "finite numbers, got '1e999'"),
    "a huge integer": (b'[["1-2", ' + b"9" * 10_000 + b"]]", "got one of 10000"),
    "a large score": (b'[["1-2", 1e13]]', "from -1e+12 to 1e+12"),
    "deep nesting": (b"[" * 100_000, "nests too deeply"),
    "deep objects": (b'{"a":' * 100_000, "nests too deeply"),
    "a field twice": (b'{"method": "a", "method": "b"}', "got 'method' twice"),
    "something else": (b'{"answer": 42}', "got an object of 1"),
    "an empty object": (b"{}", "lists of scores by head"),
    "an empty list": (b"[]", "got a list of 0"),
    "a number": (b"3", "the columns scores,layer,head or Lag"),
    "prose": ("\u201cDear \u2026".encode(), "at the first line"),
    "no pair": (b'[["1-2", 0.5, 1]]', "a head and its score at the top[0]"),
    "no head": (b'[["L1H2", 0.5]]', "a head such as 13-18 at the top[0][0]"),
    "a head of other digits": ('[["\u0661-2", 1]]'.encode(), "a head such as 13-18"),
    "a head twice": (b'[["1-2", 0.5], ["01-2", 1]]', "got L1H2 twice"),
    "a list without scores": (b'{"1-2": []}', "at least one score at 1-2"),
    "a name that is no head": (b'{"1-2": [1], "x": [1]}', "got 'x'"),
    "no rows": (b"scores,layer,head\n", "rows below the header"),
    "a short row": (b"scores,layer,head\n1,2\n", "a row of 3 cells at line 2"),
    "NaN in a table": (b"scores,layer,head\nnan,1,2\n", "at line 2, scores, got 'nan'"),
    "underscores": (b"scores,layer,head\n1_0,1,2\n", "at line 2, scores, got '1_0'"),
    "half a layer": (b"scores,layer,head\n1,1.5,2\n", "at line 2, layer, got 1.5"),
    "a negative head": (b"scores,layer,head\n1,1,-2\n", "at line 2, head, got -2"),
    "a head too far": (b"scores,layer,head\n1,1,10000\n", "up to 9999"),
    "an open quote": (b'scores,layer,head\n"1,1,2\n', "a mistake at line 2"),
    "a column twice": (b"scores,layer,layer\n1,1,2\n", "at the first line"),
    "a lag twice": (b"Lag,Mean Probability\n1,.5\n1,.5\n", "not there before at line 3, Lag"),
    "no probability": (b"Lag,Mean Probability\n1,1.5\n", "from 0 to 1 at line 2"),
}


@pytest.mark.parametrize("case", OTHER_REFUSALS)
def test_hostile_and_foreign_files_are_refused_in_one_line(case):
    data, message = OTHER_REFUSALS[case]
    assert message in refusal(data)


def test_a_detection_with_more_successes_than_samples_and_a_head_twice():
    more = made.detection() | {"successful_retrievals": 121}
    assert "at most samples_processed, 120," in refusal(json.dumps(more).encode())
    twice = changed(made.detection(), ("head_rankings", 1, "head"), "L15H30")
    assert "got L15H30 twice" in refusal(json.dumps(twice).encode())


@given(st.one_of(st.binary(), st.text().map(str.encode)))
@example(b"\xef\xbb\xbf")
@example(b'"')
def test_bytes_are_read_or_refused(data):
    try:
        fits(read_published(data))
    except UserError as error:
        assert str(error).startswith("expected ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)
WHOLE = (made.ablation(1), made.detection(), made.LISTED, made.PAIRS)


def places(said, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value but the top."""
    inner = said.items() if isinstance(said, dict) else enumerate(said)
    found = []
    for step, value in inner:
        found.append((*path, step))
        if isinstance(value, (dict, list)):
            found += places(value, (*path, step))
    return found


@given(data=st.data())
def test_a_file_with_anything_in_one_place_is_read_or_refused(data):
    said = data.draw(st.sampled_from(WHOLE))
    path = data.draw(st.sampled_from(places(said)))
    text = json.dumps(changed(said, path, data.draw(JSON)))
    try:
        fits(read_published(text.encode()))
    except UserError as error:
        assert str(error).startswith("expected ")


@given(data=st.data())
def test_a_file_that_is_cut_off_is_refused(data):
    text = json.dumps(data.draw(st.sampled_from(WHOLE)))
    end = data.draw(st.integers(1, len(text) - 1))
    refusal(text[:end].encode())
