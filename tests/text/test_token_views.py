"""Tokens are data: they are shown as text, with what cannot be seen made visible."""

import polars as pl
import pytest
from bs4 import BeautifulSoup

from analysis.text.shown import chips, token_table, visible
from book.page import Page
from book.render import Renderer

HOSTILE = "<script>alert(1)</script>"
MARKUP = '"><img src=x onerror=alert(1)>'


def rows(*conditions: tuple[str, list[tuple[str, str, float]]]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "condition": condition,
                "baseline": "target",
                "kind": kind,
                "rank": [k for k, *_ in found[: i + 1]].count(kind),
                "token": token,
                "change": change,
            }
            for condition, found in conditions
            for i, (kind, token, change) in enumerate(found)
        ]
    )


TABLE = rows(
    ("target", [("top", " a", 0.0), ("base_top", " a", 0.0)]),
    (
        HOSTILE,
        [
            ("top", HOSTILE, 1.0),
            ("base_top", " a", -2.0),
            *(("riser", token, 1.5 - i) for i, token in enumerate((HOSTILE, MARKUP))),
            ("faller", " a", -2.0),
        ],
    ),
)


@pytest.mark.parametrize("html", [chips([HOSTILE, MARKUP], 1), token_table(TABLE, 5)])
def test_tokens_come_out_as_text(html):
    page = BeautifulSoup(html, "html.parser")
    assert not page.find_all(["script", "img"])
    assert HOSTILE in page.get_text()
    assert MARKUP in page.get_text().replace("·", " ")


@pytest.mark.parametrize("html", [chips([HOSTILE, MARKUP], 1), token_table(TABLE, 5)])
def test_the_book_lets_all_of_it_through(html):
    kept = Renderer(Page("10_prediction_tables")).clean(html)
    before, after = (BeautifulSoup(text, "html.parser") for text in (html, kept))
    assert after.get_text() == before.get_text()
    styles = [[tag.get("style") for tag in page.find_all(True)] for page in (before, after)]
    assert styles[0] == styles[1]


def test_what_cannot_be_seen_is_shown():
    assert visible(" a\n\tb") == "·a↵⇥b"
    assert visible("\u200b\u202e\x00") == "U+200BU+202EU+0000"
    assert visible("é漢🙂") == "é漢🙂"


def test_t_and_the_position_before_it_stand_out():
    styles = [tag["style"] for tag in BeautifulSoup(chips(list("abcd"), 2), "html.parser")("span")]
    assert styles[0] == styles[3]
    assert len(set(styles)) == 3
    assert BeautifulSoup(chips(["a"], 0), "html.parser").span["style"] == styles[2]


def test_a_table_has_a_row_a_condition_and_at_most_top_k_cells():
    lines = BeautifulSoup(token_table(TABLE, 1), "html.parser").tbody("tr")
    assert [line.td.get_text() for line in lines] == ["target", HOSTILE]
    riser, faller = lines[1]("td")[3]("div")
    assert [cell.get_text() for cell in riser("span")] == [f"{HOSTILE}+1.50"]
    assert [cell.get_text() for cell in faller("span")] == ["·a−2.00"]
    assert "#2ea043" in str(riser)
    assert "#da3633" in str(faller)


def test_a_condition_that_raised_nothing_says_so():
    still = rows(("target", [("top", "a", 0.0)]), ("none", [("top", "a", 0.0)]))
    moved = pl.concat([still, still.with_columns(kind=pl.lit("base_top"))])
    lines = BeautifulSoup(token_table(moved, 3), "html.parser").tbody("tr")
    assert lines[1]("td")[3].get_text() == "––"
