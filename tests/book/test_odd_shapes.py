"""Books of models of any shape: each chapter says what it can, and why it cannot say more."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copy

import pytest
import torch
import transformers as tf
from bs4 import BeautifulSoup

from analysis.models.files.card import REFERENCE, read_card
from analysis.plots.theme import MARKS
from book.page import island_of
from tests.plots.drawn import drawn

from .real_book import HEADBOOK

VISIBLE = 784
"""Pixels that no chart is wider than."""
MINUS_ZERO = re.compile(r"(?<![\w.])[-\N{MINUS SIGN}]0(?:\.0+)?(?![\w.])")
LISTED = re.compile(r"(?:L\d+H\d+, ?){40}")
"""More heads by name than a sentence or a cell of a table may list."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Llama of random weights, and which chapters are made of it."""

    layers: int
    heads: int
    chapters: str
    tokenizer: bool = True
    bos: bool = True
    scale: float = 0.2
    """Of the weights; so small a one that all tokens are alike fails every task."""

    def save(self, folder: Path) -> Path:
        """Save it."""
        torch.manual_seed(0)
        width = 4 * self.heads
        config = tf.LlamaConfig(
            vocab_size=read_card("reference").vocab,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=512,
            bos_token_id=0 if self.bos else None,
            eos_token_id=None,
        )
        model = tf.LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=self.scale)
        model.save_pretrained(folder)
        if self.tokenizer:
            copy(REFERENCE / "tokenizer.json", folder)
            kept = json.loads((REFERENCE / "tokenizer_config.json").read_text("utf-8"))
            told = kept if self.bos else {k: v for k, v in kept.items() if k != "bos_token"}
            (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")
        return folder


SHAPES = {
    "many": Shape(layers=2, heads=36, chapters="01,03"),
    "deep": Shape(layers=30, heads=9, chapters="01,02,03,05,08", scale=0.02),
    "single": Shape(layers=1, heads=1, chapters="00,01,02,05,08", bos=False),
    "wordless": Shape(layers=2, heads=1, chapters="01,03,04,05,08,09,10", tokenizer=False),
}


@dataclass(frozen=True)
class Book:
    """The pages of a built book, by name."""

    pages: dict[str, str]

    def text(self, start: str) -> str:
        """The words of a page in its body."""
        (html,) = (html for name, html in self.pages.items() if name.startswith(start))
        return " ".join(BeautifulSoup(html, "html.parser").article.get_text(" ").split())


@pytest.fixture(scope="module")
def book_of(tmp_path_factory) -> Callable[[str], Book]:
    """The checked book of a shape, built once."""
    known: dict[str, Book] = {}

    def book(name: str) -> Book:
        if name not in known:
            folder, shape = tmp_path_factory.mktemp(name), SHAPES[name]
            model = shape.save(folder / name)
            asked = ("--model", model, "--profile", "tiny", "--chapters", shape.chapters, "--check")
            places = ("--store", folder / "store", "--out", folder / "html")
            command = [*HEADBOOK, "build", *map(str, (*asked, *places))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
            pages = sorted((folder / "html").glob("*.html"))
            known[name] = Book({page.stem: page.read_text("utf-8") for page in pages})
        return known[name]

    return book


@pytest.mark.parametrize("name", SHAPES)
def test_a_model_of_any_shape_has_a_whole_book(book_of, name):
    book, numbers = book_of(name), SHAPES[name].chapters.split(",")
    starts = ["index" if number == "00" else number for number in numbers]
    for start in starts:
        text = book.text(start)
        assert not re.search(r"(?<!\w)nan(?!\w)", text), "no number is none"
        assert "fixed here" not in text, "a control stays a menu"


def test_what_cannot_be_tested_says_why(book_of):
    single, wordless, deep = (book_of(name) for name in ("single", "wordless", "deep"))
    assert "one layer attends" in single.text("02")
    assert "No two kinds of ablation rank the heads" in single.text("05")
    for chapter in ("03", "04", "05", "08", "09", "10"):
        assert "Not testable in wordless : the model's folder holds no tokenizer" in wordless.text(
            chapter
        )
    assert "predicts neither a random block nor a piece of its text" in deep.text("02")
    assert "so that no head is replaced" in deep.text("08")


@pytest.mark.parametrize(("name", "most"), [("many", 24), ("deep", 24), ("wordless", 2)])
def test_the_strongest_heads_of_each_label_are_pictured_however_many_there_are(book_of, name, most):
    page = BeautifulSoup(
        next(html for name, html in book_of(name).pages.items() if name.startswith("01")),
        "html.parser",
    )
    menu = page.select_one('[data-control="head"] select')
    options = [option.get_text() for option in menu.select("option")]
    assert 2 <= len(options) <= most
    assert sum("induction 1" in option for option in options) == 1


def test_no_chart_of_a_deep_model_is_wide_or_crowded(book_of):
    charts = 0
    for html in book_of("deep").pages.values():
        content = island_of(html)
        data = {name: rows(columns) for name, columns in content.get("data", {}).items()}
        for spec in content.get("specs", {}).values():
            marks, width = drawn({**spec, "datasets": data})
            assert marks <= MARKS, spec["title"]
            assert width <= VISIBLE, spec["title"]
            charts += 1
    assert charts > 20


def rows(columns: dict) -> list[dict]:
    return [
        dict(zip(columns["names"], row, strict=True))
        for row in zip(*columns["values"], strict=True)
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_no_page_has_a_minus_before_nothing_or_heads_beyond_counting(book_of, name):
    for html in book_of(name).pages.values():
        content = island_of(html)
        page = BeautifulSoup(html, "html.parser")
        specs = content.get("specs", {}).values()
        words = [(page.article or page).get_text(" ")]
        words += [f"{spec.get('title')} {spec['description']}" for spec in specs]
        words += [json.dumps(content.get("tables", {})), *content.get("later", {}).values()]
        for text in words:
            assert not (found := MINUS_ZERO.search(text)), text[found.start() - 40 : found.end()]
            assert not LISTED.search(text)


def test_runs_are_folded_by_experiment(book_of):
    page = BeautifulSoup(book_of("deep").pages["runs"], "html.parser")
    entries = page.select(".hb-run")
    assert len(entries) > 20
    for entry in entries:
        fold = entry.find_parent("details")
        assert not fold.has_attr("open")
        assert fold.summary.get_text().startswith(str(len(fold.select(".hb-run"))))
