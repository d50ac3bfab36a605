"""Names, tokens and prompts that look like markup are text on every page."""

import re
from dataclasses import replace

import polars as pl
import pytest
from bs4 import BeautifulSoup
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from analysis.interventions import Method
from analysis.models.files.card import read_card
from analysis.questions.asked import Asked
from analysis.studies.predictions import views
from analysis.text.shown import chips, token_table, visible_text
from book.page import Page, inert
from book.render import Renderer
from book.tables import table_html, value_text
from store.schema import conformed
from tests.commands.hostile import JSON, NAME, TAGS, hostile, refused

TEXT = st.sampled_from(TAGS) | st.text() | NAME
VALUE = TEXT | JSON | st.lists(TEXT, max_size=2)


def tags(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """The elements of a piece of HTML, with the names of their attributes."""
    soup = BeautifulSoup(html, "html.parser")
    return [(tag.name, tuple(tag.attrs)) for tag in soup.find_all(True)]


def test_markup_is_seen_where_it_is_not_escaped():
    """Without this, counting elements would show nothing."""
    assert sum(len(tags(text)) > 0 for text in TAGS) >= 6
    assert tags("<b>") != tags("&lt;b&gt;")


@hostile(400, names=st.lists(TEXT, min_size=1, max_size=3, unique=True), value=VALUE)
def test_tables_show_names_and_values_as_text(names, value):
    kept = [name for name in names if not name.endswith("_link") and not name.startswith("_marimo")]
    text = value_text(value).encode("utf-8", "replace").decode()
    frame = pl.DataFrame({name: [text] for name in kept})
    plain = pl.DataFrame({f"x{i}": ["y" * len(text)] for i in range(len(kept))})
    assert tags(table_html(frame, Page())) == tags(table_html(plain, Page()))


@hostile(500, value=TEXT)
def test_text_of_a_cell_stays_text(value):
    html = Renderer(Page()).html(value)
    assert tags(html) == [("span", ())]
    assert BeautifulSoup(html, "html.parser").text.split() == value.split()


@hostile(400, tokens=st.lists(TEXT, min_size=1, max_size=4), t=st.integers(-2, 5))
def test_chips_show_tokens_as_text(tokens, t):
    html = chips(tokens, t)
    assert tags(html) == [("div", ("style",)), *[("span", ("style",))] * len(tokens)]
    shown = [span.text for span in BeautifulSoup(html, "html.parser").find_all("span")]
    assert [text.strip() for text in shown] == [visible_text(token).strip() for token in tokens]
    assert all(visible_text(token).isprintable() for token in tokens)


@hostile(300, condition=TEXT, token=TEXT)
def test_the_table_of_predictions_shows_tokens_as_text(condition, token):
    def shown(named: str, said: str) -> list:
        kinds = ("top", "base_top", "riser", "faller")
        rows = [
            {"condition": named, "baseline": "b\0", "kind": kind, "token": said, "change": 1.0}
            for kind in kinds
        ]
        return tags(token_table(pl.DataFrame(rows).with_columns(rank=0), 3))

    assert shown(condition, token) == shown("plain", "word")


@hostile(300, said=JSON)
def test_what_scripts_read_cannot_end_them(said):
    page = Page()
    page.table({"said": repr(said)})
    assert len(tags(page.island())) == 1
    assert "<" not in inert(repr(said))


MARKDOWN = MarkdownIt("commonmark", {"html": True})


@hostile(300, name=NAME)
def test_a_folder_names_a_model_in_plain_words(saved, tmp_path_factory, name):
    """Chapters write a model's name into Markdown, where HTML, roles and links would work."""
    named = tmp_path_factory.getbasetemp() / "named" / name.replace("/", "_").replace("\0", "")
    try:
        named.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    for file in saved("llama").iterdir():
        if not (named / file.name).exists():
            (named / file.name).symlink_to(file)
    shown = read_card(str(named)).name
    assert re.fullmatch(r"[\w.+ -]+", shown)
    assert set(re.findall(r"<(\w+)", MARKDOWN.render(f"x **{shown}** x"))) <= {"p", "strong", "em"}


@pytest.fixture(scope="module")
def request_of(worded):
    return Asked(model=str(worded))


CHOICES = st.fixed_dictionaries(
    {
        "head": st.sampled_from(["L0H0", "L1H3", "L9H9", "L1", "L²H1", " L0H1 "]) | NAME,
        "method": st.sampled_from([method.value for method in Method]),
        "place": st.sampled_from(views.PLACES),
    }
)
ELEMENTS = {"table", "thead", "tbody", "tr", "th", "td", "div", "span", "br", "small"}
PROMPTS = st.sampled_from(["Mary and John", "the " * 80, "\ud800", "a\udfffb"]) | TEXT


@hostile(150, text=PROMPTS, choice=CHOICES, t=st.integers(-1, 9) | st.just(9_999))
def test_any_prompt_in_the_lab_is_answered_or_refused(request_of, text, choice, t):
    def ask():
        asked = views.probe_of(request_of, text, choice, t)
        return replace(asked, n_reference=2).run(lambda *_: None)

    frames, _ = refused(ask)
    words, _ = refused(lambda: views.words_of(request_of, text))
    if frames is not None:
        assert words
        for table, frame in frames.items():
            conformed(table, frame.with_columns(run=pl.lit("r")))
        shown = tags(token_table(frames["predictions"], 3))
        assert {name for name, _ in shown} <= ELEMENTS
