"""The check of a built book finds what a reader on another host would stumble over."""

from __future__ import annotations

import polars as pl
import pytest

from book.check import problems
from book.page import LATE_FROM, Page
from book.tables import table_html

from .book_sample import sample_folder

GOOD = """<html><head><link rel="canonical" href="https://a.b/"><script src="a.js"></script></head>
<body id="top"><a href="https://arxiv.org/abs/1">paper</a><a href="#top">up</a>
<a href="other.html#there">there</a><img src="data:image/png;base64,AA">
<script type="application/json">{"url": "https://a.b/schema.json"}</script></body></html>"""


@pytest.fixture
def book(tmp_path):
    (tmp_path / "index.html").write_text(GOOD, encoding="utf-8")
    (tmp_path / "other.html").write_text('<p id="there">x</p>', encoding="utf-8")
    (tmp_path / "a.js").write_text('// see https://a.b\nconst x = "https://a.b";', encoding="utf-8")
    (tmp_path / "a.css").write_text("/* url(//a.b) */ a { color: red }", encoding="utf-8")
    return tmp_path


def test_a_sound_book_has_no_problems(book):
    assert problems(book) == []


def test_the_sample_book_is_sound():
    assert problems(sample_folder() / "html") == []


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ('<script src="https://a.b/x.js"></script>', "loads https://a.b/x.js from another host"),
        ('<link rel="stylesheet" href="//a.b/x.css">', "loads //a.b/x.css from another host"),
        ('<img srcset="https://a.b/x.png">', "from another host"),
        ('<img src="/x.png">', "which a book under a sub-path does not have"),
        ('<img src="x.png">', "loads x.png, which is not there"),
        ('<p style="background: url(https://a.b/x.png)">', "from another host"),
        ("<style>@import 'https://a.b/x.css';</style>", "from another host"),
        ("<script>fetch('https://a.b/x')</script>", "loads https://a.b/x from another host"),
        ('<a href="gone.html">x</a>', "link gone.html leads to no file"),
        ('<a href="other.html#gone">x</a>', "leads to no such place"),
        ('<a href="#gone">x</a>', "leads to no such place"),
        ('<a href="/other.html">x</a>', "only works at the root of a site"),
    ],
)
def test_a_broken_page_is_found(book, html, found):
    (book / "bad.html").write_text(html, encoding="utf-8")
    (problem,) = problems(book)
    assert problem.startswith("bad.html: ") and found in problem


@pytest.mark.parametrize("n_rows", [201, 5000])
def test_links_in_what_a_script_puts_in_place_are_read(book, n_rows):
    page = Page()
    frame = pl.DataFrame({"seen": range(n_rows), "seen_link": ["04_gone"] * n_rows})
    place = table_html(frame, page).replace("04_gone", "index")
    long = f'<table><tr><td>{"long " * LATE_FROM}<a href="there.html">x</a></td></tr></table>'
    place += page.late(long)
    island = page.island()
    assert "there.html" not in place and "04_gone" not in place
    assert ("application/gzip" in island) == (n_rows == 5000)
    (book / "bad.html").write_text(place + island, encoding="utf-8")
    found = problems(book)
    assert sorted(found) == [
        "bad.html: link 04_gone.html leads to no file",
        "bad.html: link there.html leads to no file",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bad.css", "a { background: url('https://a.b/x.png') }"),
        ("bad.js", 'importScripts("https://a.b/x.js")'),
        ("bad.js", 'element.src = "https://a.b/x.js"'),
        ("bad.js", 'await import("https://a.b/x.js")'),
    ],
)
def test_styles_and_scripts_are_read_too(book, name, text):
    (book / name).write_text(text, encoding="utf-8")
    (problem,) = problems(book)
    assert problem.startswith(name) and "from another host" in problem
