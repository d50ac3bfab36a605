"""Controls: choices, fresh copies, and the HTML that works without a kernel."""

from __future__ import annotations

import marimo as mo
import pytest
from bs4 import BeautifulSoup

from book.controls import choices, chosen, control_html, fixed_html, set_to
from book.page import Page

CONTROLS = [
    mo.ui.dropdown({"A": 1, "B": [2]}, value="B"),
    mo.ui.dropdown(["x", "y"]),
    mo.ui.dropdown(["x", "y"], value="x", allow_select_none=True),
    mo.ui.radio({"one": 1, "two": 1}, value="two"),
    mo.ui.slider(0, 5),
    mo.ui.slider(0.0, 1.0, 0.1, value=0.3),
    mo.ui.slider(steps=[1, 3, 10], value=3),
    mo.ui.switch(value=True),
    mo.ui.checkbox(),
]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: type(control).__name__)
def test_every_choice_can_be_set_and_read_again(control):
    for place, value in enumerate(choices(control)):
        copy = set_to(control, place)
        assert choices(copy) == choices(control)
        assert type(copy) is type(control)
        if type(control).__name__ != "radio":
            assert chosen(copy) == place
        if isinstance(control, mo.ui.slider):
            assert copy.value == pytest.approx(value)


def test_two_options_with_one_value_are_told_apart_by_a_dropdown():
    control = mo.ui.dropdown({"one": 1, "two": 1}, value="two")
    assert chosen(control) == 1 and chosen(set_to(control, 0)) == 0


def test_a_slider_reaches_both_ends():
    assert choices(mo.ui.slider(0.0, 1.0, 0.1)) == pytest.approx([i / 10 for i in range(11)])
    assert choices(mo.ui.slider(1, 8, 3)) == [1, 4, 7]


@pytest.mark.parametrize(
    "element",
    [mo.ui.text("x"), mo.ui.slider(0.0, 1.0), mo.ui.radio(["a"]), mo.md("x"), 3],
    ids=["text", "slider without a step", "radio without a value", "prose", "number"],
)
def test_what_has_no_finite_list_of_choices_has_none(element):
    assert choices(element) is None


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: type(control).__name__)
def test_the_html_starts_at_the_present_value(control):
    soup = BeautifulSoup(control_html("name_of", control, "", Page()), "html.parser")
    place = chosen(control)
    assert soup.find(attrs={"data-control": "name_of"}) and "name of" in soup.get_text()
    if isinstance(control, mo.ui.slider):
        field = soup.find("input")
        assert field["value"] == str(place)
        assert field["data-values"].split("\t")[place] == field["aria-valuetext"]
    elif isinstance(control, (mo.ui.checkbox, mo.ui.switch)):
        assert soup.find("input").has_attr("checked") == control.value
    else:
        fields = soup.find_all(["option", "input"])
        on = [field.has_attr("checked") or field.has_attr("selected") for field in fields]
        assert on.index(True) == place and on.count(True) == 1


def test_choices_are_escaped():
    control = mo.ui.dropdown(["<b>", '"'], value="<b>")
    html = control_html("token", control, "", Page())
    assert "<b>" not in html and "&lt;b&gt;" in html


def test_groups_of_radio_buttons_do_not_share_a_name():
    page, control = Page(), mo.ui.radio(["a", "b"], value="a")
    names = [
        BeautifulSoup(control_html("x", control, "", page), "html.parser").find("input")["name"]
        for _ in range(2)
    ]
    assert len(set(names)) == 2


def test_a_fixed_control_says_its_value_and_why():
    html = fixed_html("head", "<s>", "(fixed: too many)")
    assert "&lt;s&gt;" in html and "(fixed: too many)" in html and "<input" not in html
