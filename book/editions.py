"""Several models in one book: the chapters that each of them gets, and what its pages are called.

The first model's pages keep the names of their notebooks; those of the others end in the model's
name, `01_head_atlas-gpt2.html`. All lie in one folder and share scripts, runs and search.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from analysis.errors import UserError
from analysis.models.files.card import ModelCard, read_card


class Subject(Enum):
    """What a chapter is about, by what its notebook takes from `book.live`."""

    MODEL = "boxes"
    """One model, which its box names: every model of the book gets such a chapter."""

    MODELS = "models_box"
    """All models of the book beside each other: there is such a chapter if there are several."""

    BOOK = ""
    """No model: the book has one such chapter, however many models it is about."""


@dataclass(frozen=True, kw_only=True)
class Edition:
    """One model of a book."""

    name: str
    """As pages show it."""
    mark: str
    """What the names of its pages end in: nothing for the first model, else `-gpt2`."""
    options: Mapping[str, str]
    """What its notebooks read from their command line."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A chapter to compile."""

    notebook: Path
    subject: Subject
    edition: Edition
    """The first model's for a chapter that is not about one."""
    options: Mapping[str, str]

    @property
    def name(self) -> str:
        """What its record is kept under, `page_name` of which is its page."""
        return self.notebook.stem + self.edition.mark


def listed_models(models: str) -> list[str]:
    """Models as `--models` takes them.

    Args:
        models: What `load_model` takes, separated by commas.

    Returns:
        Them, without blanks around.

    Raises:
        UserError: There is none, or one of them twice.
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise UserError(f"expected models separated by commas, got {models!r}; name at least one")
    if doubled := sorted(name for name, count in Counter(names).items() if count > 1):
        raise UserError(f"expected different models, got {', '.join(doubled)} twice; name it once")
    return names


def model_names(cards: Sequence[ModelCard]) -> list[str]:
    """What a book calls its models: their names, and where two share one, part of their ids.

    Args:
        cards: The models.

    Returns:
        A name for each.

    Raises:
        UserError: Two of them are the same model.
    """
    ids = [card.model for card in cards]
    if len(set(ids)) < len(ids):
        twice = next(card.name for card in cards if ids.count(card.model) > 1)
        raise UserError(
            f"expected different models, got the weights of {twice} twice; name them once"
        )
    shared = Counter(card.name for card in cards)
    return [
        card.name if shared[card.name] == 1 else f"{card.name} {card.model[:4]}" for card in cards
    ]


def editions(options: Mapping[str, str]) -> tuple[Edition, ...]:
    """The models of a book.

    Args:
        options: Of the command line; `models` names several, separated by commas.

    Returns:
        One for each, in the order named; a single one with all options where `models` is absent.

    Raises:
        UserError: A model cannot be read, or is named twice.
    """
    if "models" not in options:
        return (Edition(name=options.get("model", ""), mark="", options=options),)
    asked = listed_models(options["models"])
    shared = {name: text for name, text in options.items() if name != "models"}
    names = model_names([read_card(model) for model in asked])
    marks = ["", *(f"-{_slug(name)}" for name in names[1:])]
    if doubled := sorted(mark for mark, count in Counter(marks).items() if count > 1):
        raise UserError(
            f"expected models whose names differ in letters or digits, got several that end in "
            f"{doubled[0]}; rename a folder"
        )
    return tuple(
        Edition(name=name, mark=mark, options={**shared, "model": model})
        for name, mark, model in zip(names, marks, asked, strict=True)
    )


def _slug(name: str) -> str:
    """A name as part of an address."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"


def subject_of(notebook: Path) -> Subject:
    """What a chapter is about; a notebook that cannot be parsed fails where it is compiled."""
    try:
        tree = ast.parse(notebook.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return Subject.BOOK
    taken = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "book.live"
        for alias in node.names
    }
    return next((one for one in Subject if one.value in taken), Subject.BOOK)


def planned(notebooks: Iterable[Path], options: Mapping[str, str]) -> list[Planned]:
    """The chapters of a book, in the order of its contents.

    Args:
        notebooks: In order.
        options: Of the command line.

    Returns:
        The first model's chapters with those about no or every model, then those of each other
        model.

    Raises:
        UserError: Every chapter compares models, and there is one.
    """
    first, *others = editions(options)
    subjects = {notebook: subject_of(notebook) for notebook in notebooks}
    chapters = [
        Planned(
            notebook=notebook,
            subject=subject,
            edition=first,
            options=options if subject is Subject.MODELS else first.options,
        )
        for notebook, subject in subjects.items()
        if others or subject is not Subject.MODELS
    ]
    if subjects and not chapters:
        raise UserError(
            "expected --models with several for a chapter that compares them, got one model; name "
            "them, or other --chapters"
        )
    for edition in others:
        chapters += [
            Planned(notebook=notebook, subject=subject, edition=edition, options=edition.options)
            for notebook, subject in subjects.items()
            if subject is Subject.MODEL
        ]
    return chapters
