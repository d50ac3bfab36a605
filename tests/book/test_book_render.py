"""Every element that the book shows, and every one that it refuses."""

from __future__ import annotations

import altair as alt
import marimo as mo
import polars as pl
import pytest

from book._compat import keep_objects
from book.charts import by_column, chart_spec, is_chart
from book.errors import BookError
from book.page import MARKDOWN, Page, inert
from book.render import Renderer, is_only_controls

FRAME = pl.DataFrame({"a": [1, 2], "b": ["x", "<i>"]})
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def kept():
    with keep_objects():
        yield


def bars(rows: int = 2, description: str = "Bars.") -> alt.Chart:
    frame = pl.DataFrame({"a": range(rows), "b": range(rows)})
    return alt.Chart(frame, description=description).mark_bar().encode(x="a:O", y="b:Q")


def shown(value: object, **options: object) -> str:
    """HTML and MyST of a value, as they reach Sphinx."""
    page = Page()
    source = page.block(Renderer(page, **options).html(value))
    return "\n".join([source, *page.fragments])


ELEMENTS = {
    "frame": (lambda: FRAME, ["<table>", "&lt;i&gt;"]),
    "series": (lambda: FRAME["a"], ["<table>"]),
    "chart": (bars, ['data-spec="s0"', 'aria-label="Bars."']),
    "layered chart": (lambda: (bars() + bars()).properties(description="Two."), ["Two."]),
    "text": (lambda: "a < b", ["a &lt; b"]),
    "number": (lambda: 0.25, ["0.25"]),
    "prose": (lambda: mo.md("some *text* {cite}`x`"), ["some *text* {cite}`x`"]),
    "admonition": (lambda: mo.md("/// tip | Mind\nBody.\n///"), [":::{admonition} Mind"]),
    "stack": (lambda: mo.vstack([FRAME, mo.md("*t*"), bars()]), ["<table>", "*t*", "hb-chart"]),
    "row": (lambda: mo.hstack(["a", 1]), ['class="hb-row"', "<span>1</span>"]),
    "tabs": (lambda: mo.ui.tabs({"$x$": bars(), "t": "u"}), ['role="tab"', r"\(x\)", "hb-cap"]),
    "accordion": (lambda: mo.accordion({"A": mo.md("$y$")}), ["<summary>A", "$y$"]),
    "callout": (lambda: mo.callout(mo.md("c"), kind="warn"), ["admonition warning", "c"]),
    "titled callout": (lambda: mo.md("c").callout(title="<T>"), ["&lt;T&gt;"]),
    "stat": (
        lambda: mo.stat(value="3", label="l", caption="c", direction="increase"),
        ["<b>3</b>", "▲"],
    ),
    "table": (lambda: mo.ui.table(FRAME), ["<table>", "&lt;i&gt;"]),
    "table of records": (lambda: mo.ui.table([{"a": 1}]), ["<table>"]),
    "live chart": (lambda: mo.ui.altair_chart(bars()), ["hb-chart"]),
    "json": (lambda: mo.json({"a": "<"}), ["&quot;a&quot;: &quot;&lt;&quot;"]),
    "plain text": (lambda: mo.plain_text("x\ny <"), ["x\ny &lt;"]),
    "image": (lambda: mo.image(b"\x89PNG"), ["data:image/png"]),
    "centred": (lambda: mo.center(mo.md("x")), ["x"]),
    "input": (lambda: mo.ui.text("BOS", label="prompt"), ["<b>BOS</b>", "fixed in this book"]),
    "inputs": (lambda: mo.ui.array([mo.ui.number(0, 3, value=2)]), ["<b>2</b>"]),
    "html": (lambda: mo.Html('<b class="x">y</b>'), ['<b class="x">y</b>']),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_an_element_has_its_static_form(name):
    make, expected = ELEMENTS[name]
    html = shown(make())
    assert [piece for piece in expected if piece not in html] == []
    assert "<marimo-" not in html and "hb-object" not in html and not MARKDOWN.search(html)


REFUSED = {
    "an object": (object, "builtins.object"),
    "a list": (lambda: [FRAME], "builtins.list"),
    "a nested object": (lambda: mo.vstack([object()]), "builtins.object"),
    "a diagram": (lambda: mo.mermaid("graph TD; A-->B"), "<marimo-mermaid>"),
    "a lazy element": (lambda: mo.lazy("x"), "<marimo-lazy>"),
    "a button": (mo.ui.run_button, "<marimo-button>"),
    "a script": (lambda: mo.Html(HOSTILE), "<script>"),
    "a handler": (lambda: mo.Html('<b onclick="x()">y</b>'), "onclick"),
    "a script link": (lambda: mo.Html('<a href="javascript:x()">y</a>'), "javascript"),
    "an image elsewhere": (lambda: mo.Html('<img src="https://a.b/c.png">'), "https://a.b/c.png"),
    "a style that loads": (lambda: mo.Html('<b style="background:url(x)">y</b>'), "url(x)"),
    "a frame elsewhere": (lambda: mo.Html('<iframe src="https://a.b"></iframe>'), "<iframe>"),
    "an icon": (lambda: mo.md(f"{mo.icon('lucide:x')}"), "<iconify-icon>"),
    "a chart without words": (lambda: bars(description=""), "without one"),
    "a chart of a url": (
        lambda: alt.Chart("https://a.b/c.json", description="d").mark_bar(),
        "a data url",
    ),
    "a heading in a stack": (lambda: mo.vstack([mo.md("# No")]), "# No"),
    "a role in a label": (lambda: mo.ui.text("x", label="{cite}`x`"), "{cite}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_static_form_is_an_error_that_names_it(name):
    make, named = REFUSED[name]
    with pytest.raises(BookError) as error:
        shown(make())
    assert named in str(error.value)
    assert "\n" not in str(error.value) and "expected" in str(error.value)


def test_a_chart_keeps_every_row_whatever_cap_is_set():
    alt.data_transformers.enable("default", max_rows=10)
    try:
        page = Page()
        Renderer(page).html(bars(rows=6_000))
        (data,) = page.data.values()
        assert data["values"][0] == list(range(6_000))
    finally:
        alt.data_transformers.enable("default", max_rows=5_000)


def test_equal_charts_and_their_data_are_kept_once():
    page = Page()
    renderer = Renderer(page)
    pick = alt.selection_point()
    first, second = renderer.html(bars()), renderer.html(bars())
    assert first == second and len(page.specs) == len(page.data) == 1
    renderer.html(bars().add_params(pick))
    renderer.html(bars().add_params(alt.selection_point()))
    assert len(page.specs) == 2


def test_columns_hold_what_the_rows_held():
    rows = [{"a": 1, "b": 0.123456789}, {"b": None, "c": "<"}]
    names, values = by_column(rows)["names"], by_column(rows)["values"]
    back = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    assert back == [{"a": 1, "b": 0.1234568, "c": None}, {"a": None, "b": None, "c": "<"}]


def test_hostile_data_in_a_chart_cannot_leave_the_island():
    page = Page()
    frame = pl.DataFrame({"token": [HOSTILE, "</script>"]})
    chart = alt.Chart(frame, description=HOSTILE, title=HOSTILE).mark_bar().encode(x="token:N")
    html = Renderer(page).html(chart)
    assert "<script" not in html
    assert page.island().count("<") == 2 and "\\u003c/script>" in page.island()
    assert inert('"</script>"') == '"\\u003c/script>"'


def test_only_charts_are_charts():
    assert is_chart(bars()) and is_chart(bars() | bars())
    assert not is_chart(FRAME) and not is_chart(alt.X("a")) and not is_chart("altair")
    assert chart_spec(bars())["description"] == "Bars."


def test_a_control_works_where_it_is_live_and_is_fixed_elsewhere():
    control = mo.ui.slider(0, 3, label="*layer*")
    names = {id(control): "layer"}
    live = shown(mo.hstack([control]), live=frozenset({"layer"}), names=names)
    assert 'data-control="layer"' in live and "<em>layer</em>" in live
    fixed = shown(control, notes={"layer": "(too many)"}, names=names)
    assert "(too many)" in fixed and "<input" not in fixed


def test_an_element_inside_prose_stays_where_it_was_put():
    control = mo.ui.text("BOS", label="prompt")
    page = Page()
    source = page.block(Renderer(page).html(mo.md(f"Take {control} here.\n\n{FRAME.height}")))
    assert source.startswith("Take {hb-inline}`0` here.")
    alone = page.block(Renderer(page).html(mo.md(f"Before\n\n{mo.as_html(FRAME)}\n\nafter")))
    assert "```{hb-html} 1\n```" in alone


def test_a_container_inside_a_line_is_refused():
    inner = mo.accordion({"a": mo.md("x")})
    with pytest.raises(BookError, match="on a line of its own"):
        Renderer(Page()).html(mo.md(f"words {inner} words"))


def test_markup_instead_of_the_element_is_refused():
    control = mo.ui.text("x")
    with pytest.raises(BookError, match="put the element itself into the braces"):
        Renderer(Page()).html(mo.md(f"words {control.text}"))


def test_only_controls_need_no_source():
    control = mo.ui.slider(0, 3, label="layer")
    renderer = Renderer(Page(), live=frozenset({"x"}), names={id(control): "x"})
    assert is_only_controls(renderer.html(mo.hstack([control])))
    assert not is_only_controls(renderer.html(mo.vstack([control, FRAME])))
    assert not is_only_controls(renderer.html(mo.vstack([control, mo.md("x")])))
    assert not is_only_controls(renderer.html(mo.vstack([control, bars()])))
