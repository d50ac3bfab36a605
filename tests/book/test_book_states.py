"""States of controls: which there are, that each shows the truth, and what stays fixed."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from bs4 import BeautifulSoup

from book.dataflow import reads
from book.errors import BookError
from book.states import MAX_STATES

from .book_sample import compiled, html_of

TWO = """
a = mo.ui.slider(0, 2, label="a")
b = mo.ui.dropdown({"one": 1, "ten": 10}, value="one")
mo.hstack([a, b])
"""


def states_of(html: str) -> dict[str, str]:
    """What each state shows, over all blocks of a page."""
    shown: dict[str, str] = {}
    for block in BeautifulSoup(html, "html.parser").select(".hb-state"):
        for state in block["data-states"].split():
            shown[state] = shown.get(state, "") + block.get_text(strip=True)
    return shown


def test_every_state_shows_what_the_notebook_computes_in_it(tmp_path):
    cells = (("controls", TWO), ("sum", "pl.DataFrame({'s': [a.value + b.value]})"))
    chapter = compiled(tmp_path, *cells)
    shown = states_of(html_of(chapter))
    expected = {
        f"{i},{j}": f"s{i + v}" for i, (j, v) in itertools.product(range(3), [(0, 1), (1, 10)])
    }
    assert shown == expected
    assert chapter.states == 1 + 6


def test_the_state_shown_first_is_the_notebooks_own(tmp_path):
    control = "a = mo.ui.slider(0, 2, value=1)\na"
    html = html_of(compiled(tmp_path, ("control", control), ("twice", "str(2 * a.value)")))
    soup = BeautifulSoup(html, "html.parser")
    first = [block.get_text() for block in soup.select(".hb-state:not([hidden])")]
    assert first == ["2"] and len(soup.select(".hb-state")) == 3


def test_equal_outputs_are_written_once(tmp_path):
    cells = (("control", "a = mo.ui.slider(0, 3)\na"), ("parity", "str(a.value % 2)"))
    soup = BeautifulSoup(html_of(compiled(tmp_path, *cells)), "html.parser")
    assert [block["data-states"] for block in soup.select(".hb-state")] == ["0 2", "1 3"]


def test_a_cell_runs_once_per_state_that_it_depends_on(tmp_path):
    log = tmp_path / "log"
    note = f"with open({str(log)!r}, 'a') as _f:\n    _f.write(f'{{a.value}} ')\nx = a.value"
    cells = (("controls", TWO), ("slow", note), ("both", "str(x + b.value)"), ("one", "str(x)"))
    compiled(tmp_path, *cells)
    assert sorted(log.read_text().split()) == ["0", "0", "1", "2"]  # once as it stands, then 3


def test_placing_a_control_is_not_depending_on_it(tmp_path):
    cells = (("controls", TWO), ("one", "str(a.value)"), ("place", "mo.vstack([b, mo.md(f'{a}')])"))
    chapter = compiled(tmp_path, *cells)
    assert chapter.states == 1 + 3
    assert "(nothing on this page depends on it)" in html_of(chapter)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("mo.hstack([a, b])", False),
        ("mo.md(f'{a}')", False),
        ("a", False),
        ("a.value", True),
        ("mo.md(f'{a.value}')", True),
        ("show(a)", True),
        ("x = [a]", True),
        ("mo.vstack([a, mo.md(str(a.value))])", True),
    ],
)
def test_reading_a_control_is_told_from_placing_it(code, expected):
    assert reads(code, "a") == expected


def test_beyond_the_cap_the_longest_menu_is_cut_short_with_a_note(tmp_path):
    whole, kept = MAX_STATES, MAX_STATES // 3
    controls = f"a = mo.ui.slider(0, {whole - 1}, value=7)\nb = mo.ui.slider(0, 2)\n[a, b]"
    cells = (("controls", controls.replace("[a", "mo.hstack([a").replace("b]", "b])")),)
    chapter = compiled(tmp_path, *cells, ("both", "str((a.value, b.value))"))
    html = html_of(chapter)
    assert chapter.states == 1 + 3 * kept
    assert f"({kept} of {whole} here; the notebook offers them all)" in html
    shown = set(states_of(html).values())
    assert shown >= {"(0, 0)", f"({whole - 1}, 2)", "(7, 1)"}, "both ends, and what is chosen"
    first = BeautifulSoup(html, "html.parser").select_one(".hb-state:not([hidden])")
    assert first.get_text() == "(7, 0)"


def test_a_long_menu_keeps_what_stands_first_the_last_and_what_is_chosen(tmp_path):
    control = "a = mo.ui.dropdown([f'h{i}' for i in range(1000)], value='h500')\na"
    html = html_of(compiled(tmp_path, ("control", control), ("shown", "a.value")))
    options = [one.get_text() for one in BeautifulSoup(html, "html.parser").select("option")]
    assert len(options) == MAX_STATES
    assert options[:3] == ["h0", "h1", "h2"]
    assert options[-2:] == ["h500", "h999"]
    assert set(states_of(html).values()) == set(options)


def test_equally_long_menus_are_cut_alike_and_two_choices_stay(tmp_path):
    controls = "a = mo.ui.slider(0, 99)\nb = mo.ui.slider(0, 99)\nc = mo.ui.switch()\n"
    cells = (
        ("controls", controls + "mo.hstack([a, b, c])"),
        ("all", "str((a.value, b.value, c.value))"),
    )
    html = html_of(compiled(tmp_path, *cells))
    assert html.count("(10 of 100 here") == 2
    assert "fixed here" not in html


def test_more_switches_than_a_page_holds_are_fixed_one_by_one(tmp_path):
    names = "abcdefgh"
    controls = "\n".join(f"{name} = mo.ui.switch()" for name in names)
    shown = f"str(({', '.join(f'{name}.value' for name in names)}))"
    html = html_of(
        compiled(
            tmp_path, ("controls", f"{controls}\nmo.hstack([{', '.join(names)}])"), ("all", shown)
        )
    )
    assert html.count("(fixed here: 8 controls have more states") == 1


def test_a_control_that_follows_another_is_fixed(tmp_path):
    cells = (
        ("first", "a = mo.ui.slider(0, 2)\na"),
        ("second", "b = mo.ui.slider(0, a.value + 1)\nb"),
        ("shown", "str((a.value, b.value))"),
    )
    html = html_of(compiled(tmp_path, *cells))
    assert 'data-control="b"' not in html and "(follows from another control)" in html
    assert set(states_of(html).values()) >= {"(0, 0)", "(1, 0)", "(2, 0)"}


def test_prose_changes_with_the_state(tmp_path):
    cells = (("control", "a = mo.ui.slider(0, 1)\na"), ("text", "mo.md(f'**{a.value}** leads')"))
    chapter = compiled(tmp_path, *cells)
    assert "**0** leads" in chapter.text and "**1** leads" in chapter.text
    assert "data-states" in html_of(chapter)


def test_captions_follow_the_state(tmp_path):
    chart = """
    import altair as alt
    alt.Chart(pl.DataFrame({"x": [a.value]}), description=f"Layer {a.value}.").mark_bar()
    """
    chapter = compiled(tmp_path, ("control", "a = mo.ui.slider(0, 1)\na"), ("bars", chart))
    (captions,) = next(piece for piece in chapter.fragments if isinstance(piece, list))
    texts = {entry["text"]: (entry["states"], entry["hidden"]) for entry in captions["captions"]}
    assert texts == {"Layer 0.": ("0", False), "Layer 1.": ("1", True)}
    assert ":name: fig-bars" in chapter.text


def test_a_stopped_cell_shows_why_and_nothing_follows_from_it(tmp_path):
    cells = (
        ("control", "a = mo.ui.slider(0, 2)\na"),
        ("gate", "mo.stop(a.value == 1, 'no head there')\nx = 10 * a.value"),
        ("after", "str(x)"),
    )
    shown = states_of(html_of(compiled(tmp_path, *cells)))
    assert shown == {"0": "0", "1": "no head there", "2": "20"}


def test_nothing_follows_from_a_stopped_cell_that_depends_on_no_control(tmp_path):
    cells = (
        ("gate", "before = 5\nmo.stop(True, 'no head here')\nx = 10 + before"),
        ("control", "a = mo.ui.slider(0, 2)\na"),
        ("after", "str(x + a.value)"),
    )
    chapter = compiled(tmp_path, *cells)
    assert "no head here" in json.dumps(chapter.fragments) + chapter.text
    assert "internal" not in (json.dumps(chapter.fragments) + chapter.text).lower()


def test_a_stop_without_a_word_is_a_hole_and_refused(tmp_path):
    cells = (("gate", "mo.stop(True)\nx = 1"), ("after", "str(x)"))
    with pytest.raises(BookError, match=r"mo\.stop without one in cell 'gate'"):
        compiled(tmp_path, *cells)


def test_a_failure_names_notebook_cell_and_state(tmp_path):
    cells = (("control", "a = mo.ui.slider(0, 2)\na"), ("divide", "str(1 / (a.value - 2))"))
    with pytest.raises(BookError) as error:
        compiled(tmp_path, *cells)
    for part in ("05_sample.py", "'divide'", "a=2", "ZeroDivisionError"):
        assert part in str(error.value)


def test_labels_and_states_survive_json(tmp_path):
    cells = (("control", "a = mo.ui.radio(['\"', '</script>'], value='\"')\na"), ("v", "a.value"))
    html = html_of(compiled(tmp_path, *cells))
    assert json.loads(json.dumps(html)) == html
    assert not re.search(r"</script>(?!.*<script)", html.replace("&lt;/script&gt;", ""))
