"""The pages of a book about several models: the switch between them, and links that stay inside.

A chapter is compiled as if its model were the only one; what is added here depends on the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .editions import Edition, Planned, Subject
from .links import page_name
from .page import changed

if TYPE_CHECKING:
    from .chapters import Record

_TITLE = re.compile(r"^\s*# (?P<title>[^\n]+)$", re.MULTILINE)
_LABEL = re.compile(r"\A\((?P<name>[\w-]+)\)=$", re.MULTILINE)
_FIGURE = re.compile(r"(?<=\n:name: )(?P<name>fig-[\w-]+)(?=\n)")
_REFERENCE = re.compile(r"(?P<start>\{(?:ref|numref)\}`(?:[^`<]*<)?)(?P<name>[\w-]+)(?=>?`)")
_ADDRESS = re.compile(r'(?<=")(?P<page>index|\d\d_\w+)\.html(?=[#"\\])')
_MARKUP = re.compile(r"([\\`*_\[\]<>{}$])")


class EditionPages:
    """What becomes of the compiled chapters of several models; those of one model stay as they are.

    Args:
        planned: All chapters of the book.
        records: Them compiled, by name.
    """

    def __init__(self, planned: Sequence[Planned], records: Mapping[str, Record]) -> None:
        self._planned = planned
        self._records = records
        self.editions = list({one.edition.mark: one.edition for one in planned}.values())
        self._own = [one for one in planned if one.subject is Subject.MODEL]
        self._stems = {one.notebook.stem for one in self._own}
        self._beside = next((one for one in planned if one.subject is Subject.MODELS), None)

    def page(self, one: Planned) -> tuple[str, list[Any]]:
        """Text and fragments of a chapter's page.

        Args:
            one: The chapter.

        Returns:
            As compiled, with the model switch under the title where there are several models;
            titles, labels and links of the other models' pages carry their name.
        """
        record = self._records[one.name]
        text, fragments = record.text, list(record.fragments)
        if len(self.editions) == 1 or one.subject is Subject.BOOK:
            return text, fragments
        if one.edition.mark:
            text = self._renamed(text, one.edition)
            fragments = [self._readdressed(piece, one.edition) for piece in fragments]
        fragments.append(self._switch(one))
        directive = f"\n\n```{{hb-html}} {len(fragments) - 1}\n```\n"
        return _TITLE.sub(lambda found: found[0] + directive, text, count=1), fragments

    def _renamed(self, text: str, edition: Edition) -> str:
        names = self._stems | self._figures(edition)

        def marked(found: re.Match[str]) -> str:
            name = found["name"]
            return found[0] + edition.mark if name in names else found[0]

        text = _LABEL.sub(lambda found: f"({found['name']}{edition.mark})=", text)
        text = _REFERENCE.sub(marked, _FIGURE.sub(marked, text))
        model = _MARKUP.sub(r"\\\1", edition.name)
        return _TITLE.sub(lambda found: f"{found[0]} · {model}", text, count=1)

    def _figures(self, edition: Edition) -> set[str]:
        texts = (self._records[o.name].text for o in self._own if o.edition == edition)
        return {name for text in texts for name in _FIGURE.findall(text)}

    def _readdressed(self, fragment: Any, edition: Edition) -> Any:
        """A fragment whose links to chapters lead to those of the same model."""
        if not isinstance(fragment, str):
            return fragment
        pages = {page_name(stem) for stem in self._stems}

        def marked(found: re.Match[str]) -> str:
            page = found["page"]
            return f"{page}{edition.mark if page in pages else ''}.html"

        return changed(fragment, lambda text: _ADDRESS.sub(marked, text))

    def _switch(self, one: Planned) -> str:
        """Links to the same chapter of every model, and to the one that compares them."""
        links: list[str] = []
        for edition in self.editions:
            name, here = escape(edition.name), one.edition == edition
            if one.subject is Subject.MODELS:
                links.append(f'<a href="{_start(edition)}.html">{name}</a>')
            elif here:
                links.append(f'<b aria-current="page">{name}</b>')
            else:
                page = page_name(one.notebook.stem + edition.mark)
                links.append(f'<a href="{page}.html">{name}</a>')
        if self._beside is not None:
            side = "side by side"
            page = page_name(self._beside.name)
            compared = one.subject is Subject.MODELS
            links.append(
                f'<b aria-current="page">{side}</b>'
                if compared
                else f'<a href="{page}.html">{side}</a>'
            )
        items = "".join(f"<li>{link}</li>" for link in links)
        return f'<nav class="hb-models" aria-label="Model"><span>model</span><ul>{items}</ul></nav>'

    def contents(self, appendix: Sequence[str]) -> dict[str, str]:
        """What follows the text of every start page: the contents, which pages show at their side.

        Args:
            appendix: Pages that follow the first model's chapters.

        Returns:
            MyST by start page; `index` is always there.
        """
        first, *others = self.editions
        listed = [one for one in self._planned if one.edition == first]
        pages = [page for one in listed if (page := page_name(one.name)) != _start(first)]
        found = {_start(first): _numbered(pages) + _toctree([], appendix)}
        if others:
            entries = [f"{edition.name} <{_start(edition)}>" for edition in others]
            found[_start(first)] += _toctree([":caption: Other models"], entries)
        for edition in others:
            own = [(one, page_name(one.name)) for one in self._own if one.edition == edition]
            found[_start(edition)] = _numbered(
                [
                    f"{self._records[one.name].title} <{page}>"
                    for one, page in own
                    if page != _start(edition)
                ]
            )
        return found


def _start(edition: Edition) -> str:
    """The page that a model's chapters begin with."""
    return page_name(f"00_{edition.mark}")


def _numbered(entries: Sequence[str]) -> str:
    return _toctree([":numbered: 1"], entries)


def _toctree(options: Sequence[str], entries: Sequence[str]) -> str:
    lines = "\n".join((":hidden:", *options, "", *entries))
    return f"```{{toctree}}\n{lines}\n```\n\n"
